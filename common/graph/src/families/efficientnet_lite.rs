//! EfficientNet-Lite0 (Google's `tpu/models/official/efficientnet/lite`): EfficientNet-B0 (Tan & Le 2019,
//! "EfficientNet: rethinking model scaling for convolutional neural networks", table 1) without
//! squeeze-and-excitation, with ReLU6, so that it bears few bits. Names, TensorFlow's margins and ε are those of
//! the PyPI package `efficientnet-lite-pytorch`.

use super::efficientnet::STAGES;
use super::inverted_residual::{InvertedResidual, Names};
use super::{Family, Knobs, conv_norm_act, dense, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, GlobalAvgPool, Linear, Window};

pub(super) const FAMILY: Family = Family {
    name: "efficientnet_lite0",
    about: "EfficientNet-Lite0: 4,652,008 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build,
};

/// ε of its batch norms, which is not PyTorch's.
const EPSILON: f32 = 1e-3;

fn build(knobs: &Knobs) -> Result<Graph> {
    let act = Activation::Relu6;
    let mut net = Builder::new();
    let mut input = knobs.scaled(32);
    let stem = dense(3, input, Window::same(3, knobs.stem_stride.unwrap_or(2)));
    conv_norm_act(&mut net, ["_conv_stem", "_bn0"], stem, act);
    let mut number = 0;
    for (expansion, kernel, width, count, first) in STAGES {
        for i in 0..count {
            let output = knobs.scaled(width);
            let block = InvertedResidual {
                input,
                inner: (expansion != 1).then_some(input * expansion),
                output,
                window: Window::same(kernel, if i == 0 { first } else { 1 }),
                act,
                gate: None,
                is_residual: i > 0,
            };
            block.push(&mut net, &format!("_blocks.{number}"), Names::ByRole);
            (input, number) = (output, number + 1);
        }
    }
    let last = knobs.scaled(1280);
    conv_norm_act(&mut net, ["_conv_head", "_bn1"], pointwise(input, last), act);
    net.then("", GlobalAvgPool);
    net.then("_fc", Linear::new(last, knobs.classes));
    net.finish()?.with_epsilon(EPSILON)
}
