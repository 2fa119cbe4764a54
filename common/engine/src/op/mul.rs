//! The product of two maps, or of a map and a factor for each channel of a picture; one picture per task.

use super::{Back, Gradient, Pass, Run, Value};
use crate::parallel::{fill_blocks, prelude::*};
use graph::op::Mul;

impl Run for Mul {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [h, w, c] = pass.input_shape();
        let gate = pass.fused.inputs[1];
        let sizes = Sizes { picture: h * w * c, gate: pass.engine.picture(gate) };
        let (x, factors) = (pass.source().values, &pass.engine.values[gate].out);
        forward(x, factors, sizes, &mut value.out);
    }

    fn backward(&self, mut back: Back, gradient: Gradient) {
        let [h, w, c] = back.input_shape();
        let [map, gate] = back.fused.inputs[..] else { unreachable!("a product has two inputs") };
        let sizes = Sizes { picture: h * w * c, gate: back.engine.picture(gate) };
        let (mut dx, mut dfactors) = (back.room(map), back.room(gate));
        let factors = &back.engine.values[gate].out;
        forward(&gradient.values, factors, sizes, &mut dx);
        gate_gradient(&gradient.values, back.source().values, sizes, &mut dfactors);
        back.engine.arena.give(gradient.values);
        back.add(map, dx);
        back.add(gate, dfactors);
    }
}

/// Floats of a picture of the map, and of the factors: as many, or one for each channel.
#[derive(Clone, Copy)]
struct Sizes {
    picture: usize,
    gate: usize,
}

/// `y = x · factors`, `x` and `y` `[b, h, w, c]`.
fn forward(x: &[f32], factors: &[f32], sizes: Sizes, y: &mut [f32]) {
    let pictures = y.par_chunks_mut(sizes.picture).zip(x.par_chunks(sizes.picture));
    pictures.zip(factors.par_chunks(sizes.gate)).for_each(|((y, x), factors)| {
        let rows = y.chunks_exact_mut(sizes.gate).zip(x.chunks_exact(sizes.gate));
        for (y, x) in rows {
            for ((y, x), f) in y.iter_mut().zip(x).zip(factors) {
                *y = x * f;
            }
        }
    });
}

/// Gradient of the factors: Σ grad · x over the pixels that a factor is for.
fn gate_gradient(grad: &[f32], x: &[f32], sizes: Sizes, dfactors: &mut [f32]) {
    fill_blocks(dfactors, sizes.gate, |i, sums| {
        let picture = i * sizes.picture..(i + 1) * sizes.picture;
        sums.fill(0.0);
        let rows = grad[picture.clone()].chunks_exact(sizes.gate);
        for (g, x) in rows.zip(x[picture].chunks_exact(sizes.gate)) {
            for ((s, g), x) in sums.iter_mut().zip(g).zip(x) {
                *s += g * x;
            }
        }
    });
}
