//! MobileNetV2 as in torchvision (Sandler et al. 2018, "MobileNetV2: inverted residuals and linear
//! bottlenecks", table 2).

use super::inverted_residual::{InvertedResidual, Names};
use super::{Family, Knobs, centred, conv_norm_act_in, dense, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, GlobalAvgPool, Linear, Window};

pub(super) const FAMILY: Family = Family {
    name: "mobilenet_v2",
    about: "torchvision's MobileNetV2: 3,504,872 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build,
};

/// Expansion, output width, number of blocks, stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

fn build(knobs: &Knobs) -> Result<Graph> {
    let act = Activation::Relu6;
    let mut net = Builder::new();
    let mut input = knobs.scaled(32);
    let window = Window::new(3, knobs.stem_stride.unwrap_or(2), 1);
    conv_norm_act_in(&mut net, "features.0", dense(3, input, window), act);
    let mut number = 1;
    for (expansion, width, count, first) in STAGES {
        for i in 0..count {
            let output = knobs.scaled(width);
            let block = InvertedResidual {
                input,
                inner: (expansion != 1).then_some(input * expansion),
                output,
                window: centred(3, if i == 0 { first } else { 1 }),
                act,
                gate: None,
                is_residual: i > 0,
            };
            block.push(&mut net, &format!("features.{number}.conv"), Names::InLine);
            (input, number) = (output, number + 1);
        }
    }
    let last = knobs.scaled(1280);
    conv_norm_act_in(&mut net, &format!("features.{number}"), pointwise(input, last), act);
    net.then("", GlobalAvgPool);
    net.then("classifier.1", Linear::new(last, knobs.classes));
    net.finish()
}
