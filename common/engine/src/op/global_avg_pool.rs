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

/// Means `y` `[b, c]` over `pixels` of `x` `[b, pixels, c]`.
pub fn forward(x: &[f32], pixels: usize, c: usize, y: &mut [f32]) {
    y.par_chunks_mut(c).zip(x.par_chunks(pixels * c)).for_each(|(y, x)| {
        y.fill(0.0);
        for row in x.chunks_exact(c) {
            for (y, x) in y.iter_mut().zip(row) {
                *y += x;
            }
        }
        for y in y {
            *y /= pixels as f32;
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
