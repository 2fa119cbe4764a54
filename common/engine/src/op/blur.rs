//! A fixed low-pass filter, first down the columns, then along the row that is left; one picture per task.

use super::{Back, Gradient, Pass, Run, Value};
use crate::parallel::{prelude::*, with_scratch};
use crate::simd::{dispatch, mul_add};
use crate::windows::Size;
use graph::op::Blur;

impl Run for Blur {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [h, w, c] = pass.input_shape();
        let picture = self.output(h) * self.output(w) * c;
        let (x, shares) = (pass.source().values, &self.taps.shares().collect::<Vec<f32>>()[..]);
        let pictures = value.out.par_chunks_mut(picture).zip(x.par_chunks(h * w * c));
        pictures.for_each(|(y, x)| {
            with_scratch(w * c, |column| filter(x, column, y, (h, w, c), *self, shares));
        });
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let [h, w, c] = back.input_shape();
        let picture = self.output(h) * self.output(w) * c;
        let shares = &self.taps.shares().collect::<Vec<f32>>()[..];
        back.through(gradient, |_, grad, dx| {
            let pictures = dx.par_chunks_mut(h * w * c).zip(grad.par_chunks(picture));
            pictures.for_each(|(dx, grad)| {
                with_scratch(w * c, |column| {
                    filter_gradient(grad, column, dx, (h, w, c), *self, shares)
                });
            });
        });
    }
}

/// One picture; `column` `[w, c]` is what the columns leave of a row.
fn filter(
    x: &[f32],
    column: &mut [f32],
    y: &mut [f32],
    (h, w, c): Size,
    blur: Blur,
    shares: &[f32],
) {
    for (oy, y) in y.chunks_exact_mut(blur.output(w) * c).enumerate() {
        column.fill(0.0);
        for (ky, share) in shares.iter().enumerate() {
            let from = blur.source(oy, ky, h) * w * c;
            add_scaled(column, &x[from..from + w * c], *share);
        }
        y.fill(0.0);
        for (ox, y) in y.chunks_exact_mut(c).enumerate() {
            for (kx, share) in shares.iter().enumerate() {
                let from = blur.source(ox, kx, w) * c;
                add_scaled(y, &column[from..from + c], *share);
            }
        }
    }
}

/// The input gradient of one picture; `column` as for [`filter`].
fn filter_gradient(
    grad: &[f32],
    column: &mut [f32],
    dx: &mut [f32],
    (h, w, c): Size,
    blur: Blur,
    shares: &[f32],
) {
    dx.fill(0.0);
    for (oy, grad) in grad.chunks_exact(blur.output(w) * c).enumerate() {
        column.fill(0.0);
        for (ox, grad) in grad.chunks_exact(c).enumerate() {
            for (kx, share) in shares.iter().enumerate() {
                let to = blur.source(ox, kx, w) * c;
                add_scaled(&mut column[to..to + c], grad, *share);
            }
        }
        for (ky, share) in shares.iter().enumerate() {
            let to = blur.source(oy, ky, h) * w * c;
            add_scaled(&mut dx[to..to + w * c], column, *share);
        }
    }
}

dispatch! {
    /// `sum += v · share`.
    fn add_scaled(sum: &mut [f32], v: &[f32], share: f32) = add_scaled_body
}

#[inline(always)]
fn add_scaled_body<const FMA: bool>(sum: &mut [f32], v: &[f32], share: f32) {
    for (s, v) in sum.iter_mut().zip(v) {
        *s = mul_add::<FMA>(*v, share, *s);
    }
}
