//! The results of a network's fused operations and their gradients, in buffers on the device that are reused.

use crate::inputs::Inputs;
use crate::launch::{Kernels, Ptr, args};
use crate::memory::{Buffer, Memory};
use candle_core::Result;
use executor::Precision;
use graph::schedule::{Fusing, Schedule};
use graph::{Bounds, Graph};
use std::sync::Arc;

/// What an operation of a batch left behind.
#[derive(Default)]
pub(super) struct Value {
    /// Its result, `[b, h, w, c]`.
    pub(super) out: Option<Buffer>,
    /// What it keeps for its backward pass.
    pub(super) kept: Option<Buffer>,
    /// The gradient of its result, once one of its readers has added to it.
    pub(super) grad: Option<Buffer>,
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
        // Nothing is fused with pointwise convolutions: they are cuBLAS's.
        let schedule = Schedule::new(graph, size, Fusing::NONE).map_err(candle_core::Error::msg)?;
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
        match &self.values[i].grad {
            Some(sum) => {
                self.kernels.each("accumulate", self.floats(i), args![values.at, sum.at])?;
                self.memory.give(values);
            }
            None => self.values[i].grad = Some(values),
        }
        Ok(())
    }

    /// The gradient of operation `i` so far, zeros if there is none, to be added to.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn open(&mut self, i: usize) -> Result<Ptr> {
        if let Some(sum) = &self.values[i].grad {
            return Ok(sum.at);
        }
        let (n, zeros) = (self.floats(i), self.memory.take(self.floats(i))?);
        self.kernels.each("fill", n, args![0.0f32, zeros.at])?;
        Ok(self.values[i].grad.insert(zeros).at)
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
        self.kernels.each("mask", n, args![y, bounds.lo, bounds.hi, grad.at])
    }
}
