//! The sum of two inputs, clamped where an activation is fused with it.

use super::{Back, Gradient, Pass, Run, Value};
use crate::elementwise;
use crate::parallel::{BLOCK, prelude::*};
use graph::Bounds;
use graph::op::Add;

impl Run for Add {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let other = &pass.engine.values[pass.fused.inputs[1]].out;
        add(pass.source().values, other, pass.fused.bounds, &mut value.out);
    }

    fn backward(&self, mut back: Back, mut gradient: Gradient) {
        let [first, second] = back.fused.inputs[..] else { unreachable!("a sum has two inputs") };
        elementwise::mask(&mut gradient.values, back.out(), back.fused.bounds);
        let mut copy = back.room(second);
        elementwise::copy(&gradient.values, &mut copy);
        back.add(first, gradient.values);
        back.add(second, copy);
    }
}

/// `y = clamp(a + b)`.
fn add(a: &[f32], b: &[f32], bounds: Bounds, y: &mut [f32]) {
    let blocks = y.par_chunks_mut(BLOCK).zip(a.par_chunks(BLOCK)).zip(b.par_chunks(BLOCK));
    blocks.for_each(|((y, a), b)| {
        y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = bounds.clamp(a + b));
    });
}
