//! A network's fused operations over buffers on the device that are reused; the twin of `engine::engine`.

use crate::launch::{Arg, Kernels, Matrix, Ptr, args};
use crate::memory::{Buffer, Memory};
use crate::misfit;
use candle_core::{Result, bail};
use executor::{Batch, Loss};
use graph::op::Conv;
use graph::schedule::{Fused, Fusing, Schedule};
use graph::{Graph, Window};
use std::sync::Arc;

/// How batch norm normalizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// By the moments of the batch; everything the backward pass needs is kept. The statistics stored in
    /// these variables move by the share `momentum` towards them.
    Training {
        /// The variables.
        statistics: Ptr,
        /// 0: they stay.
        momentum: f32,
    },
    /// By stored moments; what is no longer needed is given back at once.
    Inference,
}

/// What an operation of a batch left behind.
#[derive(Default)]
pub(super) struct Value {
    /// `[b, h, w, c]`
    pub(super) out: Option<Buffer>,
    /// Places of maxima, bytes.
    pub(super) places: Option<Buffer>,
    /// Of a batch norm: mean, 1 / deviation, scale, shift, `[c]` each.
    pub(super) norm: Option<Buffer>,
}

/// Most floats of a convolution's patches at a time, 256 MB: pictures are taken in groups.
const PATCHES: usize = 64 << 20;

/// Fewest rows of a part of a sum, and most parts.
const ROWS: usize = 32;
const PARTS: usize = 256;

/// A network that runs; see the module.
pub(super) struct Engine {
    pub(super) kernels: Arc<Kernels>,
    pub(super) memory: Memory,
    pub(super) schedule: Arc<Schedule>,
    pub(super) values: Vec<Value>,
    pub(super) batch: usize,
    /// Zeros and ones, `[c]` each of the widest layer: the statistics of what has none.
    pub(super) unit: [Buffer; 2],
}

/// A window over a batch of pictures, as kernels are told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c: usize,
    pub(super) window: Window,
    pub(super) oh: usize,
    pub(super) ow: usize,
}

impl Slide {
    pub(super) fn new([h, w, c]: [usize; 3], window: Window) -> Self {
        Self { h, w, c, window, oh: window.output(h), ow: window.output(w) }
    }

    /// h, w, c, k, stride, padding, oh, ow.
    pub(super) fn args(&self) -> [Arg; 8] {
        let Window { kernel, stride, padding, .. } = self.window;
        [self.h, self.w, self.c, kernel, stride, padding, self.oh, self.ow].map(Into::into)
    }

    /// Values of a picture.
    pub(super) fn input(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Positions of the window in a picture.
    pub(super) fn positions(&self) -> usize {
        self.oh * self.ow
    }

    /// Values of a patch.
    pub(super) fn patch(&self) -> usize {
        self.window.taps() * self.c
    }
}

impl Engine {
    /// An engine for `graph` on pictures of `size × size`.
    ///
    /// # Errors
    /// Pictures that do not fit the network; a device that fails.
    pub(super) fn new(graph: &Graph, size: usize, kernels: &Arc<Kernels>) -> Result<Self> {
        // Nothing is fused with pointwise convolutions: they are cuBLAS's.
        let schedule = Schedule::new(graph, size, Fusing { pointwise: 0 }).map_err(misfit)?;
        let widest = schedule.operations.iter().map(|o| o.shape[2]).max().unwrap_or(1);
        let mut memory = Memory::new(&kernels.device);
        let unit = [memory.hold(&vec![0.0; widest])?, memory.hold(&vec![1.0; widest])?];
        let values = schedule.operations.iter().map(|_| Value::default()).collect();
        let (kernels, schedule) = (kernels.clone(), Arc::new(schedule));
        Ok(Self { kernels, memory, schedule, values, batch: 0, unit })
    }

    /// Where parameter `k` of an operation lies among those at `base`; null if it has not so many.
    pub(super) fn parameter(&self, operation: &Fused, base: Ptr, k: usize) -> Ptr {
        let slot = operation.parameters.get(k);
        slot.map_or(Ptr::NULL, |s| base.at(self.schedule.layout.slots()[*s].range.start))
    }

    /// Shape of what operation `i` reads first.
    pub(super) fn input_shape(&self, i: usize) -> [usize; 3] {
        let input = self.schedule.operations[i].inputs.first();
        input.map_or([0; 3], |j| self.schedule.operations[*j].shape)
    }

    /// The result of operation `i`.
    pub(super) fn out(&self, i: usize) -> Ptr {
        self.values[i].out.as_ref().map_or(Ptr::NULL, |b| b.at)
    }

    /// Floats of the result of operation `i` for the whole batch.
    pub(super) fn floats(&self, i: usize) -> usize {
        self.batch * self.schedule.operations[i].floats()
    }

    /// Rows of a part, and parts, of a sum over `rows`.
    pub(super) fn parts(rows: usize) -> (usize, usize) {
        let chunk = rows.div_ceil(PARTS).max(ROWS);
        (chunk, rows.div_ceil(chunk).max(1))
    }

    /// `out[i] = Σ parts[k · stride + i]`, `i < n`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn sum(
        &self,
        n: usize,
        parts: usize,
        stride: usize,
        from: Ptr,
        out: Ptr,
    ) -> Result<()> {
        let stride = Arg::L(stride as u64);
        self.kernels.each("sum_partials", n, &[parts.into(), stride, from.into(), out.into()])
    }

    /// Weights `[o, c, k, k]` in the order of patches; None where that is their own.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn taps(&mut self, conv: &Conv, weight: Ptr) -> Result<Option<Buffer>> {
        let (t, n) = (conv.window.taps(), conv.window.taps() * conv.input * conv.output);
        if t == 1 {
            return Ok(None);
        }
        let buffer = self.memory.take(n)?;
        self.kernels.each("weight_to_taps", n, args![conv.input, t, weight, buffer.at])?;
        Ok(Some(buffer))
    }

    /// How many pictures have their patches at a time; None where the pictures are their patches.
    pub(super) fn together(&self, slide: &Slide) -> Option<usize> {
        let is_point = slide.window == Window::POINT;
        let picture = slide.positions() * slide.patch();
        (!is_point).then(|| (PATCHES / picture.max(1)).clamp(1, self.batch.max(1)))
    }

    /// A dense convolution of `x` into `y`, without bias.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn dense(
        &mut self,
        conv: &Conv,
        slide: &Slide,
        x: Ptr,
        weight: Ptr,
        y: Ptr,
    ) -> Result<()> {
        let taps = self.taps(conv, weight)?;
        let weight = Matrix { at: taps.as_ref().map_or(weight, |b| b.at), turned: true };
        let (positions, patch) = (slide.positions(), slide.patch());
        let group = self.together(slide);
        let cols = group.map(|g| self.memory.take(g * positions * patch)).transpose()?;
        let step = group.unwrap_or(self.batch);
        for first in (0..self.batch).step_by(step.max(1)) {
            let pictures = step.min(self.batch - first);
            let (rows, from) = (pictures * positions, x.at(first * slide.input()));
            let a = self.patches(slide, from, cols.as_ref(), rows)?;
            let to = y.at(first * positions * conv.output);
            let a = Matrix { at: a, turned: false };
            self.kernels.product(a, weight, to, [rows, conv.output, patch], 0.0)?;
        }
        cols.into_iter().chain(taps).for_each(|b| self.memory.give(b));
        Ok(())
    }

    /// Patches of pictures from `x` on, `[rows, patch]`: `x` itself without a buffer for them.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn patches(
        &self,
        slide: &Slide,
        x: Ptr,
        cols: Option<&Buffer>,
        rows: usize,
    ) -> Result<Ptr> {
        let Some(cols) = cols else { return Ok(x) };
        let mut all = slide.args().to_vec();
        all.extend_from_slice(args![x, cols.at]);
        self.kernels.each("patches", rows * slide.patch(), &all)?;
        Ok(cols.at)
    }

    /// A forward pass, the loss, to `losses`, and the backward pass, to `gradients`.
    ///
    /// # Errors
    /// Targets of another size; a device that fails.
    pub(super) fn pass(
        &mut self,
        batch: &Batch,
        target: Loss,
        mode: Mode,
        parameters: Ptr,
        [gradients, losses]: [Ptr; 2],
    ) -> Result<()> {
        let logits = self.forward(parameters, mode)?;
        let n = self.floats(self.schedule.operations.len() - 1);
        if batch.labels.len() != n || !(batch.teacher.is_empty() || batch.teacher.len() == n) {
            let (labels, teacher) = (batch.labels.len(), batch.teacher.len());
            bail!("{labels} labels and {teacher} teacher's logits for {n} logits")
        }
        let grad = self.loss(batch, target, logits, losses)?;
        self.backward(parameters, grad, gradients)
    }

    /// What to say of `error`: where the device is full, how many pictures would about fit, by the results
    /// that a training step keeps and the gradients that are open at once.
    pub(super) fn explain(&self, error: candle_core::Error, pictures: usize) -> candle_core::Error {
        if !self.memory.is_full() {
            return error;
        }
        let operations = &self.schedule.operations;
        let floats = || operations.iter().map(Fused::floats);
        let patches = operations.iter().enumerate().filter_map(|(i, o)| {
            let slide = Slide::new(self.input_shape(i), o.op.as_conv()?.window);
            Some(slide.positions() * slide.patch())
        });
        let open = 3 * floats().max().unwrap_or(0) + patches.max().unwrap_or(0);
        let each = 4 * (floats().sum::<usize>() + open);
        // Buffers are not reused without a gap: where this says that it fits, half does.
        let fit = self.memory.room() / each.max(1);
        let fit = if fit < pictures { fit } else { pictures / 2 };
        candle_core::Error::Msg(format!(
            "a batch of {pictures} pictures takes {} MB and more, which the device does not have: try \
             --batch {}",
            (each * pictures).div_ceil(1 << 20),
            fit.max(1)
        ))
    }

    /// The gradient of the loss of the last batch's `logits`, `[b, classes]`. The loss itself goes to the
    /// second of the two doubles at `sums` and is added to the first.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn loss(
        &mut self,
        batch: &Batch,
        target: Loss,
        logits: Ptr,
        sums: Ptr,
    ) -> Result<Buffer> {
        let (b, n) = (self.batch, batch.labels.len());
        let labels = self.memory.hold(&batch.labels)?;
        let has_teacher = !batch.teacher.is_empty();
        let teacher = has_teacher.then(|| self.memory.hold(&batch.teacher)).transpose()?;
        let at = teacher.as_ref().map_or(Ptr::NULL, |t| t.at);
        let alpha = if has_teacher { f64::from(target.alpha) } else { 0.0 };
        // Doubles, so two floats each.
        let losses = self.memory.take(2 * b)?;
        let grad = self.memory.take(n)?;
        let mut all = args![b, n / b, logits, labels.at, at].to_vec();
        all.extend([Arg::D(alpha), Arg::D(f64::from(target.temperature))]);
        all.extend_from_slice(args![losses.at, grad.at]);
        self.kernels.grid("loss", [b.div_ceil(32) as u32, 1, 1], 32, &all)?;
        let last = sums.at(2);
        for (parts, from, to) in [(b, losses.at, last), (2, sums, sums)] {
            let all = [parts.into(), Arg::L(1), from.into(), to.into()];
            self.kernels.each("sum_doubles", 1, &all)?;
        }
        let used = [Some(labels), teacher, Some(losses)];
        used.into_iter().flatten().for_each(|b| self.memory.give(b));
        Ok(grad)
    }

    /// The batch, as it was fed or rendered.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn fed(&self) -> Result<Vec<f32>> {
        match &self.values[0].out {
            Some(out) => out.read(&self.kernels.device, self.floats(0)),
            None => Ok(Vec::new()),
        }
    }

    /// The first `n` values of the last operation's result.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn result(&self, n: usize) -> Result<Vec<f32>> {
        match self.values.last().and_then(|v| v.out.as_ref()) {
            Some(out) => out.read(&self.kernels.device, n),
            None => Ok(Vec::new()),
        }
    }
}
