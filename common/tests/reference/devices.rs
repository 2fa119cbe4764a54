//! The devices that tests go over, and a model for them.

use artifacts::{Framing, Input, Model, Preparation};
use common::device::Device;
use graph::grid::Grids;
use graph::{Graph, Weights};
use views::{FixedViews, Normalization};

/// All that this build has.
#[cfg(not(feature = "cuda"))]
pub(crate) const DEVICES: [Device; 2] = [Device::Cpu, Device::Candle];
#[cfg(feature = "cuda")]
pub(crate) const DEVICES: [Device; 3] = [Device::Cpu, Device::Candle, Device::Cuda(0)];

/// For pictures of `size × size`, values as they are.
pub(crate) fn model(graph: Graph, weights: Weights, size: usize) -> Model {
    let preparation = Preparation { size, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}
