//! The mean over the picture; one picture per task.

use super::{Back, Gradient, Pass, Run, Value};
use crate::parallel::{fill_blocks, prelude::*};
use graph::op::GlobalAvgPool;

impl Run for GlobalAvgPool {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [h, w, c] = pass.input_shape();
        forward(pass.source().values, h * w, c, &mut value.out);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let [h, w, c] = back.input_shape();
        back.through(gradient, |_, grad, dx| backward(grad, h * w, c, dx));
    }
}

/// Means `y` `[b, c]` over `pixels` of `x` `[b, pixels, c]`, summed in f64: of the 49 pixels that EfficientNet-B0 has
/// left at 224 px the sums of f32 were ten times as far off as PyTorch's.
pub fn forward(x: &[f32], pixels: usize, c: usize, y: &mut [f32]) {
    y.par_chunks_mut(c).zip(x.par_chunks(pixels * c)).for_each(|(y, x)| {
        let mut sums = vec![0.0f64; c];
        for row in x.chunks_exact(c) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += f64::from(*x);
            }
        }
        for (y, sum) in y.iter_mut().zip(sums) {
            *y = (sum / pixels as f64) as f32;
        }
    });
}

/// The input gradient `dx` `[b, pixels, c]` of [`forward`] for `grad` `[b, c]`.
pub fn backward(grad: &[f32], pixels: usize, c: usize, dx: &mut [f32]) {
    fill_blocks(dx, pixels * c, |i, dx| {
        for row in dx.chunks_exact_mut(c) {
            for (dx, g) in row.iter_mut().zip(&grad[i * c..]) {
                *dx = g / pixels as f32;
            }
        }
    });
}
