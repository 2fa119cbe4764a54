//! The fused operations, backwards.
//!
//! Each turns the gradient of its result into those of its inputs and parameters. A gradient's buffer
//! is taken when its first reader has passed and given back when its own operation has. The input
//! gradient of a batch norm takes the place of its output's; where a depthwise convolution is before
//! it, picture by picture, as the convolution goes back over them.

use super::Engine;
use crate::conv::{self, Forward, depthwise};
use crate::norm::InputGradient;
use crate::{activation, channels, pool};
use graph::op::Conv;
use graph::schedule::Fused;
use graph::{Bounds, Error, Op, Result};

/// The gradient of an operation's result.
struct Gradient {
    values: Vec<f32>,
    /// What is still to be done to it: it is that of the batch norm behind.
    pending: Option<InputGradient>,
}

/// The gradients of all results that some reader has added to.
type Open = Vec<Option<Gradient>>;

impl Engine {
    /// Gradients of all parameters for the gradient `grad` `[b, classes]` of the last training batch's
    /// result, into `gradients`, laid out like the parameters. Those of statistics stay as they are.
    ///
    /// # Errors
    /// A gradient of another size.
    pub fn backward(
        &mut self,
        parameters: &[f32],
        grad: &[f32],
        gradients: &mut [f32],
    ) -> Result<()> {
        let schedule = self.schedule.clone();
        let last = schedule.operations.len() - 1;
        let expected = self.values[last].out.len();
        if grad.len() != expected {
            let n = grad.len();
            return Err(Error::new(format!("a gradient of {n} values for {expected} logits")));
        }
        let mut open: Open = schedule.operations.iter().map(|_| None).collect();
        let mut values = self.arena.floats(grad.len());
        values.copy_from_slice(grad);
        open[last] = Some(Gradient { values, pending: None });
        for i in (1..=last).rev() {
            if let Some(gradient) = open[i].take() {
                self.back(i, &schedule.operations[i], parameters, gradient, gradients, &mut open);
            }
        }
        Ok(())
    }

    fn back(
        &mut self,
        i: usize,
        operation: &Fused,
        parameters: &[f32],
        mut gradient: Gradient,
        gradients: &mut [f32],
        open: &mut Open,
    ) {
        let conv = operation.op.as_conv();
        if let (Some(back), None) = (&gradient.pending, conv) {
            back.all(&self.values[i].out, &mut gradient.values);
            gradient.pending = None;
        }
        let [h, w, c] = self.input_shape(i);
        match operation.op {
            Op::Input(_) => {}
            Op::Conv(_) | Op::Linear(_) => {
                if let Some(conv) = conv {
                    self.conv_back(i, operation, &conv, parameters, gradient, gradients, open);
                }
            }
            Op::BatchNorm(_) | Op::ScaleShift(_) => {
                self.norm_back(i, operation, parameters, gradient, gradients, open);
            }
            Op::Activation(a) => {
                let x = self.source(i).values;
                activation::backward(&mut gradient.values, x, &self.values[i].out, a);
                self.add(operation.inputs[0], gradient.values, open);
            }
            Op::MaxPool(p) => self.through(operation, gradient, open, |engine, grad, dx| {
                let places = &engine.values[i].places;
                pool::max_backward(grad, places, (h, w, c), p.0, dx);
            }),
            Op::AvgPool(p) => self.through(operation, gradient, open, |_, grad, dx| {
                pool::avg_backward(grad, (h, w, c), p.0, dx);
            }),
            Op::GlobalAvgPool(_) => self.through(operation, gradient, open, |_, grad, dx| {
                pool::mean_backward(grad, h * w, c, dx);
            }),
            Op::Add(_) => {
                activation::mask(&mut gradient.values, &self.values[i].out, operation.bounds);
                let mut copy = self.arena.floats(gradient.values.len());
                activation::copy(&gradient.values, &mut copy);
                self.add(operation.inputs[0], gradient.values, open);
                self.add(operation.inputs[1], copy, open);
            }
            Op::Concat(_) => {
                let (mut at, width) = (0, operation.shape[2]);
                for &j in &operation.inputs {
                    let (n, floats) = (self.channels_of(j), self.floats_of(j));
                    let mut dx = self.arena.floats(floats);
                    channels::take(&gradient.values, (at, width), n, &mut dx);
                    self.add(j, dx, open);
                    at += n;
                }
                self.arena.give(gradient.values);
            }
            Op::Split(s) => self.split_back(operation, s.start, gradient, open),
            Op::Shuffle(s) => self.through(operation, gradient, open, |_, grad, dx| {
                channels::shuffle(grad, s, c, true, dx);
            }),
        }
    }

    fn channels_of(&self, i: usize) -> usize {
        self.schedule.operations[i].shape[2]
    }

    /// Floats of the result of operation `i`.
    fn floats_of(&self, i: usize) -> usize {
        self.batch * self.schedule.operations[i].floats()
    }

    /// Hands the only input the gradient that `f(engine, gradient, dx)` makes.
    fn through(
        &mut self,
        operation: &Fused,
        gradient: Gradient,
        open: &mut Open,
        f: impl Fn(&Self, &[f32], &mut [f32]),
    ) {
        let input = operation.inputs[0];
        let mut dx = self.arena.floats(self.floats_of(input));
        f(self, &gradient.values, &mut dx);
        self.arena.give(gradient.values);
        self.add(input, dx, open);
    }

    fn norm_back(
        &mut self,
        i: usize,
        operation: &Fused,
        parameters: &[f32],
        mut gradient: Gradient,
        gradients: &mut [f32],
        open: &mut Open,
    ) {
        let (input, x) = (operation.inputs[0], self.source(i).values);
        let ranges = [self.range(operation, 0), self.range(operation, 1)];
        let gamma = &parameters[ranges[0].clone()];
        let Some(normalize) = self.values[i].normalize.clone() else { return };
        let Ok(both) = gradients.get_disjoint_mut(ranges) else { return };
        let grad = &gradient.values;
        let back = match (operation.op, &self.values[i].batch_stats) {
            (Op::BatchNorm(norm), Some(batch_stats)) => {
                InputGradient::of_norm(x, grad, gamma, batch_stats, norm.epsilon, normalize, both)
            }
            _ => InputGradient::of_scale(x, grad, normalize, both),
        };
        if open[input].is_none() && input > 0 {
            gradient.pending = Some(back);
            open[input] = Some(gradient);
        } else {
            back.all(x, &mut gradient.values);
            self.add(input, gradient.values, open);
        }
    }

    #[allow(clippy::too_many_arguments)] // one operation and everything it reads and writes
    fn conv_back(
        &mut self,
        i: usize,
        operation: &Fused,
        conv: &Conv,
        parameters: &[f32],
        gradient: Gradient,
        gradients: &mut [f32],
        open: &mut Open,
    ) {
        let input = operation.inputs[0];
        let Gradient { values: mut grad, pending } = gradient;
        let g = self.geometry(i, conv);
        let forward = self.plans[i].map(|p| p.forward);
        // The pictures themselves need no gradient, but a tile needs a place for it.
        let needs_dx = input > 0 || forward == Some(Forward::Fused);
        let mut dx = needs_dx.then(|| self.arena.floats(self.floats_of(input)));
        let weight_range = self.range(operation, 0);
        let weight = &parameters[weight_range.clone()];
        let bias_range = self.range_of(operation, 1).unwrap_or(0..0);
        let has_bias = !bias_range.is_empty();
        let Ok([dw, db]) = gradients.get_disjoint_mut([weight_range, bias_range]) else { return };
        let db = has_bias.then_some(db);
        let source = self.source(i);
        let (x, value) = (source.values, &self.values[i]);
        let bare = db.is_none() && operation.bounds == Bounds::NONE;
        if forward == Some(Forward::Depthwise) && bare {
            let picture = g.out_height() * g.out_width() * g.output;
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
            activation::mask(&mut grad, &value.out, operation.bounds);
            match (&mut dx, forward) {
                (Some(dx), Some(Forward::Fused)) => {
                    let p = self.pointwise(i, conv.output);
                    p.backward(source, weight, (&grad, &value.places), dx, dw, db);
                }
                (dx, _) => conv::backward(x, weight, &grad, &g, dx.as_deref_mut(), dw, db),
            }
        }
        self.arena.give(grad);
        if let Some(dx) = dx {
            self.add(input, dx, open);
        }
    }

    /// A split adds to its channels of the input's gradient; the others have none from it.
    fn split_back(&mut self, operation: &Fused, at: usize, gradient: Gradient, open: &mut Open) {
        let (input, n) = (operation.inputs[0], operation.shape[2]);
        let width = self.channels_of(input);
        self.settle(input, open);
        if open[input].is_none() {
            let mut zeros = self.arena.floats(self.floats_of(input));
            zeros.fill(0.0);
            open[input] = Some(Gradient { values: zeros, pending: None });
        }
        if let Some(sum) = &mut open[input] {
            channels::put_more(&gradient.values, n, &mut sum.values, (at, width));
        }
        self.arena.give(gradient.values);
    }

    /// Does what is still to be done to the gradient of operation `i`.
    fn settle(&self, i: usize, open: &mut Open) {
        if let Some(sum) = &mut open[i]
            && let Some(back) = sum.pending.take()
        {
            back.all(&self.values[i].out, &mut sum.values);
        }
    }

    /// Adds to the gradient of operation `i`; the first becomes it.
    fn add(&mut self, i: usize, values: Vec<f32>, open: &mut Open) {
        if i == 0 {
            return self.arena.give(values);
        }
        self.settle(i, open);
        match &mut open[i] {
            Some(sum) => {
                activation::accumulate(&mut sum.values, &values);
                self.arena.give(values);
            }
            none => *none = Some(Gradient { values, pending: None }),
        }
    }
}
