//! A graph as fused operations, in the order in which they run, with the lifetimes of their results.
//!
//! Fused are: an activation that clamps with what stands before it; a batch norm (or a scale and shift) with the
//! pools and pointwise convolutions behind it, which normalize for themselves ("lazy": its result is
//! never stored); a pointwise convolution with the max pool behind it. The schedule belongs to no
//! device: an executor runs it with its own kernels.

use crate::error::Result;
use crate::layout::Layout;
use crate::network::Graph;
use crate::op::{Bounds, Op, Window};

/// A node together with the activation and the pool behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// What it does first.
    pub op: Op,
    /// The fused operations it reads, by position.
    pub inputs: Vec<usize>,
    /// Its parameters: positions among the slots of the layout.
    pub parameters: Vec<usize>,
    /// What its result is clamped to.
    pub bounds: Bounds,
    /// A max pool behind a pointwise convolution.
    pub pool: Option<Window>,
    /// A batch norm whose result is never stored: its readers normalize for themselves.
    pub lazy: bool,
    /// Of the result of one picture: height, width, channels.
    pub shape: [usize; 3],
    /// The last fused operation that reads the result, going forward.
    pub last_reader: usize,
}

impl Fused {
    /// Floats of the result of one picture.
    pub fn floats(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What an executor can fuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fusing {
    /// Largest weight of a pointwise convolution, floats, that is fused with what stands around it.
    pub pointwise: usize,
}

impl Fusing {
    /// Whether this is a convolution that is fused with the batch norm before and the pool behind it.
    pub fn fuses(self, op: &Op) -> bool {
        op.as_conv().is_some_and(|c| c.is_pointwise() && c.input * c.output <= self.pointwise)
    }
}

/// The fused operations of a network for pictures of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// In order; the first is the picture, the last gives the logits.
    pub operations: Vec<Fused>,
    /// Where their parameters lie.
    pub layout: Layout,
    /// What was fused.
    pub fusing: Fusing,
}

impl Schedule {
    /// The schedule of `graph` for pictures of `size × size`.
    ///
    /// # Errors
    /// Pictures that do not fit the network.
    pub fn new(graph: &Graph, size: usize, fusing: Fusing) -> Result<Self> {
        let layout = Layout::of(graph);
        let (shapes, readers) = (graph.shapes(size)?, graph.readers());
        let mut operations: Vec<Fused> = Vec::new();
        // The fused operation that gives each node's result.
        let mut place = vec![0; graph.nodes().len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            let [c, h, w] = shapes[i];
            if let [j] = node.inputs[..]
                && readers[j] == [i]
                && operations[place[j]].takes_in(&node.op, fusing)
            {
                place[i] = place[j];
                operations[place[j]].shape = [h, w, c];
                continue;
            }
            let parameters = node.parameters();
            let slots = parameters.iter().map(|p| layout.find(&p.name)).collect::<Result<_>>()?;
            place[i] = operations.len();
            operations.push(Fused {
                op: node.op,
                inputs: node.inputs.iter().map(|j| place[*j]).collect(),
                parameters: slots,
                bounds: Bounds::NONE,
                pool: None,
                lazy: false,
                shape: [h, w, c],
                last_reader: usize::MAX,
            });
        }
        mark_lazy(&mut operations, fusing);
        mark_last_readers(&mut operations);
        Ok(Self { operations, layout, fusing })
    }
}

impl Fused {
    /// Fuses `op`, the only reader, with this operation if that is possible.
    fn takes_in(&mut self, op: &Op, fusing: Fusing) -> bool {
        if self.bounds != Bounds::NONE || self.pool.is_some() {
            return false;
        }
        match op {
            Op::Activation(a) => {
                let takes = matches!(
                    self.op,
                    Op::Conv(_) | Op::Linear(_) | Op::BatchNorm(_) | Op::ScaleShift(_) | Op::Add(_)
                );
                match a.bounds().filter(|_| takes) {
                    Some(bounds) => self.bounds = bounds,
                    None => return false,
                }
                true
            }
            Op::MaxPool(pool) if pool.0.tiles() && fusing.fuses(&self.op) => {
                self.pool = Some(pool.0);
                true
            }
            _ => false,
        }
    }
}

/// Batch norms whose every reader normalizes for itself.
fn mark_lazy(operations: &mut [Fused], fusing: Fusing) {
    for i in 0..operations.len().saturating_sub(1) {
        let mut readers = operations.iter().filter(|s| s.inputs.contains(&i));
        let lazy = matches!(operations[i].op, Op::BatchNorm(_) | Op::ScaleShift(_))
            && readers.all(|r| matches!(r.op, Op::MaxPool(_)) || fusing.fuses(&r.op));
        operations[i].lazy = lazy;
    }
}

/// A lazy operation's input is read when its own readers run.
fn mark_last_readers(operations: &mut [Fused]) {
    for i in 0..operations.len() {
        let last = |i: usize| operations.iter().rposition(|s| s.inputs.contains(&i));
        let mut reader = last(i);
        // All of its lazy readers count, not only the last.
        for (r, op) in operations.iter().enumerate() {
            if op.lazy && op.inputs.contains(&i) {
                reader = reader.max(last(r));
            }
        }
        operations[i].last_reader = reader.unwrap_or(usize::MAX);
    }
}
