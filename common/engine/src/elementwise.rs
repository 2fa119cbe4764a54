//! Values clamped, masked, added up, copied: what needs no channels.

use crate::parallel::{BLOCK, prelude::*};
use graph::Bounds;

/// `y = clamp(x)`.
pub fn clamp(x: &[f32], bounds: Bounds, y: &mut [f32]) {
    let blocks = y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
    blocks.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = bounds.clamp(*x)));
}

/// Turns the gradient of a clamped result `y` into that before the clamp: zero where `y` is at a bound,
/// as in PyTorch.
pub fn mask(grad: &mut [f32], y: &[f32], bounds: Bounds) {
    if bounds == Bounds::NONE {
        return;
    }
    grad.par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(grad, y)| {
        for (g, y) in grad.iter_mut().zip(y) {
            *g = if bounds.passes(*y) { *g } else { 0.0 };
        }
    });
}

/// `sum += v`.
pub(crate) fn accumulate(sum: &mut [f32], v: &[f32]) {
    let blocks = sum.par_chunks_mut(BLOCK).zip(v.par_chunks(BLOCK));
    blocks.for_each(|(s, v)| s.iter_mut().zip(v).for_each(|(s, v)| *s += v));
}

/// `to = from`.
pub(crate) fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(t, f)| t.copy_from_slice(f));
}
