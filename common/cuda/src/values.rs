//! The results of a network's fused operations and their gradients, in buffers on the device that are reused.

use crate::inputs::Inputs;
use crate::launch::{Arg, Kernels, Ptr, args};
use crate::lazy::take_in;
use crate::memory::{Buffer, Memory};
use candle_core::Result;
use executor::Precision;
use graph::schedule::{Fusing, Schedule};
use graph::{Bounds, Graph};
use std::sync::Arc;

/// Sums that a batch norm makes its statistics of, `[parts, 3, c]`.
pub(super) struct Statistics {
    pub(super) partials: Buffer,
    pub(super) parts: usize,
    /// How the rows were cut: a `Parts` of `sums`.
    pub(super) of: Arg,
}

/// What an operation of a batch left behind.
#[derive(Default)]
pub(super) struct Value {
    /// Its result, `[b, h, w, c]`.
    pub(super) out: Option<Buffer>,
    /// What it keeps for its backward pass.
    pub(super) kept: Option<Buffer>,
    /// The gradient of its result, once one of its readers has added to it.
    pub(super) grad: Option<Buffer>,
    /// The operation whose gradient, or a part of it, that is, too: it gets the buffer when this operation's backward
    /// pass has read it.
    pub(super) owed: Option<usize>,
    /// Sums of its result for the statistics of the batch norm that reads it next.
    pub(super) sums: Option<Statistics>,
}

/// A network that runs; its passes are in `pass`, its operations in `op`.
pub(super) struct Engine {
    pub(super) kernels: Arc<Kernels>,
    pub(super) memory: Memory,
    pub(super) schedule: Arc<Schedule>,
    pub(super) values: Vec<Value>,
    pub(super) inputs: Inputs,
    pub(super) batch: usize,
    /// What products of convolutions are made of.
    pub(super) precision: Precision,
    /// Whether batch norms went by stored statistics in the last pass, and whether gradients of the head are all that
    /// is wanted of it.
    pub(super) stored: bool,
    pub(super) head_only: bool,
    /// Zeros and ones, `[c]` each of the widest layer: the statistics of what has none.
    pub(super) unit: [Buffer; 2],
}

impl Engine {
    /// An engine for `graph` on pictures of `size × size`.
    ///
    /// # Errors
    /// Pictures that do not fit the network; a device that fails.
    pub(super) fn new(graph: &Graph, size: usize, kernels: &Arc<Kernels>) -> Result<Self> {
        // Nothing is fused with pointwise convolutions: NVIDIA's libraries make them.
        let schedule = Schedule::new(graph, size, Fusing::NONE);
        let mut schedule = schedule.map_err(candle_core::Error::msg)?;
        take_in(&mut schedule);
        let widest = schedule.operations.iter().map(|o| o.shape[2]).max().unwrap_or(1);
        let mut memory = Memory::new(kernels);
        let unit = [memory.hold(&vec![0.0; widest])?, memory.hold(&vec![1.0; widest])?];
        let values = schedule.operations.iter().map(|_| Value::default()).collect();
        let (kernels, schedule) = (kernels.clone(), Arc::new(schedule));
        let (stored, head_only) = (false, false);
        let inputs = Inputs::default();
        let (batch, precision) = (0, Precision::F32);
        Ok(Self {
            kernels,
            memory,
            schedule,
            values,
            inputs,
            batch,
            precision,
            stored,
            head_only,
            unit,
        })
    }

    /// The same with products of `precision`.
    pub(super) fn at(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The result of operation `i`.
    pub(super) fn buffer(&self, i: usize) -> &Buffer {
        self.values[i].out.as_ref().expect("a result is there until its last reader has run")
    }

    /// Where the result of operation `i` lies.
    pub(super) fn out(&self, i: usize) -> Ptr {
        self.buffer(i).at
    }

    /// Where that lies which operation `i` kept for its backward pass.
    pub(super) fn kept(&self, i: usize) -> Ptr {
        self.values[i].kept.as_ref().expect("the forward pass of this batch kept it").at
    }

    /// Floats of the result of operation `i` for the whole batch.
    pub(super) fn floats(&self, i: usize) -> usize {
        self.batch * self.schedule.operations[i].floats()
    }

    /// Adds to the gradient of operation `i`; the first becomes it. The picture has none.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn add(&mut self, i: usize, values: Buffer) -> Result<()> {
        if i == 0 {
            self.memory.give(values);
            return Ok(());
        }
        let Some(sum) = self.values[i].grad.take() else {
            self.values[i].grad = Some(values);
            return Ok(());
        };
        // What is another's, too, stays as it is.
        let owed = self.values[i].owed.take();
        let (sum, done) = if owed.is_some() { (values, sum) } else { (sum, values) };
        self.kernels.fours("accumulate", self.floats(i), args![done.at, sum.at])?;
        self.values[i].grad = Some(sum);
        match owed {
            Some(other) => self.add(other, done),
            None => {
                self.memory.give(done);
                Ok(())
            }
        }
    }

    /// Adds to the gradients of two operations. A batch norm reads its gradient and leaves it as it is: then the other
    /// gets the same buffer after it, and nothing is copied.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn add_to_both(&mut self, both: [usize; 2], values: Buffer) -> Result<()> {
        let [first, last] = [both[0].min(both[1]), both[0].max(both[1])];
        let is_free = first != last && self.values[last].grad.is_none();
        if is_free && self.schedule.operations[last].op.about().is_affine() {
            self.values[last].grad = Some(values);
            self.values[last].owed = Some(first);
            return Ok(());
        }
        let n = self.floats(last);
        let mut copy = self.memory.take(n)?;
        copy.copy_from(&values, n, &self.kernels.device)?;
        self.add(last, values)?;
        self.add(first, copy)
    }

    /// What becomes of the gradient `grad` of operation `i`, which its backward pass has read: the next one's, or none's.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn pass_on(&mut self, i: usize, grad: Buffer) -> Result<()> {
        match self.values[i].owed.take() {
            Some(other) => self.add(other, grad),
            None => {
                self.memory.give(grad);
                Ok(())
            }
        }
    }

    /// The gradient of operation `i` so far, zeros if there is none, to be added to.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn open(&mut self, i: usize) -> Result<Ptr> {
        let n = self.floats(i);
        let mut own = self.memory.take(n)?;
        match self.values[i].grad.take() {
            None => self.kernels.fours("fill", n, args![0.0f32, own.at])?,
            Some(sum) => match self.values[i].owed.take() {
                None => self.memory.give(std::mem::replace(&mut own, sum)),
                Some(other) => {
                    own.copy_from(&sum, n, &self.kernels.device)?;
                    self.add(other, sum)?;
                }
            },
        }
        Ok(self.values[i].grad.insert(own).at)
    }

    /// Adds `dx`, made of `grad`, which is done with, to the gradient of operation `i`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn through(&mut self, i: usize, grad: Buffer, dx: Buffer) -> Result<()> {
        self.memory.give(grad);
        self.add(i, dx)
    }

    /// Zeros in `grad`, of `n` values, where the result `y` is at a bound or beyond.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn mask(&self, n: usize, y: Ptr, bounds: Bounds, grad: &Buffer) -> Result<()> {
        if bounds == Bounds::NONE {
            return Ok(());
        }
        self.kernels.fours("mask", n, args![y, bounds.lo, bounds.hi, grad.at])
    }
}
