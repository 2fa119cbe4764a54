//! The fused operations on the device: one file for each, with its forward and its backward pass, and beside
//! it the file of its kernels.

mod activation;
mod add;
mod avg_pool;
mod batch_norm;
mod blur;
mod concat;
mod conv;
mod dense;
mod global_avg_pool;
mod grouped;
mod input;
mod library;
mod linear;
mod max_pool;
mod mul;
mod scale_shift;
mod shuffle;
mod split;

use crate::launch::{Arg, Ptr};
use crate::memory::Buffer;
use crate::slide::Slide;
use crate::values::Engine;
use candle_core::Result;
use graph::schedule::{Fused, Schedule};
use graph::{Bounds, Geometry, Op, Window};

/// How batch norm normalizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// By the statistics of the batch; everything the backward pass needs is kept. The statistics stored in
    /// these variables move by the share `momentum` towards them.
    Training {
        /// The variables.
        statistics: Ptr,
        /// 0: they stay.
        momentum: f32,
    },
    /// By stored statistics, which stay; everything the backward pass needs is kept.
    Stored {
        /// Gradients go back as far as the last layer with weights and end there.
        head_only: bool,
    },
    /// Batch norms are folded; what is no longer needed is given back at once.
    Inference,
}

/// An operation that runs on the device.
pub(super) trait Run {
    /// Its result, for which there is room at `site.y`.
    ///
    /// # Errors
    /// A device that fails.
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()>;

    /// Turns the gradient `grad` of its result into those of its inputs, which are added to what their other
    /// readers made ([`Engine::add`]), and those of its parameters, to `gradients`, laid out like these.
    ///
    /// # Errors
    /// A device that fails.
    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()>;
}

/// Writes down [`run`] from the list of operations.
macro_rules! runs {
    ($($(#[$doc:meta])* $name:ident: $($verb:literal)|+,)*) => {
        /// The operation as what runs.
        pub(super) fn run(op: &Op) -> &dyn Run {
            match op {
                $(Op::$name(op) => op,)*
            }
        }
    };
}

graph::operations!(runs);

/// A result as its readers find it: there, or, where it is never stored, what scale and shift, `[c]` each, and bounds make
/// it of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    at: Ptr,
    factors: Option<[Ptr; 2]>,
    bounds: Bounds,
}

/// Where in a pass an operation stands, and what it finds there. x is its first input, y its result.
pub(super) struct Site<'a> {
    schedule: &'a Schedule,
    parameters: Ptr,
    batch: usize,
    /// Its position among the fused operations.
    pub(super) i: usize,
    /// It, with what is fused with it.
    pub(super) fused: &'a Fused,
    /// Position of the first input.
    pub(super) input: usize,
    /// `[b, h, w, c]`; where the first input is never stored, what that reads.
    pub(super) x: Ptr,
    /// Floats of x, for the whole batch.
    pub(super) read: usize,
    /// h, w, c of x.
    pub(super) shape: [usize; 3],
    /// `[b, h, w, c]` of its own; null where it is never stored.
    pub(super) y: Ptr,
    /// Floats of y, for the whole batch.
    pub(super) n: usize,
}

impl<'a> Site<'a> {
    /// Operation `i` of `schedule`, of which all before it have run, with the parameters at `parameters`.
    pub(super) fn new(engine: &Engine, schedule: &'a Schedule, i: usize, parameters: Ptr) -> Self {
        let fused = &schedule.operations[i];
        let input = fused.inputs[0];
        Self {
            schedule,
            parameters,
            batch: engine.batch,
            i,
            fused,
            input,
            x: engine.out(source(schedule, input)),
            read: engine.floats(input),
            shape: schedule.operations[input].shape,
            y: if fused.lazy { Ptr::NULL } else { engine.out(i) },
            n: engine.floats(i),
        }
    }

    /// Where its parameter `k` lies.
    fn parameter(&self, k: usize) -> Ptr {
        self.within(self.parameters, k)
    }

    /// Where what belongs to its parameter `k` lies in a buffer that is laid out like the parameters.
    fn within(&self, buffer: Ptr, k: usize) -> Ptr {
        buffer.at(self.schedule.layout.slots()[self.fused.parameters[k]].range.start)
    }

    /// Its input number `k`, as it finds it.
    fn finds(&self, engine: &Engine, k: usize) -> Read {
        let i = self.fused.inputs[k];
        let (input, at) = (&self.schedule.operations[i], engine.out(source(self.schedule, i)));
        if !input.lazy {
            return Read { at, factors: None, bounds: Bounds::NONE };
        }
        let c = input.shape[2];
        let factors = if let Op::BatchNorm(_) = input.op {
            [2, 3].map(|k| engine.kept(i).at(k * c))
        } else {
            let at = |k: usize| self.schedule.layout.slots()[input.parameters[k]].range.start;
            [0, 1].map(|k| self.parameters.at(at(k)))
        };
        Read { at, factors: Some(factors), bounds: input.bounds }
    }

    /// The operation that alone reads its result.
    fn reader(&self) -> Option<usize> {
        only_reader(self.schedule, self.i)
    }

    /// Whether its bias is taken in by the batch norm behind it, [`Site::bias_before`].
    fn norm_takes_bias(&self) -> bool {
        self.reader().is_some_and(|i| bias_before(self.schedule, i).is_some())
    }

    /// For a batch norm: where the bias of the convolution before it lies, in a buffer that is laid out like the
    /// parameters, if that convolution leaves it out. The mean of a batch takes a bias away again, and of stored
    /// statistics it can be taken: so it need not be added to every value, nor gradients be added up for it.
    fn bias_before(&self, buffer: Ptr) -> Option<Ptr> {
        Some(buffer.at(bias_before(self.schedule, self.i)?))
    }

    /// Values of a picture of the result of operation `i`.
    fn picture(&self, i: usize) -> usize {
        self.schedule.operations[i].floats()
    }

    /// Channels of its result.
    fn channels(&self) -> usize {
        self.fused.shape[2]
    }

    /// Channels of the result of operation `i`.
    fn channels_of(&self, i: usize) -> usize {
        self.schedule.operations[i].shape[2]
    }

    /// Its window, moved over x, each channel for itself.
    fn pool(&self, window: Window) -> Geometry {
        Geometry::pool(window, self.shape, self.batch)
    }
}

/// The operation whose stored result stands for that of operation `i`: its own, or what it reads, where its readers make
/// it for themselves.
fn source(schedule: &Schedule, i: usize) -> usize {
    let operation = &schedule.operations[i];
    if operation.lazy { operation.inputs[0] } else { i }
}

/// The operation that alone reads the result of operation `i`.
fn only_reader(schedule: &Schedule, i: usize) -> Option<usize> {
    let readers = |o: &Fused| o.inputs.iter().filter(|j| **j == i).count();
    let mut reading =
        schedule.operations.iter().enumerate().skip(i + 1).filter(|(_, o)| readers(o) > 0);
    let (reader, operation) = reading.next()?;
    (reading.next().is_none() && readers(operation) == 1).then_some(reader)
}

/// For operation `i`: where among the parameters the bias lies that it takes in; see [`Site::bias_before`].
fn bias_before(schedule: &Schedule, i: usize) -> Option<usize> {
    let Op::BatchNorm(_) = schedule.operations[i].op else { return None };
    let input = schedule.operations[i].inputs[0];
    let before = &schedule.operations[input];
    let takes = before.op.as_conv().is_some_and(|c| c.bias)
        && before.bounds == Bounds::NONE
        && only_reader(schedule, input) == Some(i);
    takes.then(|| schedule.layout.slots()[before.parameters[1]].range.start)
}

impl Engine {
    /// A kernel with a thread for the channels that `s` gives one, of `values` of positions or of what windows read;
    /// its first arguments are how many threads, and s.
    ///
    /// # Errors
    /// A device that fails.
    fn slid(&self, name: &'static str, values: usize, s: Slide, args: &[Arg]) -> Result<()> {
        let all = [&[Arg::from(s)], args].concat();
        self.kernels.spread(name, values / s.lanes(), &all)
    }
}
