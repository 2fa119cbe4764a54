//! Values through activations, added, copied: what needs no channels.

use crate::parallel::{BLOCK, prelude::*};
use graph::Bounds;
use graph::op::Activation;

/// `y = clamp(x)`.
pub fn clamp(x: &[f32], bounds: Bounds, y: &mut [f32]) {
    let blocks = y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
    blocks.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = bounds.clamp(*x)));
}

/// `y = f(x)`.
pub fn forward(x: &[f32], f: Activation, y: &mut [f32]) {
    match (f, f.bounds()) {
        (_, Some(bounds)) => clamp(x, bounds, y),
        (Activation::Silu, _) => apply(x, y, silu),
        _ => apply(x, y, hardswish),
    }
}

/// Turns the gradient of `f(x)` into that of `x`. `y` is the result.
pub fn backward(grad: &mut [f32], x: &[f32], y: &[f32], f: Activation) {
    match (f, f.bounds()) {
        (_, Some(bounds)) => mask(grad, y, bounds),
        (Activation::Silu, _) => multiply(grad, x, silu_slope),
        _ => multiply(grad, x, hardswish_slope),
    }
}

/// `y = f(x)`, value by value.
fn apply(x: &[f32], y: &mut [f32], f: fn(f32) -> f32) {
    let blocks = y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
    blocks.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = f(*x)));
}

/// `grad *= f(x)`, value by value.
fn multiply(grad: &mut [f32], x: &[f32], f: fn(f32) -> f32) {
    let blocks = grad.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
    blocks.for_each(|(g, x)| g.iter_mut().zip(x).for_each(|(g, x)| *g *= f(*x)));
}

fn hardswish(x: f32) -> f32 {
    x * (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// 0 at −3 and below, 1 at 3 and above, as in PyTorch.
fn hardswish_slope(x: f32) -> f32 {
    if x <= -3.0 {
        0.0
    } else if x < 3.0 {
        x / 3.0 + 0.5
    } else {
        1.0
    }
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

fn silu_slope(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    sigmoid * (1.0 + x * (1.0 - sigmoid))
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

/// `y = clamp(a + b)`.
pub fn add(a: &[f32], b: &[f32], bounds: Bounds, y: &mut [f32]) {
    let blocks = y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    blocks.for_each(|((y, a), b)| {
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = bounds.clamp(a + b));
    });
}

/// `sum += v`.
pub fn accumulate(sum: &mut [f32], v: &[f32]) {
    let blocks = sum.par_chunks_mut(BLOCK).zip(v.par_chunks(BLOCK));
    blocks.for_each(|(s, v)| s.iter_mut().zip(v).for_each(|(s, v)| *s += v));
}

/// `to = from`.
pub fn copy(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(t, f)| t.copy_from_slice(f));
}
