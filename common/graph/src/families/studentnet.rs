//! The course tutorial's student: depthwise-separable blocks, no activation after pointwise layers.
//!
//! | block | layers | 256 px → |
//! |---|---|---|
//! | cnn.0 | conv 3×3, BN, ReLU6, max pool 2 | 128 |
//! | cnn.1–3 | depthwise 3×3, BN, ReLU6, pointwise, max pool 2 | 64, 32, 16 |
//! | cnn.4–7 | depthwise 3×3, BN, ReLU6, pointwise | 16 |
//! | cnn.8… | the same, as many as are asked for | 16 |
//! | fc.0 | global mean, linear | 1 |
//!
//! Depthwise-separable convolution: Howard et al. 2017, "MobileNets", section 3.1.

use super::{Family, Knobs};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, BatchNorm, Conv, GlobalAvgPool, Linear, MaxPool, Window};

pub(super) const FAMILY: Family = Family {
    name: "studentnet",
    about: "the course tutorial's depthwise-separable student: 256,779 parameters at 11 classes",
    stem_stride: 2,
    most_blocks: 16,
    build: |knobs| {
        let mut widths = [16, 32, 64, 128, 256, 256, 256, 256].map(|n| knobs.scaled(n)).to_vec();
        widths.extend(vec![widths[7]; knobs.extra_blocks]);
        build(&widths, knobs)
    },
};

/// Output widths of the eight blocks, number of classes.
///
/// # Errors
/// Widths of zero.
pub fn studentnet(widths: [usize; 8], classes: usize) -> Result<Graph> {
    build(&widths, &Knobs::standard(classes))
}

fn build(widths: &[usize], knobs: &Knobs) -> Result<Graph> {
    let same3 = Window::new(3, 1, 1);
    let half = MaxPool(Window::new(2, 2, 0));
    let conv = |input, output, window, groups| Conv { input, output, window, groups, bias: true };

    let mut net = Builder::new();
    net.then("cnn.0.0", conv(3, widths[0], same3, 1));
    net.then("cnn.0.1", BatchNorm::new(widths[0]));
    net.then("", Activation::Relu6);
    if knobs.stem_stride != Some(1) {
        net.then("", half);
    }
    for (i, pair) in widths.windows(2).enumerate() {
        let (block, input, output) = (i + 1, pair[0], pair[1]);
        net.then(&format!("cnn.{block}.0"), conv(input, input, same3, input));
        net.then(&format!("cnn.{block}.1"), BatchNorm::new(input));
        net.then("", Activation::Relu6);
        net.then(&format!("cnn.{block}.3"), conv(input, output, Window::POINT, 1));
        if block <= 3 {
            net.then("", half);
        }
    }
    net.then("", GlobalAvgPool);
    let input = widths.last().copied().unwrap_or_default();
    net.then("fc.0", Linear::new(input, knobs.classes));
    net.finish()
}
