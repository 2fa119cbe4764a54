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
        let x = pass.source().values;
        let pictures = value.out.par_chunks_mut(picture).zip(x.par_chunks(h * w * c));
        pictures.for_each(|(y, x)| {
            with_scratch(w * c, |column| filter(x, column, y, (h, w, c), *self));
        });
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let [h, w, c] = back.input_shape();
        let picture = self.output(h) * self.output(w) * c;
        back.through(gradient, |_, grad, dx| {
            let pictures = dx.par_chunks_mut(h * w * c).zip(grad.par_chunks(picture));
            pictures.for_each(|(dx, grad)| {
                with_scratch(w * c, |column| filter_gradient(grad, column, dx, (h, w, c), *self));
            });
        });
    }
}

dispatch! {
    /// One picture; `column` `[w, c]` is what the columns leave of a row.
    fn filter(x: &[f32], column: &mut [f32], y: &mut [f32], size: Size, blur: Blur) = filter_body
}

#[inline(always)]
fn filter_body<const FMA: bool>(
    x: &[f32],
    column: &mut [f32],
    y: &mut [f32],
    (h, w, c): Size,
    blur: Blur,
) {
    for (oy, y) in y.chunks_exact_mut(blur.output(w) * c).enumerate() {
        column.fill(0.0);
        for (ky, share) in blur.taps.shares().enumerate() {
            let from = blur.source(oy, ky, h) * w * c;
            add_scaled::<FMA>(column, &x[from..from + w * c], share);
        }
        y.fill(0.0);
        for (ox, y) in y.chunks_exact_mut(c).enumerate() {
            for (kx, share) in blur.taps.shares().enumerate() {
                let from = blur.source(ox, kx, w) * c;
                add_scaled::<FMA>(y, &column[from..from + c], share);
            }
        }
    }
}

dispatch! {
    /// The input gradient of one picture; `column` as for [`filter`].
    fn filter_gradient(grad: &[f32], column: &mut [f32], dx: &mut [f32], size: Size, blur: Blur)
        = filter_gradient_body
}

#[inline(always)]
fn filter_gradient_body<const FMA: bool>(
    grad: &[f32],
    column: &mut [f32],
    dx: &mut [f32],
    (h, w, c): Size,
    blur: Blur,
) {
    dx.fill(0.0);
    for (oy, grad) in grad.chunks_exact(blur.output(w) * c).enumerate() {
        column.fill(0.0);
        for (ox, grad) in grad.chunks_exact(c).enumerate() {
            for (kx, share) in blur.taps.shares().enumerate() {
                let to = blur.source(ox, kx, w) * c;
                add_scaled::<FMA>(&mut column[to..to + c], grad, share);
            }
        }
        for (ky, share) in blur.taps.shares().enumerate() {
            let to = blur.source(oy, ky, h) * w * c;
            add_scaled::<FMA>(&mut dx[to..to + w * c], column, share);
        }
    }
}

/// `sum += v · share`.
#[inline(always)]
fn add_scaled<const FMA: bool>(sum: &mut [f32], v: &[f32], share: f32) {
    for (s, v) in sum.iter_mut().zip(v) {
        *s = mul_add::<FMA>(*v, share, *s);
    }
}
