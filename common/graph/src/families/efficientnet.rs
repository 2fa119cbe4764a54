//! EfficientNet-B0 as in torchvision (Tan & Le 2019, "EfficientNet: rethinking model scaling for convolutional
//! neural networks", table 1).

use super::inverted_residual::{Gate, InvertedResidual, Names};
use super::{Family, Knobs, centred, conv_norm_act_in, dense, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, GlobalAvgPool, Linear, Window};

pub(super) const FAMILY: Family = Family {
    name: "efficientnet_b0",
    about: "torchvision's EfficientNet-B0: 5,288,548 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build,
};

/// Expansion, side of the filters, output width, number of blocks, stride of the first.
pub(super) const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
];

fn build(knobs: &Knobs) -> Result<Graph> {
    let act = Activation::Silu;
    let mut net = Builder::new();
    let mut input = knobs.scaled(32);
    let window = Window::new(3, knobs.stem_stride.unwrap_or(2), 1);
    conv_norm_act_in(&mut net, "features.0", dense(3, input, window), act);
    for (stage, (expansion, kernel, width, count, first)) in STAGES.into_iter().enumerate() {
        for i in 0..count {
            let output = knobs.scaled(width);
            let block = InvertedResidual {
                input,
                inner: (expansion != 1).then_some(input * expansion),
                output,
                window: centred(kernel, if i == 0 { first } else { 1 }),
                act,
                gate: Some(Gate { squeezed: (input / 4).max(1), acts: [act, Activation::Sigmoid] }),
                is_residual: i > 0,
            };
            block.push(&mut net, &format!("features.{}.{i}.block", stage + 1), Names::Within);
            input = output;
        }
    }
    let name = format!("features.{}", STAGES.len() + 1);
    conv_norm_act_in(&mut net, &name, pointwise(input, 4 * input), act);
    net.then("", GlobalAvgPool);
    net.then("classifier.1", Linear::new(4 * input, knobs.classes));
    net.finish()
}
