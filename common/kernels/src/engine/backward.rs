//! The steps, backwards.
//!
//! Each step turns the gradient of its result into those of its inputs and parameters. A gradient's
//! buffer is taken when its first reader has passed and given back when its own step has. The input
//! gradient of a batch norm takes the place of its output's; where a depthwise convolution is before
//! it, picture by picture, as the convolution goes back over them.

use super::fuse::is_pointwise;
use super::{Bounds, Engine, LINEAR, Misfit, Op};
use crate::conv::{cpu, depthwise};
use crate::norm::cpu::InputGradient;
use crate::pool::cpu::{max_backward, mean_backward};
use rayon::prelude::*;

const BLOCK: usize = 16 * 1024;

/// The gradient of a step's result.
struct Gradient {
    values: Vec<f32>,
    /// What is still to be done to it: it is that of the batch norm behind.
    pending: Option<InputGradient>,
}

impl Engine {
    /// Gradients of all parameters for the gradient `grad` `[b, classes]` of the last training batch's
    /// result, into `gradients`, laid out like the parameters. Those of stored moments stay as they are.
    ///
    /// # Errors
    /// A gradient of another size.
    pub fn backward(
        &mut self,
        parameters: &[&[f32]],
        grad: &[f32],
        gradients: &mut [Vec<f32>],
    ) -> Result<(), Misfit> {
        let last = self.steps.len() - 1;
        if grad.len() != self.values[last].out.len() {
            return Err(Misfit(format!("a gradient of {} values", grad.len())));
        }
        let mut open: Vec<Option<Gradient>> = self.steps.iter().map(|_| None).collect();
        let mut values = self.arena.floats(grad.len());
        values.copy_from_slice(grad);
        open[last] = Some(Gradient { values, pending: None });
        for i in (1..=last).rev() {
            if let Some(gradient) = open[i].take() {
                self.step_back(i, parameters, gradient, gradients, &mut open);
            }
        }
        Ok(())
    }

    fn step_back(
        &mut self,
        i: usize,
        parameters: &[&[f32]],
        mut gradient: Gradient,
        gradients: &mut [Vec<f32>],
        open: &mut [Option<Gradient>],
    ) {
        let step = self.steps[i].clone();
        let input = step.inputs[0];
        let [h, w, c] = self.steps[input].shape;
        if let (Some(back), false) = (&gradient.pending, matches!(step.op, Op::Conv(..))) {
            back.all(&self.values[i].out, &mut gradient.values);
            gradient.pending = None;
        }
        match step.op {
            Op::Input => {}
            Op::Conv(..) => self.conv_back(i, parameters, gradient, gradients, open),
            Op::Norm => {
                let x = self.source(i).values;
                let (Some(normalize), Some(moments)) =
                    (self.values[i].normalize.clone(), &self.values[i].moments)
                else {
                    return;
                };
                let [p, q] = [step.parameters[0], step.parameters[1]];
                let (mut dgamma, mut dbeta) =
                    (std::mem::take(&mut gradients[p]), std::mem::take(&mut gradients[q]));
                let gamma = parameters[p];
                let both = [&mut dgamma[..], &mut dbeta[..]];
                let grad = &gradient.values;
                let back =
                    InputGradient::new(x, grad, gamma, moments, self.epsilon, normalize, both);
                (gradients[p], gradients[q]) = (dgamma, dbeta);
                if open[input].is_none() && input > 0 {
                    gradient.pending = Some(back);
                    open[input] = Some(gradient);
                } else {
                    back.all(x, &mut gradient.values);
                    self.add(input, gradient.values, open);
                }
            }
            Op::Clamp(lo, hi) => {
                mask(&mut gradient.values, &self.values[i].out, (lo, hi));
                self.add(input, gradient.values, open);
            }
            Op::MaxPool(win) => {
                let mut dx = self.arena.floats(self.batch * h * w * c);
                max_backward(&gradient.values, &self.values[i].places, (h, w, c), win, &mut dx);
                self.arena.give(gradient.values);
                self.add(input, dx, open);
            }
            Op::GlobalAvgPool => {
                let mut dx = self.arena.floats(self.batch * h * w * c);
                mean_backward(&gradient.values, h * w, c, &mut dx);
                self.arena.give(gradient.values);
                self.add(input, dx, open);
            }
            Op::Add => {
                mask(&mut gradient.values, &self.values[i].out, step.bounds);
                let mut copy = self.arena.floats(gradient.values.len());
                copy_all(&gradient.values, &mut copy);
                self.add(input, gradient.values, open);
                self.add(step.inputs[1], copy, open);
            }
        }
    }

    fn conv_back(
        &mut self,
        i: usize,
        parameters: &[&[f32]],
        gradient: Gradient,
        gradients: &mut [Vec<f32>],
        open: &mut [Option<Gradient>],
    ) {
        let step = self.steps[i].clone();
        let Op::Conv(window, output) = step.op else { return };
        let input = step.inputs[0];
        let [h, w, c] = self.steps[input].shape;
        let Gradient { values: mut grad, pending } = gradient;
        let g = self.geometry(i, window, output);
        // The pictures themselves need no gradient, but a tile needs a place for it.
        let mut dx = (input > 0 || is_pointwise(step.op, c))
            .then(|| self.arena.floats(self.batch * h * w * c));
        let place = step.parameters[0];
        let mut dw = std::mem::take(&mut gradients[place]);
        let mut db = step.parameters.get(1).map(|p| std::mem::take(&mut gradients[*p]));
        let weight = parameters[place];
        let source = self.source(i);
        let x = source.values;
        let out = &self.values[i].out;
        if g.is_depthwise() && db.is_none() && step.bounds == LINEAR {
            let picture = g.out_height() * g.out_width() * g.output;
            let finish = |k: usize, grad: &mut [f32]| {
                if let Some(back) = &pending {
                    back.rows(&out[k * picture..(k + 1) * picture], grad);
                }
            };
            depthwise::backward(x, weight, &mut grad, &g, finish, dx.as_deref_mut(), &mut dw);
        } else {
            if let Some(back) = &pending {
                back.all(out, &mut grad);
            }
            mask(&mut grad, out, step.bounds);
            match (&mut dx, is_pointwise(step.op, c)) {
                (Some(dx), true) => self.pointwise(i, output).backward(
                    source,
                    weight,
                    (&grad, &self.values[i].places),
                    dx,
                    &mut dw,
                    db.as_deref_mut(),
                ),
                (dx, _) => {
                    let (dx, db) = (dx.as_deref_mut(), db.as_deref_mut());
                    cpu::backward(x, weight, &grad, &g, dx, &mut dw, db);
                }
            }
        }
        gradients[place] = dw;
        if let (Some(db), Some(p)) = (db, step.parameters.get(1)) {
            gradients[*p] = db;
        }
        self.arena.give(grad);
        if let Some(dx) = dx {
            self.add(input, dx, open);
        }
    }

    /// Adds to the gradient of step `i`; the first becomes it.
    fn add(&mut self, i: usize, values: Vec<f32>, open: &mut [Option<Gradient>]) {
        if i == 0 {
            return self.arena.give(values);
        }
        let Some(sum) = &mut open[i] else {
            open[i] = Some(Gradient { values, pending: None });
            return;
        };
        if let Some(back) = sum.pending.take() {
            back.all(&self.values[i].out, &mut sum.values);
        }
        let blocks = sum.values.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK));
        blocks.for_each(|(s, v)| s.iter_mut().zip(v).for_each(|(s, v)| *s += v));
        self.arena.give(values);
    }
}

fn copy_all(from: &[f32], to: &mut [f32]) {
    to.par_chunks_mut(BLOCK).zip(from.par_chunks(BLOCK)).for_each(|(t, f)| t.copy_from_slice(f));
}

/// Zero where the clamped result is at a bound, as in PyTorch.
fn mask(grad: &mut [f32], out: &[f32], (lo, hi): Bounds) {
    if (lo, hi) == LINEAR {
        return;
    }
    grad.par_chunks_mut(BLOCK).zip(out.par_chunks(BLOCK)).for_each(|(grad, out)| {
        for (g, y) in grad.iter_mut().zip(out) {
            *g = if (*y > lo) & (*y < hi) { *g } else { 0.0 };
        }
    });
}
