//! A convolution, by whichever way its plan names; see [`crate::conv`].

use super::{Back, Gradient, Mode, Pass, Run, Value};
use crate::conv::depthwise::{self, Depthwise};
use crate::conv::pointwise::Pointwise;
use crate::conv::winograd::{self, Weights};
use crate::conv::{self, Forward, direct, products, stem};
use crate::elementwise;
use crate::parallel::alone;
use crate::values::Engine;
use executor::Precision;
use graph::op::Conv;
use graph::{Bounds, Geometry, Op};

impl Run for Conv {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        forward(self, pass, value);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        backward(self, back, gradient);
    }
}

fn geometry(engine: &Engine, i: usize, conv: &Conv) -> Geometry {
    let [h, w, _] = engine.input_shape(i);
    Geometry::new(conv, [h, w], engine.batch)
}

fn pointwise(engine: &Engine, i: usize, output: usize) -> Pointwise {
    let [height, width, input] = engine.input_shape(i);
    let pool = engine.schedule.operations[i].pool;
    let precision = engine.precision(i);
    Pointwise { batch: engine.batch, height, width, input, output, precision, pool }
}

/// Whether all that is done with the bare result of operation `i` is to normalize it.
fn feeds_norm(engine: &Engine, i: usize) -> bool {
    let (fused, next) = (&engine.schedule.operations[i], engine.schedule.operations.get(i + 1));
    fused.parameters.len() == 1
        && fused.bounds == Bounds::NONE
        && next.is_some_and(|s| matches!(s.op, Op::BatchNorm(_)) && s.inputs == [i])
}

/// Whether the depthwise convolution that operation `i` is finds the statistics of its result, too.
fn keeps_statistics(engine: &Engine, i: usize) -> bool {
    engine.mode() == Mode::Training && feeds_norm(engine, i)
}

/// Floats of the weights of operation `i` in the order in which its way reads them, and that order.
fn pack(pass: &Pass, g: &Geometry, weight: &[f32], bias: Option<&[f32]>, packed: &mut Vec<f32>) {
    let p = pointwise(pass.engine, pass.i, g.output);
    match pass.engine.plan(pass.i).forward {
        Forward::Fused => {
            packed.resize(p.packed_floats(), 0.0);
            p.pack(weight, packed);
        }
        Forward::Direct if pass.engine.precision(pass.i) == Precision::Bf16 => {
            packed.resize(direct::packed_bf16_floats(g), 0.0);
            direct::pack_bf16(weight, g, packed);
        }
        Forward::Direct | Forward::Stem => {
            packed.resize(direct::packed_floats(g), 0.0);
            direct::pack(weight, g, packed);
        }
        // It packs for itself.
        Forward::Depthwise if keeps_statistics(pass.engine, pass.i) => {}
        Forward::Depthwise => {
            packed.resize(depthwise::packed_floats(g), 0.0);
            depthwise::pack_with_bias(weight, bias, packed);
        }
        // In training weights are transformed in pieces that stay in cache.
        Forward::Winograd(tile) if pass.engine.mode() == Mode::Inference => {
            packed.resize(winograd::packed_floats(g, tile), 0.0);
            Weights::Plain(weight).pack(g, tile, packed);
        }
        Forward::Winograd(_) | Forward::Products => {}
    }
}

pub(super) fn forward(conv: &Conv, pass: &Pass, value: &mut Value) {
    let Pass { engine, i, fused, .. } = *pass;
    let weight = pass.parameter(0);
    let bias = (fused.parameters.len() > 1).then(|| pass.parameter(1));
    let (source, bounds, pool) = (pass.source(), fused.bounds, fused.pool);
    let g = geometry(engine, i, conv);
    let Value { out, places, packed, .. } = value;
    let packed = match engine.mode() {
        Mode::Training => {
            pack(pass, &g, weight, bias, packed);
            &*packed
        }
        // On this thread: one that waits for others may be given tasks that ask for these weights, too.
        Mode::Inference => engine.packed[i].get_or_init(|| {
            let mut packed = Vec::new();
            alone(|| pack(pass, &g, weight, bias, &mut packed));
            packed
        }),
    };
    match engine.plan(i).forward {
        // Its reader makes it.
        Forward::Depthwise if fused.lazy => {}
        Forward::Depthwise if keeps_statistics(engine, i) => {
            let batch_stats = depthwise::forward_with_stats(source.values, weight, &g, out);
            value.result_stats = Some(batch_stats);
        }
        Forward::Depthwise => Depthwise { geometry: g, packed, bounds }.all(source.values, out),
        Forward::Fused => {
            let p = pointwise(engine, i, conv.output);
            p.forward(source, packed, bias, bounds, out, places);
        }
        Forward::Direct if engine.precision(i) == Precision::Bf16 => {
            direct::forward_bf16(source.values, packed, bias, bounds, &g, out);
        }
        Forward::Direct => direct::forward(source.values, packed, bias, bounds, &g, out),
        Forward::Stem => stem::forward(source.values, packed, (bias, bounds), &g, pool, out),
        Forward::Winograd(tile) => {
            let is_packed = engine.mode() == Mode::Inference;
            let weights = if is_packed { Weights::Packed(packed) } else { Weights::Plain(weight) };
            winograd::forward(source.values, weights, bias, bounds, (&g, tile), out);
        }
        Forward::Products => products::forward(source.values, weight, bias, bounds, &g, out),
    }
}

pub(super) fn backward(conv: &Conv, mut back: Back, gradient: Gradient) {
    let (i, fused, input) = (back.i, back.fused, back.fused.inputs[0]);
    let Gradient { values: mut grad, pending } = gradient;
    let g = geometry(back.engine, i, conv);
    let forward = back.engine.plan(i).forward;
    // The pictures themselves need no gradient, but a tile needs a place for it.
    let needs_dx = input > 0 || forward == Forward::Fused;
    let mut dx = needs_dx.then(|| back.room(input));
    let weight_range = back.engine.range(fused, 0);
    let weight = &back.parameters[weight_range.clone()];
    let has_bias = fused.parameters.len() > 1;
    let bias_range = if has_bias { back.engine.range(fused, 1) } else { 0..0 };
    let both = back.gradients.get_disjoint_mut([weight_range, bias_range]);
    let [dw, db] = both.expect("parameters do not overlap");
    let db = has_bias.then_some(db);
    let source = back.engine.source(i);
    let (x, value) = (source.values, &back.engine.values[i]);
    if forward == Forward::Depthwise && !has_bias && fused.bounds == Bounds::NONE {
        let picture = g.positions() * g.output;
        let finish = |k: usize, grad: &mut [f32]| {
            if let Some(back) = &pending {
                back.rows(&value.out[k * picture..(k + 1) * picture], grad);
            }
        };
        depthwise::backward(x, weight, &mut grad, &g, finish, dx.as_deref_mut(), dw);
    } else {
        if let Some(back) = &pending {
            back.all(&value.out, &mut grad);
        }
        elementwise::mask(&mut grad, &value.out, fused.bounds);
        match (&mut dx, forward) {
            (Some(dx), Forward::Fused) => {
                let p = pointwise(back.engine, i, conv.output);
                p.backward(source, weight, (&grad, &value.places), dx, dw, db);
            }
            (dx, _) => conv::backward(x, weight, &grad, &g, dx.as_deref_mut(), dw, db),
        }
    }
    back.engine.arena.give(grad);
    if let Some(dx) = dx {
        back.add(input, dx);
    }
}
