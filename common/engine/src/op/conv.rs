//! A convolution, by whichever way its plan names; see [`crate::conv`].

use super::{Back, Gradient, Mode, Pass, Run, Value};
use crate::conv::pointwise::Pointwise;
use crate::conv::winograd::Weights;
use crate::conv::{self, Forward, depthwise, direct, winograd};
use crate::elementwise;
use crate::values::Engine;
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
    Pointwise { batch: engine.batch, height, width, input, output, pool }
}

/// Whether all that is done with the bare result of operation `i` is to normalize it.
fn feeds_norm(engine: &Engine, i: usize) -> bool {
    let (fused, next) = (&engine.schedule.operations[i], engine.schedule.operations.get(i + 1));
    fused.parameters.len() == 1
        && fused.bounds == Bounds::NONE
        && next.is_some_and(|s| matches!(s.op, Op::BatchNorm(_)) && s.inputs == [i])
}

pub(super) fn forward(conv: &Conv, pass: &Pass, value: &mut Value) {
    let Pass { engine, i, fused, mode, .. } = *pass;
    let weight = pass.parameter(0);
    let bias = (fused.parameters.len() > 1).then(|| pass.parameter(1));
    let (source, bounds) = (pass.source(), fused.bounds);
    let g = geometry(engine, i, conv);
    let out = &mut value.out;
    match engine.plan(i).forward {
        Forward::Fused => {
            let p = pointwise(engine, i, conv.output);
            p.forward(source, weight, bias, bounds, out, &mut value.places);
        }
        Forward::Depthwise if mode == Mode::Training && feeds_norm(engine, i) => {
            let batch_stats = depthwise::forward_with_stats(source.values, weight, &g, out);
            value.result_stats = Some(batch_stats);
        }
        Forward::Direct => {
            if mode == Mode::Training || value.panels.is_empty() {
                value.panels.resize(direct::packed_floats(&g), 0.0);
                direct::pack(weight, &g, &mut value.panels);
            }
            direct::forward(source.values, &value.panels, bias, bounds, &g, out);
        }
        Forward::Winograd(tile) if mode == Mode::Inference => {
            if value.panels.is_empty() {
                value.panels.resize(winograd::packed_floats(&g, tile), 0.0);
                Weights::Plain(weight).pack(&g, tile, &mut value.panels);
            }
            let weights = Weights::Packed(&value.panels);
            winograd::forward(source.values, weights, bias, bounds, (&g, tile), out);
        }
        Forward::Depthwise | Forward::Stem | Forward::Winograd(_) | Forward::Products => {
            conv::forward(source.values, weight, bias, bounds, &g, out);
        }
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
