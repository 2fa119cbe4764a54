//! The course tutorial's student: depthwise-separable blocks, no activation after pointwise layers.
//!
//! | block | layers | 256 px → |
//! |---|---|---|
//! | cnn.0 | conv 3×3, BN, ReLU6, max pool 2 | 128 |
//! | cnn.1–3 | depthwise 3×3, BN, ReLU6, pointwise, max pool 2 | 64, 32, 16 |
//! | cnn.4–7 | depthwise 3×3, BN, ReLU6, pointwise | 16 |
//! | fc.0 | global mean, linear | 1 |
//!
//! Depthwise-separable convolution: Howard et al. 2017, "MobileNets", section 3.1.

use crate::graph::{Builder, Graph, Op, Window};
use anyhow::Result;

/// Output widths of the eight blocks, number of classes.
///
/// # Errors
/// Widths of zero.
pub fn studentnet(widths: [usize; 8], classes: usize) -> Result<Graph> {
    let same3 = Window { kernel: 3, stride: 1, padding: 1 };
    let point = Window { kernel: 1, stride: 1, padding: 0 };
    let half = Op::MaxPool(Window { kernel: 2, stride: 2, padding: 0 });
    let conv =
        |input, output, window, groups| Op::Conv { input, output, window, groups, bias: true };

    let mut net = Builder::new();
    net.then("cnn.0.0", conv(3, widths[0], same3, 1));
    net.then("cnn.0.1", Op::BatchNorm { channels: widths[0] });
    net.then("", Op::Relu6);
    net.then("", half);
    for (i, pair) in widths.windows(2).enumerate() {
        let (block, input, output) = (i + 1, pair[0], pair[1]);
        net.then(&format!("cnn.{block}.0"), conv(input, input, same3, input));
        net.then(&format!("cnn.{block}.1"), Op::BatchNorm { channels: input });
        net.then("", Op::Relu6);
        net.then(&format!("cnn.{block}.3"), conv(input, output, point, 1));
        if block <= 3 {
            net.then("", half);
        }
    }
    net.then("", Op::GlobalAvgPool);
    net.then("fc.0", Op::Linear { input: widths[7], output: classes, bias: true });
    net.finish()
}
