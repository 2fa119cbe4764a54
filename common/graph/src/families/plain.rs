//! A plain convolutional network and its two twins: the same blocks with convolutions of another kind,
//! at about the same number of parameters, near 1 MB in f32 (question 4 of the course's report).
//!
//! | block | ordinary, separable, grouped | 64 px → |
//! |---|---|---|
//! | cnn.0 | conv 3×3, BN, ReLU, max pool 2 | 32 |
//! | cnn.1–3 | its convolution, BN, ReLU, max pool 2 | 16, 8, 4 |
//! | cnn.4 | its convolution, BN, ReLU | 4 |
//! | fc | global mean, linear | 1 |
//!
//! Its convolution is a 3×3 one that sees all channels; a 3×3 depthwise and a pointwise one (Howard et
//! al. 2017, section 3.1); a 3×3 one in four groups (Krizhevsky et al. 2012, section 3.2). The first
//! has three input channels and is ordinary in all of them.

use super::{Family, Knobs, dense, depthwise, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, BatchNorm, Conv, GlobalAvgPool, Linear, MaxPool, Window};

/// Channel groups of the third twin: neither one nor the number of channels.
const GROUPS: usize = 4;

/// How a block filters.
#[derive(Clone, Copy)]
enum Kind {
    Ordinary,
    Separable,
    Grouped,
}

pub(super) const ORDINARY: Family = Family {
    name: "plain",
    about: "plain CNN, five 3×3 convolutions: 246,811 parameters at 11 classes",
    stem_stride: 2,
    most_blocks: 0,
    build: |knobs| build(Kind::Ordinary, 16, knobs),
};

pub(super) const SEPARABLE: Family = Family {
    name: "plain_separable",
    about: "plain with depthwise + pointwise convolutions, wider: 248,077 parameters at 11 classes",
    stem_stride: 2,
    most_blocks: 0,
    build: |knobs| build(Kind::Separable, 47, knobs),
};

pub(super) const GROUPED: Family = Family {
    name: "plain_grouped",
    about: "plain with convolutions in four groups, wider: 249,387 parameters at 11 classes",
    stem_stride: 2,
    most_blocks: 0,
    build: |knobs| build(Kind::Grouped, 32, knobs),
};

/// Blocks `base`, 2, 4, 8 and 8 times as wide.
fn build(kind: Kind, base: usize, knobs: &Knobs) -> Result<Graph> {
    let multiple = if matches!(kind, Kind::Grouped) { GROUPS } else { 1 };
    let widths = [1, 2, 4, 8, 8].map(|n| knobs.multiple(n * base, multiple));
    let same3 = Window::new(3, 1, 1);
    let mut net = Builder::new();
    let mut input = 3;
    for (i, output) in widths.into_iter().enumerate() {
        let path = |end: usize| format!("cnn.{i}.{end}");
        let mut end = 0;
        let mut conv = |net: &mut Builder, conv: Conv| {
            net.then(&path(end), Conv { bias: false, ..conv });
            end += 1;
        };
        match kind {
            Kind::Separable if i > 0 => {
                conv(&mut net, depthwise(input, 3, 1));
                conv(&mut net, pointwise(input, output));
            }
            Kind::Grouped if i > 0 => {
                conv(&mut net, Conv { groups: GROUPS, ..dense(input, output, same3) });
            }
            Kind::Ordinary | Kind::Separable | Kind::Grouped => {
                conv(&mut net, dense(input, output, same3))
            }
        }
        net.then(&path(end), BatchNorm::new(output));
        net.then("", Activation::Relu);
        let is_pooled = if i == 0 { knobs.stem_stride != Some(1) } else { i <= 3 };
        if is_pooled {
            net.then("", MaxPool(Window::new(2, 2, 0)));
        }
        input = output;
    }
    net.then("", GlobalAvgPool);
    net.then("fc", Linear::new(input, knobs.classes));
    net.finish()
}
