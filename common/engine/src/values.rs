//! What an engine holds: the schedule of a graph, the plan of each convolution, and the results of all
//! operations, in buffers from an arena, which after the first step of a batch size no longer allocates.

use crate::arena::Arena;
use crate::conv::depthwise::Depthwise;
use crate::conv::plan::MOST_STEM_CHANNELS;
use crate::conv::pointwise::Source;
use crate::conv::{ConvPlan, Forward};
use crate::norm::{BatchStats, Normalize};
use executor::Precision;
use graph::schedule::{Fused, Fusing, Schedule};
use graph::{Geometry, Graph, Op, Result};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What an engine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm goes by the statistics of the batch; everything the backward pass needs is kept.
    Training,
    /// Batch norm goes by stored statistics; what is no longer needed is given back at once. Weights are packed once:
    /// parameters are those of the first call.
    Inference,
}

/// How a training pass differs from one that trains everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Batch norm goes by stored statistics all the same.
    pub stored: bool,
    /// Gradients go back as far as the last layer with weights and end there.
    pub head_only: bool,
}

/// Weights up to this many floats go through the fused pointwise convolution; of larger ones the
/// products dominate, and partial weight gradients would cost more than they save.
const POINTWISE: usize = 512 * 1024;

/// What the operations of a batch left behind.
#[derive(Default)]
pub(crate) struct Value {
    /// `[b, h, w, c]`; empty for lazy operations and what was given back.
    pub(crate) out: Vec<f32>,
    /// Places of maxima.
    pub(crate) places: Vec<u8>,
    /// Of a batch norm.
    pub(crate) normalize: Option<Normalize>,
    pub(crate) batch_stats: Option<BatchStats>,
    /// Of a convolution whose reader wants the statistics of its result.
    pub(crate) result_stats: Option<BatchStats>,
    /// Weights of a convolution in the order they are read, in training: packed anew each time.
    pub(crate) packed: Vec<f32>,
}

/// A network that runs; see the module.
pub struct Engine {
    pub(crate) schedule: Arc<Schedule>,
    mode: Mode,
    /// Of the next training pass.
    pub(crate) manner: Manner,
    precision: Precision,
    /// Of each convolution.
    plans: Arc<[Option<ConvPlan>]>,
    /// Weights of each convolution in the order they are read, for answers: packed once.
    pub(crate) packed: Arc<[OnceLock<Vec<f32>>]>,
    pub(crate) arena: Arena,
    pub(crate) values: Vec<Value>,
    pub(crate) batch: usize,
}

impl Engine {
    /// An engine for `graph` on pictures of `size × size`.
    ///
    /// # Errors
    /// Pictures that do not fit the network.
    pub fn new(graph: &Graph, size: usize, mode: Mode) -> Result<Self> {
        let forward_only = mode == Mode::Inference;
        assert!(forward_only || !cfg!(target_arch = "wasm32"), "nothing is trained in WebAssembly");
        let fusing = Fusing { pointwise: POINTWISE, forward_only, stem: MOST_STEM_CHANNELS };
        let schedule = Schedule::new(graph, size, fusing)?;
        let plan = |f: &Fused| {
            let conv = f.op.as_conv()?;
            if schedule.fusing.fuses(&f.op) {
                return Some(ConvPlan::FUSED);
            }
            let [h, w, _] = schedule.operations[f.inputs[0]].shape;
            Some(ConvPlan::of(&Geometry::new(&conv, [h, w], 1)))
        };
        let plans = schedule.operations.iter().map(plan).collect();
        let packed = schedule.operations.iter().map(|_| OnceLock::new()).collect();
        Ok(Self::with(Arc::new(schedule), (mode, Precision::F32), plans, packed))
    }

    /// The same with products of `precision`; in WebAssembly they are of f32 whatever is asked for.
    pub fn at(self, precision: Precision) -> Self {
        let plans = self.plans.iter().map(|p| p.map(|p| p.at(precision))).collect();
        let packed = self.schedule.operations.iter().map(|_| OnceLock::new()).collect();
        Self::with(self.schedule, (self.mode, precision), plans, packed)
    }

    fn with(
        schedule: Arc<Schedule>,
        (mode, precision): (Mode, Precision),
        plans: Arc<[Option<ConvPlan>]>,
        packed: Arc<[OnceLock<Vec<f32>>]>,
    ) -> Self {
        let values = schedule.operations.iter().map(|_| Value::default()).collect();
        let (manner, arena) = (Manner::default(), Arena::default());
        Self { schedule, mode, manner, precision, plans, packed, arena, values, batch: 0 }
    }

    /// What it is for. In WebAssembly that is known when it is compiled: a page is not to carry what training needs.
    pub(crate) fn mode(&self) -> Mode {
        if cfg!(target_arch = "wasm32") { Mode::Inference } else { self.mode }
    }

    /// Another that shares all but the results: for another thread.
    pub fn twin(&self) -> Self {
        let Self { schedule, mode, precision, plans, packed, .. } = self;
        Self::with(schedule.clone(), (*mode, *precision), plans.clone(), packed.clone())
    }

    /// Lets training passes go on in this manner.
    pub fn set_manner(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// Moves the stored statistics of every batch norm in `parameters` by the share `momentum` towards
    /// those of the last training batch.
    pub fn update_statistics(&self, parameters: &mut [f32], momentum: f32) {
        for (operation, value) in self.schedule.operations.iter().zip(&self.values) {
            let (Op::BatchNorm(_), Some(m)) = (operation.op, &value.batch_stats) else { continue };
            // The stored variance is the unbiased one.
            let unbias = m.count as f32 / (m.count.max(2) - 1) as f32;
            for (k, batch, factor) in [(2, &m.mean, 1.0), (3, &m.variance, unbias)] {
                let stored = &mut parameters[self.range(operation, k)];
                for (s, v) in stored.iter_mut().zip(batch) {
                    *s += momentum * (v * factor - *s);
                }
            }
        }
    }

    /// Bytes of all buffers.
    pub fn bytes(&self) -> usize {
        let out = |v: &Value| 4 * v.out.capacity() + v.places.capacity();
        self.arena.bytes() + self.values.iter().map(out).sum::<usize>()
    }

    /// The buffer of the last pictures, to hold the next.
    pub(crate) fn pictures(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.values[0].out)
    }

    /// Floats of a picture's largest result.
    pub(crate) fn largest(&self) -> usize {
        self.stored().max().unwrap_or(1)
    }

    /// Floats of all of a picture's results.
    pub(crate) fn total(&self) -> usize {
        self.stored().sum()
    }

    fn stored(&self) -> impl Iterator<Item = usize> {
        self.schedule.operations.iter().filter(|o| !o.lazy).map(Fused::floats)
    }

    /// What it runs, in order.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Where parameter `k` of an operation lies.
    pub(crate) fn range(&self, operation: &Fused, k: usize) -> Range<usize> {
        self.schedule.layout.slots()[operation.parameters[k]].range.clone()
    }

    /// How the convolution that operation `i` is is computed.
    pub(crate) fn plan(&self, i: usize) -> ConvPlan {
        self.plans[i].expect("every convolution has a plan")
    }

    /// What the convolution that operation `i` is multiplies: f32 where it reads the pictures, and in linear layers.
    pub(crate) fn precision(&self, i: usize) -> Precision {
        let is_linear = matches!(self.schedule.operations[i].op, Op::Linear(_));
        let products = matches!(self.plan(i).forward, Forward::Fused | Forward::Direct);
        let is_first = self.schedule.operations[i].inputs == [0];
        let inside = products && !is_linear && !is_first;
        if inside && cfg!(not(target_arch = "wasm32")) { self.precision } else { Precision::F32 }
    }

    /// Height, width, channels of the result of operation `i`.
    pub(crate) fn shape(&self, i: usize) -> [usize; 3] {
        self.schedule.operations[i].shape
    }

    /// Height, width, channels of what operation `i` reads first; there is no such thing for the picture.
    pub(crate) fn input_shape(&self, i: usize) -> [usize; 3] {
        self.shape(self.schedule.operations[i].inputs[0])
    }

    /// Floats of the result of operation `i` for a picture.
    pub(crate) fn picture(&self, i: usize) -> usize {
        self.schedule.operations[i].floats()
    }

    /// Floats of the result of operation `i` for the whole batch.
    pub(crate) fn floats(&self, i: usize) -> usize {
        self.batch * self.schedule.operations[i].floats()
    }

    /// The stored values that operation `i` reads first, and how they are to be normalized.
    pub(crate) fn source(&self, i: usize) -> Source<'_> {
        let input = self.schedule.operations[i].inputs[0];
        let fused = &self.schedule.operations[input];
        if !fused.lazy {
            return Source { values: &self.values[input].out, normalize: None, depthwise: None };
        }
        let values = &self.values[fused.inputs[0]].out;
        let Some(conv) = fused.op.as_conv() else {
            let normalize = self.values[input].normalize.as_ref();
            return Source { values, normalize, depthwise: None };
        };
        let [h, w, _] = self.input_shape(input);
        let geometry = Geometry::new(&conv, [h, w], self.batch);
        let packed = self.packed[input].get().expect("a lazy convolution has packed its weights");
        let depthwise = Some(Depthwise { geometry, packed, bounds: fused.bounds });
        Source { values, normalize: None, depthwise }
    }
}

/// A line per fused operation: what it is, what it reads, its shape, how it is computed.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (op, plan)) in self.schedule.operations.iter().zip(self.plans.iter()).enumerate() {
            let [h, w, c] = op.shape;
            write!(f, "{i:>4}  {:<36} ", op.op.about().text())?;
            let inputs: Vec<String> = op.inputs.iter().map(usize::to_string).collect();
            write!(f, "@{:<8} → {c} × {h} × {w}", inputs.join(","))?;
            if op.bounds != graph::Bounds::NONE {
                write!(f, ", clamped to {}..{}", op.bounds.lo, op.bounds.hi)?;
            }
            if let Some(pool) = op.pool {
                write!(f, ", max{pool}")?;
            }
            if op.lazy {
                f.write_str(", by its readers")?;
            }
            if let Some(plan) = plan {
                write!(f, "; {plan}")?;
                if !self.precision(i).is_f32() {
                    write!(f, ", {}", self.precision)?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
