//! What the engine does for each operation: one file per operation, forward and backward pass together, with the
//! kernels that are its alone.

mod activation;
mod add;
pub mod avg_pool;
mod batch_norm;
mod blur;
mod concat;
mod conv;
pub mod global_avg_pool;
mod input;
mod linear;
pub mod max_pool;
mod mul;
mod scale_shift;
mod shuffle;
mod split;

use crate::conv::pointwise::Source;
use crate::norm::InputGradient;
pub(crate) use crate::values::{Engine, Mode, Value};
use graph::Op;
use graph::schedule::Fused;

/// An operation that runs.
pub(crate) trait Run {
    /// Whether it must know in the backward pass where in the window each maximum was.
    fn keeps_places(&self) -> bool {
        false
    }

    /// Its result for what it reads, into `value`.
    fn forward(&self, pass: &Pass, value: &mut Value);

    /// Turns the gradient of its result into those of its inputs and parameters.
    fn backward(&self, back: Back, gradient: Gradient);
}

/// Writes down what each operation does, from the list of them. By functions, not through `dyn Run`: a page that
/// only answers is not to carry the backward passes.
macro_rules! runs {
    ($($(#[$doc:meta])* $name:ident: $($verb:literal)|+,)*) => {
        /// [`Run::keeps_places`] of `op`.
        pub(crate) fn keeps_places(op: &Op) -> bool {
            match op {
                $(Op::$name(op) => op.keeps_places(),)*
            }
        }

        /// [`Run::forward`] of `op`.
        pub(crate) fn forward(op: &Op, pass: &Pass, value: &mut Value) {
            match op {
                $(Op::$name(op) => op.forward(pass, value),)*
            }
        }

        /// [`Run::backward`] of `op`.
        pub(crate) fn backward(op: &Op, back: Back, gradient: Gradient) {
            match op {
                $(Op::$name(op) => op.backward(back, gradient),)*
            }
        }
    };
}

graph::operations!(runs);

/// An operation in a forward pass.
pub(crate) struct Pass<'a> {
    pub(crate) engine: &'a Engine,
    /// Its number in the schedule.
    pub(crate) i: usize,
    pub(crate) fused: &'a Fused,
    /// Of the network, in its layout.
    pub(crate) parameters: &'a [f32],
}

impl<'a> Pass<'a> {
    /// The stored values that it reads first, and how they are to be normalized.
    pub(crate) fn source(&self) -> Source<'a> {
        self.engine.source(self.i)
    }

    /// Height, width, channels of what it reads first.
    pub(crate) fn input_shape(&self) -> [usize; 3] {
        self.engine.input_shape(self.i)
    }

    /// Its parameter `k`.
    pub(crate) fn parameter(&self, k: usize) -> &'a [f32] {
        &self.parameters[self.engine.range(self.fused, k)]
    }
}

/// The gradient of an operation's result.
pub(crate) struct Gradient {
    pub(crate) values: Vec<f32>,
    /// What is still to be done to it: it is that of the batch norm behind.
    pub(crate) pending: Option<InputGradient>,
}

impl Gradient {
    /// Nothing is pending.
    pub(crate) fn of(values: Vec<f32>) -> Self {
        Self { values, pending: None }
    }

    /// Does what is pending, where `out` is the result.
    pub(crate) fn settle(&mut self, out: &[f32]) {
        if let Some(back) = self.pending.take() {
            back.all(out, &mut self.values);
        }
    }
}

/// The gradients of all results that some reader has added to.
pub(crate) type Open = Vec<Option<Gradient>>;

/// An operation in a backward pass.
pub(crate) struct Back<'a> {
    pub(crate) engine: &'a mut Engine,
    /// Its number in the schedule.
    pub(crate) i: usize,
    pub(crate) fused: &'a Fused,
    /// Of the network, in its layout.
    pub(crate) parameters: &'a [f32],
    /// Of the parameters, in the same layout.
    pub(crate) gradients: &'a mut [f32],
    /// Of the results that some reader has added to.
    pub(crate) open: &'a mut Open,
}

impl Back<'_> {
    /// What it left behind in the forward pass.
    pub(crate) fn value(&self) -> &Value {
        &self.engine.values[self.i]
    }

    /// Its result.
    pub(crate) fn out(&self) -> &[f32] {
        &self.value().out
    }

    /// As [`Pass::source`].
    pub(crate) fn source(&self) -> Source<'_> {
        self.engine.source(self.i)
    }

    /// As [`Pass::input_shape`].
    pub(crate) fn input_shape(&self) -> [usize; 3] {
        self.engine.input_shape(self.i)
    }

    /// Room for a gradient of the result of operation `j`, of any values.
    pub(crate) fn room(&mut self, j: usize) -> Vec<f32> {
        let floats = self.engine.floats(j);
        self.engine.arena.floats(floats)
    }

    /// Gives a buffer back.
    pub(crate) fn give(self, values: Vec<f32>) {
        self.engine.arena.give(values);
    }

    /// Hands the only input the gradient that `f(engine, gradient, dx)` makes.
    pub(crate) fn through(mut self, gradient: Gradient, f: impl Fn(&Engine, &[f32], &mut [f32])) {
        let input = self.fused.inputs[0];
        let mut dx = self.room(input);
        f(self.engine, &gradient.values, &mut dx);
        self.engine.arena.give(gradient.values);
        self.add(input, dx);
    }

    /// Adds to the gradient of operation `j`; the first becomes it.
    pub(crate) fn add(&mut self, j: usize, values: Vec<f32>) {
        if j == 0 {
            return self.engine.arena.give(values);
        }
        match &mut self.open[j] {
            Some(sum) => {
                sum.settle(&self.engine.values[j].out);
                crate::elementwise::accumulate(&mut sum.values, &values);
                self.engine.arena.give(values);
            }
            none => *none = Some(Gradient::of(values)),
        }
    }

    /// The gradient of operation `j` so far, zeros at first, to add to.
    pub(crate) fn sum_of(&mut self, j: usize) -> &mut [f32] {
        if self.open[j].is_none() {
            let mut zeros = self.room(j);
            zeros.fill(0.0);
            self.open[j] = Some(Gradient::of(zeros));
        }
        let sum = self.open[j].as_mut().expect("it is there now");
        sum.settle(&self.engine.values[j].out);
        &mut sum.values
    }
}
