//! MobileNetV3 as in torchvision (Howard et al. 2019, "Searching for MobileNetV3", tables 1 and 2).

use super::inverted_residual::{Gate, InvertedResidual, Names};
use super::{Family, Knobs, centred, conv_norm_act_in, dense, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, GlobalAvgPool, Linear, Window};

pub(super) const FAMILY_SMALL: Family = Family {
    name: "mobilenet_v3_small",
    about: "torchvision's MobileNetV3-Small: 2,542,856 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build: |knobs| build(&SMALL, 1024, knobs),
};

pub(super) const FAMILY_LARGE: Family = Family {
    name: "mobilenet_v3_large",
    about: "torchvision's MobileNetV3-Large: 5,483,032 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build: |knobs| build(&LARGE, 1280, knobs),
};

/// The paper's names.
const RE: Activation = Activation::Relu;
const HS: Activation = Activation::Hardswish;

/// As a row of the paper's tables: side of the filters, their number, output width, whether there is
/// squeeze-and-excitation, activation, stride.
type Row = (usize, usize, usize, bool, Activation, usize);

const SMALL: [Row; 11] = [
    (3, 16, 16, true, RE, 2),
    (3, 72, 24, false, RE, 2),
    (3, 88, 24, false, RE, 1),
    (5, 96, 40, true, HS, 2),
    (5, 240, 40, true, HS, 1),
    (5, 240, 40, true, HS, 1),
    (5, 120, 48, true, HS, 1),
    (5, 144, 48, true, HS, 1),
    (5, 288, 96, true, HS, 2),
    (5, 576, 96, true, HS, 1),
    (5, 576, 96, true, HS, 1),
];

const LARGE: [Row; 15] = [
    (3, 16, 16, false, RE, 1),
    (3, 64, 24, false, RE, 2),
    (3, 72, 24, false, RE, 1),
    (5, 72, 40, true, RE, 2),
    (5, 120, 40, true, RE, 1),
    (5, 120, 40, true, RE, 1),
    (3, 240, 80, false, HS, 2),
    (3, 200, 80, false, HS, 1),
    (3, 184, 80, false, HS, 1),
    (3, 184, 80, false, HS, 1),
    (3, 480, 112, true, HS, 1),
    (3, 672, 112, true, HS, 1),
    (5, 672, 160, true, HS, 2),
    (5, 960, 160, true, HS, 1),
    (5, 960, 160, true, HS, 1),
];

/// ε of its batch norms, which is not PyTorch's.
const EPSILON: f32 = 1e-3;

/// Rows of the table, width of the layer before the last.
fn build(rows: &[Row], last: usize, knobs: &Knobs) -> Result<Graph> {
    let mut net = Builder::new();
    let mut width = 16;
    let window = Window::new(3, knobs.stem_stride.unwrap_or(2), 1);
    conv_norm_act_in(&mut net, "features.0", dense(3, knobs.scaled(width), window), HS);
    for (i, &(kernel, filters, next, is_gated, act, stride)) in rows.iter().enumerate() {
        let inner = knobs.scaled(filters);
        let acts = [Activation::Relu, Activation::Hardsigmoid];
        // What widens and what is added is the table's: scaled widths may be equal by chance.
        let block = InvertedResidual {
            input: knobs.scaled(width),
            inner: (filters != width).then_some(inner),
            output: knobs.scaled(next),
            window: centred(kernel, stride),
            act,
            gate: is_gated.then(|| Gate { squeezed: eights(inner / 4), acts }),
            is_residual: stride == 1 && width == next,
        };
        block.push(&mut net, &format!("features.{}.block", i + 1), Names::Within);
        width = next;
    }
    let (input, last) = (knobs.scaled(width), knobs.scaled(last));
    let name = format!("features.{}", rows.len() + 1);
    conv_norm_act_in(&mut net, &name, pointwise(input, 6 * input), HS);
    net.then("", GlobalAvgPool);
    net.then("classifier.0", Linear::new(6 * input, last));
    net.then("", HS);
    net.then("classifier.3", Linear::new(last, knobs.classes));
    net.finish()?.with_epsilon(EPSILON)
}

/// The multiple of eight nearest to `n`, or the next where that is below nine tenths of it: torchvision's
/// rounding of squeezed widths.
fn eights(n: usize) -> usize {
    let nearest = ((n + 4) / 8 * 8).max(8);
    if 10 * nearest < 9 * n { nearest + 8 } else { nearest }
}
