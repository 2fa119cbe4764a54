//! The CPU engine: a network as a list of fused steps over buffers that are reused.
//!
//! [`Engine::new`] fuses a network once: batch norm with the activation behind it; a convolution or a
//! sum with its activation; a pointwise convolution with the batch norm before and the max pool behind
//! it, whose tensors between are then never stored. [`Engine::forward`] and [`Engine::backward`] run
//! the steps. Activations and gradients come from an arena, which after the first step of a batch
//! size no longer allocates. The arithmetic is that of the other modules of this crate, the custom
//! operations for candle included; sums are cut and added in an order that depends on shapes alone.

mod arena;
mod backward;
mod forward;
mod fuse;

use crate::conv::Geometry;
use crate::norm::Moments;
use crate::norm::cpu::Normalize;
use crate::{conv, pool};
use arena::Arena;
use std::fmt;

/// An operation of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// The pictures; always the first node.
    Input,
    /// Convolution to so many channels; parameters `weight` and, if there is one, `bias`.
    Conv(conv::Window, usize),
    /// Batch norm; parameters γ and β, then the stored mean and variance where statistics are stored.
    Norm,
    /// `clamp(x, lo, hi)`.
    Clamp(f32, f32),
    /// Max pool.
    MaxPool(pool::Window),
    /// Mean over height and width.
    GlobalAvgPool,
    /// Sum of two inputs.
    Add,
}

/// A node of a network: what it does, to the results of which nodes, with which parameters.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Earlier nodes it reads.
    pub inputs: Vec<usize>,
    /// Places of its parameters in the list that [`Engine::forward`] gets.
    pub parameters: Vec<usize>,
}

/// Something about a network or a batch that does not fit.
#[derive(Debug)]
pub struct Misfit(pub String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

/// How batch norm normalizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By the moments of the batch; everything the backward pass needs is kept.
    Training,
    /// By stored moments; what is no longer needed is given back at once. Parameters are those of the
    /// first call: an engine that was run once like this is not trained.
    Inference,
}

/// Bounds of an activation.
type Bounds = (f32, f32);
const LINEAR: Bounds = (f32::NEG_INFINITY, f32::INFINITY);

/// A node after fusing, with its activation and pool.
#[derive(Clone, Debug)]
struct Step {
    op: Op,
    inputs: Vec<usize>,
    parameters: Vec<usize>,
    bounds: Bounds,
    /// A max pool behind a pointwise convolution.
    pool: Option<pool::Window>,
    /// A batch norm whose result is never stored: its readers normalize for themselves.
    lazy: bool,
    /// Of the result of one picture: height, width, channels.
    shape: [usize; 3],
    /// The last step that reads the result, going forward.
    last_reader: usize,
}

impl Step {
    fn floats(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What the steps of a batch left behind.
#[derive(Default)]
struct Value {
    /// `[b, h, w, c]`; empty for lazy steps and what was given back.
    out: Vec<f32>,
    /// Places of maxima.
    places: Vec<u8>,
    /// Of a batch norm.
    normalize: Option<Normalize>,
    moments: Option<Moments>,
    /// Of a convolution whose reader wants the moments of its result.
    result_moments: Option<Moments>,
    /// Weights of a direct convolution, in the order they are read.
    panels: Vec<f32>,
}

/// A network that runs; see the module.
pub struct Engine {
    steps: Vec<Step>,
    epsilon: f32,
    arena: Arena,
    values: Vec<Value>,
    batch: usize,
}

impl Engine {
    /// Fuse the network `nodes`, whose parameters have the given numbers of values, for pictures of
    /// `size` [height, width, channels]. The last node is the result.
    ///
    /// # Errors
    /// Nodes that do not fit together.
    pub fn new(
        nodes: &[Node],
        parameters: &[usize],
        size: [usize; 3],
        epsilon: f32,
    ) -> Result<Self, Misfit> {
        let steps = fuse::fuse(nodes, parameters, size)?;
        let values = steps.iter().map(|_| Value::default()).collect();
        Ok(Self { steps, epsilon, arena: Arena::default(), values, batch: 0 })
    }

    /// The moments of each batch norm in the last training batch, by the place of its γ.
    pub fn moments(&self) -> impl Iterator<Item = (usize, &Moments)> {
        let pairs = self.steps.iter().zip(&self.values);
        pairs.filter_map(|(s, v)| Some((*s.parameters.first()?, v.moments.as_ref()?)))
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        let out = |v: &Value| 4 * v.out.capacity() + v.places.capacity();
        self.arena.bytes() + self.values.iter().map(out).sum::<usize>()
    }

    fn geometry(&self, step: usize, window: conv::Window, output: usize) -> Geometry {
        let [height, width, input] = self.steps[self.steps[step].inputs[0]].shape;
        Geometry { batch: self.batch, height, width, input, output, window }
    }
}
