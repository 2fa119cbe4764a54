//! Functions of each value alone, where they are not fused with what stands before them.

use super::{Back, Gradient, Pass, Run, Value};
use crate::elementwise;
use crate::parallel::{BLOCK, prelude::*};
use graph::Bounds;
use graph::op::Activation;

impl Run for Activation {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        forward(pass.source().values, *self, &mut value.out);
    }

    fn backward(&self, mut back: Back, mut gradient: Gradient) {
        let x = back.source().values;
        backward(&mut gradient.values, x, back.out(), *self);
        back.add(back.fused.inputs[0], gradient.values);
    }
}

/// `y = f(x)`.
fn forward(x: &[f32], f: Activation, y: &mut [f32]) {
    match f {
        Activation::Relu => elementwise::clamp(x, Bounds::RELU, y),
        Activation::Relu6 => elementwise::clamp(x, Bounds::RELU6, y),
        Activation::Hardswish => apply(x, y, hardswish),
        Activation::Silu => apply(x, y, silu),
        Activation::Sigmoid => apply(x, y, sigmoid),
        Activation::Hardsigmoid => apply(x, y, hardsigmoid),
    }
}

/// Turns the gradient of `f(x)` into that of `x`. `y` is the result.
fn backward(grad: &mut [f32], x: &[f32], y: &[f32], f: Activation) {
    match f {
        Activation::Relu => elementwise::mask(grad, y, Bounds::RELU),
        Activation::Relu6 => elementwise::mask(grad, y, Bounds::RELU6),
        Activation::Hardswish => multiply(grad, x, hardswish_slope),
        Activation::Silu => multiply(grad, x, silu_slope),
        Activation::Sigmoid => multiply(grad, y, |y| y * (1.0 - y)),
        Activation::Hardsigmoid => multiply(grad, x, hardsigmoid_slope),
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

fn hardsigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// 0 at −3 and at 3, as in PyTorch.
fn hardsigmoid_slope(x: f32) -> f32 {
    if x > -3.0 && x < 3.0 { 1.0 / 6.0 } else { 0.0 }
}

fn silu_slope(x: f32) -> f32 {
    let sigmoid = sigmoid(x);
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}
