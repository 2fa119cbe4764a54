//! The steps, forwards.

use super::fuse::is_pointwise;
use super::{Engine, Misfit, Mode, Op, Value};
use crate::conv::pointwise::{Pointwise, Source};
use crate::conv::{cpu, depthwise, direct};
use crate::norm::Moments;
use crate::norm::cpu::{Affine, Normalize, moments};
use crate::pool::cpu::{max_forward, mean_forward};
use rayon::prelude::*;

/// Floats per task of elementwise work.
const BLOCK: usize = 16 * 1024;

impl Engine {
    /// The result `[b, classes]` for pictures `x` `[b, h, w, c]`. `x` is kept until the next call.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn forward(
        &mut self,
        parameters: &[&[f32]],
        x: Vec<f32>,
        mode: Mode,
    ) -> Result<&[f32], Misfit> {
        let floats = self.steps[0].floats();
        self.batch = x.len() / floats.max(1);
        if self.batch * floats != x.len() || self.batch == 0 {
            return Err(Misfit(format!("a batch of {} values, {floats} each", x.len())));
        }
        self.values[0].out = x;
        for i in 1..self.steps.len() {
            self.prepare(i);
            let mut value = std::mem::take(&mut self.values[i]);
            self.step(i, parameters, mode, &mut value);
            self.values[i] = value;
            if mode == Mode::Inference {
                for j in 1..i {
                    if self.steps[j].last_reader == i {
                        let out = std::mem::take(&mut self.values[j].out);
                        self.arena.give(out);
                    }
                }
            }
        }
        Ok(self.values.last().map_or(&[], |v| &v.out))
    }

    /// Buffers for the result of step `i`, those of the last batch if they fit.
    fn prepare(&mut self, i: usize) {
        let step = &self.steps[i];
        let n = if step.lazy { 0 } else { self.batch * step.floats() };
        let places = match step.op {
            Op::MaxPool(_) => n,
            _ if step.pool.is_some() => n,
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

    /// The stored values that step `i` reads, and how they are to be normalized first.
    pub(super) fn source(&self, i: usize) -> Source<'_> {
        let input = self.steps[i].inputs[0];
        if self.steps[input].lazy {
            let from = self.steps[input].inputs[0];
            let normalize = self.values[input].normalize.as_ref();
            return Source { values: &self.values[from].out, normalize };
        }
        Source { values: &self.values[input].out, normalize: None }
    }

    pub(super) fn pointwise(&self, i: usize, output: usize) -> Pointwise {
        let [height, width, input] = self.steps[self.steps[i].inputs[0]].shape;
        Pointwise { batch: self.batch, height, width, input, output, pool: self.steps[i].pool }
    }

    fn step(&self, i: usize, parameters: &[&[f32]], mode: Mode, value: &mut Value) {
        let step = &self.steps[i];
        let parameter = |k: usize| step.parameters.get(k).map(|p| parameters[*p]);
        let source = self.source(i);
        let (x, normalize) = (source.values, source.normalize);
        let [h, w, c] = self.steps[step.inputs[0]].shape;
        match step.op {
            Op::Input => {}
            Op::Conv(window, output) => {
                let (weight, bias) = (parameter(0).unwrap_or_default(), parameter(1));
                if is_pointwise(step.op, c) {
                    let p = self.pointwise(i, output);
                    let (out, places) = (&mut value.out, &mut value.places);
                    return p.forward(source, weight, bias, step.bounds, out, places);
                }
                let g = self.geometry(i, window, output);
                let feeds_norm = mode == Mode::Training
                    && self.steps.get(i + 1).is_some_and(|s| s.op == Op::Norm && s.inputs == [i]);
                if g.is_depthwise() && bias.is_none() && feeds_norm && step.bounds == super::LINEAR
                {
                    let moments = depthwise::forward_moments(x, weight, &g, &mut value.out);
                    value.result_moments = Some(moments);
                    return;
                }
                value.result_moments = None;
                if direct::is_direct(&g) {
                    if mode == Mode::Training || value.panels.is_empty() {
                        value.panels.resize(direct::packed_floats(&g), 0.0);
                        direct::pack(weight, &g, &mut value.panels);
                    }
                    let (panels, out) = (&value.panels, &mut value.out);
                    return direct::forward(x, panels, bias, step.bounds, &g, out);
                }
                cpu::forward(x, weight, bias, step.bounds, &g, &mut value.out);
            }
            Op::Norm => {
                let found = match mode {
                    Mode::Training => {
                        let known = self.values[step.inputs[0]].result_moments.clone();
                        known.unwrap_or_else(|| moments(x, c))
                    }
                    Mode::Inference => Moments {
                        mean: parameter(2).unwrap_or_default().to_vec(),
                        variance: parameter(3).unwrap_or_default().to_vec(),
                        count: 1,
                    },
                };
                let (gamma, beta) = (parameter(0), parameter(1));
                let affine = Affine::new(
                    gamma.unwrap_or_default(),
                    beta.unwrap_or_default(),
                    &found,
                    self.epsilon,
                );
                let normalize = Normalize::new(&affine, step.bounds);
                if !step.lazy {
                    normalize.all(x, &mut value.out);
                }
                (value.normalize, value.moments) = (Some(normalize), Some(found));
            }
            Op::Clamp(lo, hi) => {
                let blocks = value.out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
                blocks.for_each(|(y, x)| {
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(lo).min(hi));
                });
            }
            Op::MaxPool(win) => {
                let (out, places) = (&mut value.out, &mut value.places);
                max_forward(x, normalize, (h, w, c), win, out, places);
            }
            Op::GlobalAvgPool => mean_forward(x, h * w, c, &mut value.out),
            Op::Add => {
                let (lo, hi) = step.bounds;
                let other = &self.values[step.inputs[1]].out;
                let blocks = value.out.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK));
                blocks.zip(other.par_chunks(BLOCK)).for_each(|((y, a), b)| {
                    let values = y.iter_mut().zip(a).zip(b);
                    values.for_each(|((y, a), b)| *y = (a + b).max(lo).min(hi));
                });
            }
        }
    }
}
