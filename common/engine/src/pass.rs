//! The forward and the backward pass: the operations of the schedule one after the other, and how long their
//! results and gradients live. Sums are cut and added in an order that depends on shapes alone.

use crate::op::{self, Back, Gradient, Open, Pass};
pub use crate::values::{Engine, Manner, Mode};
use graph::schedule::Fused;
use graph::{Error, Result};

impl Engine {
    /// The result `[b, classes]` for pictures `x` `[b, size, size, 3]`, with `parameters` in the layout
    /// of the graph. `x` is kept until the next call.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn forward(&mut self, parameters: &[f32], x: Vec<f32>) -> Result<&[f32]> {
        self.forward_each(parameters, x, |_| {})
    }

    /// [`Engine::forward`] that tells `done` the number of each operation when it has run.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn forward_each(
        &mut self,
        parameters: &[f32],
        x: Vec<f32>,
        mut done: impl FnMut(usize),
    ) -> Result<&[f32]> {
        let schedule = self.schedule.clone();
        let floats = schedule.operations[0].floats();
        self.batch = x.len() / floats.max(1);
        if self.batch * floats != x.len() || self.batch == 0 {
            let n = x.len();
            return Err(Error::new(format!("a batch of {n} values, {floats} per picture")));
        }
        self.values[0].out = x;
        for (i, fused) in schedule.operations.iter().enumerate().skip(1) {
            self.prepare(i, fused);
            let mut value = std::mem::take(&mut self.values[i]);
            let pass = Pass { engine: self, i, fused, parameters };
            op::forward(&fused.op, &pass, &mut value);
            self.values[i] = value;
            done(i);
            if self.mode() == Mode::Inference {
                for j in 1..i {
                    if schedule.operations[j].last_reader == i {
                        let out = std::mem::take(&mut self.values[j].out);
                        self.arena.give(out);
                    }
                }
            }
        }
        Ok(&self.values.last().expect("a network begins with the picture").out)
    }

    /// Buffers for the result of operation `i`, those of the last batch if they fit.
    fn prepare(&mut self, i: usize, operation: &Fused) {
        let n = if operation.lazy { 0 } else { self.batch * operation.floats() };
        let keeps_places = op::keeps_places(&operation.op) || operation.pool.is_some();
        let places = if keeps_places && self.mode() == Mode::Training { n } else { 0 };
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

    /// Gradients of all parameters for the gradient `grad` `[b, classes]` of the last training batch's
    /// result, into `gradients`, laid out like the parameters. Those of statistics stay as they are.
    ///
    /// A gradient's buffer is taken when its first reader has passed and given back when its own operation
    /// has. The input gradient of a batch norm takes the place of its output's; where a depthwise convolution
    /// is before it, picture by picture, as the convolution goes back over them.
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
        open[last] = Some(Gradient::of(values));
        let first = if self.manner.head_only { schedule.head().unwrap_or(1) } else { 1 };
        for (i, fused) in schedule.operations.iter().enumerate().skip(first).rev() {
            let Some(mut gradient) = open[i].take() else { continue };
            // A convolution does it as it goes back over the pictures.
            if fused.op.as_conv().is_none() {
                gradient.settle(&self.values[i].out);
            }
            let (engine, open) = (&mut *self, &mut open);
            let back = Back { engine, i, fused, parameters, gradients, open };
            op::backward(&fused.op, back, gradient);
        }
        // Where it ends early, what nobody takes.
        open.into_iter().flatten().for_each(|gradient| self.arena.give(gradient.values));
        Ok(())
    }
}
