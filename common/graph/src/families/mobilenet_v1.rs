//! MobileNet (Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile
//! vision applications", table 1): a 3×3/2 convolution, thirteen depthwise-separable blocks, global
//! mean, linear. Names are those of the widespread PyTorch version: `model.N.M`, `fc`.

use super::{Family, Knobs, conv_norm_act, dense, depthwise, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, GlobalAvgPool, Linear, Window};

pub(super) const FAMILY: Family = Family {
    name: "mobilenet_v1",
    about: "MobileNet: 4,231,976 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build,
};

/// Output width and stride of each block.
const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];

fn build(knobs: &Knobs) -> Result<Graph> {
    let mut net = Builder::new();
    let mut input = knobs.scaled(32);
    let stem = dense(3, input, Window::new(3, knobs.stem_stride.unwrap_or(2), 1));
    conv_norm_act(&mut net, ["model.0.0", "model.0.1"], stem, Activation::Relu);
    for (i, (width, stride)) in BLOCKS.into_iter().enumerate() {
        let path = |end: usize| format!("model.{}.{end}", i + 1);
        let output = knobs.scaled(width);
        let spatial = depthwise(input, 3, stride);
        conv_norm_act(&mut net, [&path(0), &path(1)], spatial, Activation::Relu);
        let mixing = pointwise(input, output);
        conv_norm_act(&mut net, [&path(3), &path(4)], mixing, Activation::Relu);
        input = output;
    }
    net.then("", GlobalAvgPool);
    net.then("fc", Linear::new(input, knobs.classes));
    net.finish()
}
