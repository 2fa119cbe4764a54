//! The fused operations, forwards.

use super::{Engine, Mode, Value};
use crate::conv::pointwise::{Pointwise, Source};
use crate::conv::{self, Forward, depthwise, direct};
use crate::norm::{Affine, BatchStats, Normalize, batch_stats};
use crate::{activation, channels, pool};
use graph::op::Conv;
use graph::schedule::Fused;
use graph::{Bounds, Error, Op, Result};

impl Engine {
    /// The result `[b, classes]` for pictures `x` `[b, size, size, 3]`, with `parameters` in the layout
    /// of the graph. `x` is kept until the next call.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn forward(&mut self, parameters: &[f32], x: Vec<f32>, mode: Mode) -> Result<&[f32]> {
        let schedule = self.schedule.clone();
        let floats = schedule.operations[0].floats();
        self.batch = x.len() / floats.max(1);
        if self.batch * floats != x.len() || self.batch == 0 {
            let n = x.len();
            return Err(Error::new(format!("a batch of {n} values, {floats} per picture")));
        }
        self.values[0].out = x;
        for (i, operation) in schedule.operations.iter().enumerate().skip(1) {
            self.prepare(i, operation);
            let mut value = std::mem::take(&mut self.values[i]);
            self.run(i, operation, parameters, mode, &mut value);
            self.values[i] = value;
            if mode == Mode::Inference {
                for j in 1..i {
                    if schedule.operations[j].last_reader == i {
                        let out = std::mem::take(&mut self.values[j].out);
                        self.arena.give(out);
                    }
                }
            }
        }
        Ok(self.values.last().map_or(&[], |v| &v.out))
    }

    /// Buffers for the result of operation `i`, those of the last batch if they fit.
    fn prepare(&mut self, i: usize, operation: &Fused) {
        let n = if operation.lazy { 0 } else { self.batch * operation.floats() };
        let places = match operation.op {
            Op::MaxPool(_) => n,
            _ if operation.pool.is_some() => n,
            _ => 0,
        };
        let value = &mut self.values[i];
        if value.out.len() != n {
            self.arena.give(std::mem::take(&mut value.out));
            value.out = self.arena.floats(n);
        }
        if value.places.len() != places {
            self.arena.give_places(std::mem::take(&mut value.places));
            value.places = self.arena.places(places);
        }
    }

    /// The stored values that operation `i` reads first, and how they are to be normalized.
    pub(super) fn source(&self, i: usize) -> Source<'_> {
        let Some(&input) = self.schedule.operations[i].inputs.first() else {
            return Source { values: &[], normalize: None };
        };
        if self.schedule.operations[input].lazy {
            let from = self.schedule.operations[input].inputs[0];
            let normalize = self.values[input].normalize.as_ref();
            return Source { values: &self.values[from].out, normalize };
        }
        Source { values: &self.values[input].out, normalize: None }
    }

    pub(super) fn pointwise(&self, i: usize, output: usize) -> Pointwise {
        let [height, width, input] = self.input_shape(i);
        let pool = self.schedule.operations[i].pool;
        Pointwise { batch: self.batch, height, width, input, output, pool }
    }

    fn run(&self, i: usize, operation: &Fused, parameters: &[f32], mode: Mode, value: &mut Value) {
        let source = self.source(i);
        let (x, normalize) = (source.values, source.normalize);
        let [h, w, c] = self.input_shape(i);
        match operation.op {
            Op::Input(_) => {}
            Op::Conv(conv) => self.convolve(i, &conv, parameters, mode, value),
            Op::Linear(_) => {
                if let Some(conv) = operation.op.as_conv() {
                    self.convolve(i, &conv, parameters, mode, value);
                }
            }
            Op::BatchNorm(_) | Op::ScaleShift(_) => {
                let (normalize, batch_stats) =
                    self.normalization(i, operation, parameters, mode, x);
                if !operation.lazy {
                    normalize.all(x, &mut value.out);
                }
                (value.normalize, value.batch_stats) = (Some(normalize), batch_stats);
            }
            Op::Activation(a) => activation::forward(x, a, &mut value.out),
            Op::MaxPool(p) => {
                let (out, places) = (&mut value.out, &mut value.places);
                pool::max_forward(x, normalize, (h, w, c), p.0, out, places);
            }
            Op::AvgPool(p) => pool::avg_forward(x, (h, w, c), p.0, &mut value.out),
            Op::GlobalAvgPool(_) => pool::mean_forward(x, h * w, c, &mut value.out),
            Op::Add(_) => {
                let other = &self.values[operation.inputs[1]].out;
                activation::add(x, other, operation.bounds, &mut value.out);
            }
            Op::Concat(_) => {
                let (mut at, width) = (0, operation.shape[2]);
                for j in &operation.inputs {
                    let n = self.schedule.operations[*j].shape[2];
                    channels::put(&self.values[*j].out, n, &mut value.out, (at, width));
                    at += n;
                }
            }
            Op::Split(s) => channels::take(x, (s.start, c), s.end - s.start, &mut value.out),
            Op::Shuffle(s) => channels::shuffle(x, s, c, false, &mut value.out),
        }
    }

    fn convolve(&self, i: usize, conv: &Conv, parameters: &[f32], mode: Mode, value: &mut Value) {
        let operation = &self.schedule.operations[i];
        let weight = &parameters[self.range(operation, 0)];
        let bias = self.range_of(operation, 1).map(|r| &parameters[r]);
        let (source, bounds) = (self.source(i), operation.bounds);
        let g = self.geometry(i, conv);
        let out = &mut value.out;
        match self.plans[i].map(|p| p.forward) {
            Some(Forward::Fused) => {
                let p = self.pointwise(i, conv.output);
                p.forward(source, weight, bias, bounds, out, &mut value.places);
            }
            Some(Forward::Depthwise) if mode == Mode::Training && self.feeds_norm(i) => {
                let batch_stats = depthwise::forward_with_stats(source.values, weight, &g, out);
                value.result_stats = Some(batch_stats);
            }
            Some(Forward::Direct) => {
                if mode == Mode::Training || value.panels.is_empty() {
                    value.panels.resize(direct::packed_floats(&g), 0.0);
                    direct::pack(weight, &g, &mut value.panels);
                }
                direct::forward(source.values, &value.panels, bias, bounds, &g, out);
            }
            _ => conv::forward(source.values, weight, bias, bounds, &g, out),
        }
    }

    /// Whether all that is done with the bare result of operation `i` is to normalize it.
    fn feeds_norm(&self, i: usize) -> bool {
        let operation = &self.schedule.operations[i];
        let next = self.schedule.operations.get(i + 1);
        operation.parameters.len() == 1
            && operation.bounds == Bounds::NONE
            && next.is_some_and(|s| matches!(s.op, Op::BatchNorm(_)) && s.inputs == [i])
    }

    /// How a batch norm, or a scale and shift, normalizes `x`; in training the statistics besides.
    fn normalization(
        &self,
        i: usize,
        operation: &Fused,
        parameters: &[f32],
        mode: Mode,
        x: &[f32],
    ) -> (Normalize, Option<BatchStats>) {
        let parameter = |k: usize| &parameters[self.range(operation, k)];
        let (scale, shift) = (parameter(0), parameter(1));
        let Op::BatchNorm(norm) = operation.op else {
            let affine = Affine { scale: scale.to_vec(), shift: shift.to_vec() };
            return (Normalize::new(&affine, operation.bounds), None);
        };
        let found = match mode {
            Mode::Training => {
                let known = self.values[operation.inputs[0]].result_stats.clone();
                known.unwrap_or_else(|| batch_stats(x, self.input_shape(i)[2]))
            }
            Mode::Inference => BatchStats {
                mean: parameter(2).to_vec(),
                variance: parameter(3).to_vec(),
                count: 1,
            },
        };
        let affine = Affine::new(scale, shift, &found, norm.epsilon);
        (Normalize::new(&affine, operation.bounds), Some(found))
    }
}
