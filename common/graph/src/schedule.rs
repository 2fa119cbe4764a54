//! A graph as fused operations, in the order in which they run, with the lifetimes of their results.
//!
//! Fused are: an activation that clamps with what stands before it; a batch norm (or a scale and shift) with the
//! pools and pointwise convolutions behind it, which normalize for themselves ("lazy": its result is
//! never stored); a pointwise convolution with the max pool behind it. Where nothing is to go back, a depthwise
//! convolution is lazy too, and first layers take in their pool. The schedule belongs to no device: an executor runs
//! it with its own kernels.

use crate::error::{Result, ensure};
use crate::layout::Layout;
use crate::limits::MAX_RESULTS;
use crate::network::Graph;
use crate::op::{Bounds, Conv, MaxPool, Op, Window};

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
    /// A max pool behind a pointwise convolution or a first layer.
    pub pool: Option<Window>,
    /// A batch norm, or a depthwise convolution, whose result is never stored: its readers make it for themselves.
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
    /// Whether nothing is to go back. Then a depthwise convolution is made, tile by tile, by the pointwise one that
    /// alone reads it, and a max pool is taken in behind a clamp, too.
    pub forward_only: bool,
    /// Most input channels of a plain convolution that then takes in the max pool behind it.
    pub stem: usize,
}

impl Fusing {
    /// Nothing around pointwise convolutions.
    pub const NONE: Self = Self { pointwise: 0, forward_only: false, stem: 0 };

    /// Whether this is a convolution that is fused with the batch norm before and the pool behind it.
    pub fn fuses(self, op: &Op) -> bool {
        op.as_conv().is_some_and(|c| c.is_pointwise() && c.input * c.output <= self.pointwise)
    }

    /// Whether this takes in a max pool behind it.
    fn takes_pool(self, fused: &Fused) -> bool {
        let first = |c: Conv| self.forward_only && c.groups == 1 && c.input <= self.stem;
        let pointwise =
            self.fuses(&fused.op) && (self.forward_only || fused.bounds == Bounds::NONE);
        pointwise || fused.op.as_conv().is_some_and(first)
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
    /// As [`Graph::shapes`]; stored results of more than [`MAX_RESULTS`] numbers.
    pub fn new(graph: &Graph, size: usize, fusing: Fusing) -> Result<Self> {
        let layout = Layout::of(graph);
        let mut parameters = layout.of_nodes(graph);
        let (shapes, readers) = (graph.shapes(size)?, graph.readers());
        let mut operations: Vec<Fused> = Vec::new();
        // The fused operation that gives each node's result.
        let mut place = vec![0; graph.nodes().len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            if let [j] = node.inputs[..]
                && readers[j] == [i]
                && operations[place[j]].takes_in(&node.op, fusing)
            {
                place[i] = place[j];
                operations[place[j]].shape = shapes[i];
                continue;
            }
            place[i] = operations.len();
            operations.push(Fused {
                op: node.op,
                inputs: node.inputs.iter().map(|j| place[*j]).collect(),
                parameters: std::mem::take(&mut parameters[i]),
                bounds: Bounds::NONE,
                pool: None,
                lazy: false,
                shape: shapes[i],
                last_reader: usize::MAX,
            });
        }
        let readers = operation_readers(&operations);
        mark_lazy(&mut operations, &readers, fusing);
        mark_last_readers(&mut operations, &readers);
        let schedule = Self { operations, layout, fusing };
        let floats = schedule.floats();
        ensure!(
            floats <= MAX_RESULTS,
            "the results of one picture of {size} px are {floats} numbers in {} operations, at most \
             {MAX_RESULTS} fit",
            schedule.operations.len()
        );
        Ok(schedule)
    }

    /// The last layer with weights; [`Graph::head`], where that has weights.
    pub fn head(&self) -> Option<usize> {
        self.operations.iter().rposition(|o| o.op.as_conv().is_some())
    }

    /// Numbers in all results of one picture that are stored.
    pub fn floats(&self) -> u64 {
        self.operations.iter().filter(|o| !o.lazy).map(|o| o.floats() as u64).sum()
    }
}

impl Fused {
    /// Fuses `op`, the only reader, with this operation if that is possible.
    fn takes_in(&mut self, op: &Op, fusing: Fusing) -> bool {
        if self.pool.is_some() {
            return false;
        }
        if let Op::Activation(a) = op
            && self.bounds == Bounds::NONE
            && self.op.about().clamps()
            && let Some(bounds) = a.bounds()
        {
            self.bounds = bounds;
            return true;
        }
        if let Op::MaxPool(MaxPool(window)) = op
            && window.tiles()
            && fusing.takes_pool(self)
        {
            self.pool = Some(*window);
            return true;
        }
        false
    }
}

/// For each operation, those that read it, in order.
fn operation_readers(operations: &[Fused]) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); operations.len()];
    for (i, operation) in operations.iter().enumerate() {
        for j in &operation.inputs {
            readers[*j].push(i);
        }
    }
    readers
}

/// Batch norms whose every reader normalizes for itself, and depthwise convolutions that their reader makes.
fn mark_lazy(operations: &mut [Fused], readers: &[Vec<usize>], fusing: Fusing) {
    for i in 0..operations.len().saturating_sub(1) {
        let normalizes = |r: &usize| {
            let op = &operations[*r].op;
            op.about().takes_affine() || fusing.fuses(op)
        };
        let affine = operations[i].op.about().is_affine() && readers[i].iter().all(normalizes);
        let depthwise = fusing.forward_only
            && operations[i].op.as_conv().is_some_and(|c| c.is_depthwise())
            && matches!(readers[i][..], [r] if fusing.fuses(&operations[r].op))
            && operations[i].inputs.iter().all(|j| !operations[*j].lazy);
        operations[i].lazy = affine || depthwise;
    }
}

/// A lazy operation's input is read when its own readers run.
fn mark_last_readers(operations: &mut [Fused], readers: &[Vec<usize>]) {
    for i in 0..operations.len() {
        let last = |i: usize| readers[i].last().copied();
        let mut reader = last(i);
        // All of its lazy readers count, not only the last.
        for r in readers[i].iter().filter(|r| operations[**r].lazy) {
            reader = reader.max(last(*r));
        }
        operations[i].last_reader = reader.unwrap_or(usize::MAX);
    }
}
