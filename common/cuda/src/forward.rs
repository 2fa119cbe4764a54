//! The fused operations, forwards.

use crate::launch::{Arg, Ptr, args};
use crate::pass::{Engine, Mode, Slide};
use candle_core::{Result, bail};
use graph::op::{Activation, BatchNorm, Conv};
use graph::schedule::Fused;
use graph::{Bounds, Op};

/// Threads of a block where each has a channel.
pub(super) const CHANNELS: usize = 32;

/// Blocks over channels.
pub(super) fn blocks(channels: usize) -> u32 {
    channels.div_ceil(CHANNELS) as u32
}

impl Engine {
    /// Room for a batch of `values` of pictures.
    ///
    /// # Errors
    /// A batch of another size; a device without room for it.
    pub(super) fn begin(&mut self, values: usize) -> Result<()> {
        let floats = self.schedule.operations[0].floats();
        self.batch = values / floats.max(1);
        if self.batch * floats != values || self.batch == 0 {
            bail!("a batch of {values} values, {floats} per picture")
        }
        self.prepare(0)
    }

    /// Makes pictures `x` `[b, size, size, 3]` the batch.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub(super) fn feed(&mut self, x: &[f32]) -> Result<()> {
        self.begin(x.len())?;
        match &mut self.values[0].out {
            Some(out) => out.write(&self.kernels.device, x),
            None => Ok(()),
        }
    }

    /// Where the result `[b, classes]` for the batch is, with the parameters at `parameters`, in the layout
    /// of the graph.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn forward(&mut self, parameters: Ptr, mode: Mode) -> Result<Ptr> {
        let schedule = self.schedule.clone();
        for (i, operation) in schedule.operations.iter().enumerate().skip(1) {
            self.prepare(i)?;
            self.run(i, operation, parameters, mode)?;
            if mode == Mode::Inference {
                for j in 0..i {
                    if schedule.operations[j].last_reader == i
                        && let Some(out) = self.values[j].out.take()
                    {
                        self.memory.give(out);
                    }
                }
            }
        }
        Ok(self.out(schedule.operations.len() - 1))
    }

    /// A buffer for the result of operation `i`, that of the last batch if it is large enough.
    fn prepare(&mut self, i: usize) -> Result<()> {
        let n = self.floats(i);
        let is_max = matches!(self.schedule.operations[i].op, Op::MaxPool(_));
        let places = if is_max { n.div_ceil(4) } else { 0 };
        let mut value = std::mem::take(&mut self.values[i]);
        for (slot, n) in [(&mut value.out, n), (&mut value.places, places)] {
            if n > 0 && slot.as_ref().is_none_or(|b| b.capacity() < n) {
                if let Some(old) = slot.take() {
                    self.memory.give(old);
                }
                *slot = Some(self.memory.take(n)?);
            }
        }
        self.values[i] = value;
        Ok(())
    }

    fn run(&mut self, i: usize, operation: &Fused, parameters: Ptr, mode: Mode) -> Result<()> {
        let (n, y) = (self.floats(i), self.out(i));
        let input = |k: usize| operation.inputs.get(k).map_or(Ptr::NULL, |j| self.out(*j));
        let (x, shape) = (input(0), self.input_shape(i));
        let (c, Bounds { lo, hi }) = (shape[2], operation.bounds);
        let kernels = &self.kernels;
        match operation.op {
            Op::Input(_) => Ok(()),
            Op::Conv(_) | Op::Linear(_) => match operation.op.as_conv() {
                Some(conv) => self.convolve(i, operation, &conv, parameters),
                None => Ok(()),
            },
            Op::BatchNorm(norm) => self.batch_norm(i, operation, &norm, parameters, mode),
            Op::ScaleShift(_) => {
                let [scale, shift] = [0, 1].map(|k| self.parameter(operation, parameters, k));
                kernels.each("normalize", n, args![c, x, scale, shift, lo, hi, y])
            }
            Op::Activation(f) => match f.bounds() {
                Some(Bounds { lo, hi }) => kernels.each("clamp", n, args![x, lo, hi, y]),
                None => kernels.each("smooth_forward", n, args![which(f), x, y]),
            },
            Op::MaxPool(p) => {
                let places = self.values[i].places.as_ref().map_or(Ptr::NULL, |b| b.at);
                self.pool("max_forward", n, &Slide::new(shape, p.0), args![x, y, places])
            }
            Op::AvgPool(p) => self.pool("avg_forward", n, &Slide::new(shape, p.0), args![x, y]),
            Op::GlobalAvgPool(_) => {
                kernels.each("mean_forward", n, args![shape[0] * shape[1], c, x, y])
            }
            Op::Add(_) => kernels.each("add", n, args![x, input(1), lo, hi, y]),
            Op::Concat(_) => {
                let (mut at, width) = (0, operation.shape[2]);
                for j in &operation.inputs {
                    let c = self.schedule.operations[*j].shape[2];
                    let zero = 0usize;
                    let all = args![c, zero, c, at, width, zero, self.out(*j), y];
                    kernels.each("move_channels", self.floats(*j), all)?;
                    at += c;
                }
                Ok(())
            }
            Op::Split(s) => {
                let (taken, zero) = (s.end - s.start, 0usize);
                let all = args![taken, s.start, c, zero, taken, zero, x, y];
                kernels.each("move_channels", n, all)
            }
            Op::Shuffle(s) => kernels.each("shuffle", n, args![c, s.groups, 0usize, x, y]),
        }
    }

    /// A kernel over windows, `n` values.
    pub(super) fn pool(
        &self,
        name: &'static str,
        n: usize,
        slide: &Slide,
        rest: &[Arg],
    ) -> Result<()> {
        let mut all = slide.args().to_vec();
        all.extend_from_slice(rest);
        self.kernels.each(name, n, &all)
    }

    fn convolve(
        &mut self,
        i: usize,
        operation: &Fused,
        conv: &Conv,
        parameters: Ptr,
    ) -> Result<()> {
        let slide = Slide::new(self.input_shape(i), conv.window);
        let (x, y, n) = (self.out(operation.inputs[0]), self.out(i), self.floats(i));
        let [weight, bias] = [0, 1].map(|k| self.parameter(operation, parameters, k));
        if conv.groups > 1 {
            let rest = args![conv.output, conv.groups, x, weight, y];
            self.pool("grouped_forward", n, &slide, rest)?;
        } else {
            self.dense(conv, &slide, x, weight, y)?;
        }
        let Bounds { lo, hi } = operation.bounds;
        if bias == Ptr::NULL && operation.bounds == Bounds::NONE {
            return Ok(());
        }
        self.kernels.each("bias_clamp", n, args![conv.output, bias, lo, hi, y])
    }

    fn batch_norm(
        &mut self,
        i: usize,
        operation: &Fused,
        norm: &BatchNorm,
        parameters: Ptr,
        mode: Mode,
    ) -> Result<()> {
        let Mode::Training { statistics, momentum } = mode else {
            bail!("a batch norm that was not folded")
        };
        let (x, y, n) = (self.out(operation.inputs[0]), self.out(i), self.floats(i));
        let c = operation.shape[2];
        let rows = n / c;
        let kept = match self.values[i].norm.take() {
            Some(kept) => kept,
            None => self.memory.take(4 * c)?,
        };
        let [mean, rstd, scale, shift] = [0, 1, 2, 3].map(|k| kept.at.at(k * c));
        let (chunk, chunks) = Self::parts(rows);
        let partials = self.memory.take(chunks * 3 * c)?;
        let (all_rows, each) = (Arg::L(rows as u64), Arg::L(chunk as u64));
        let grid = [blocks(c), chunks as u32, 1];
        let kernels = &self.kernels;
        let all = [all_rows, each, c.into(), x.into(), partials.at.into()];
        kernels.grid("moments_partials", grid, CHANNELS as u32, &all)?;
        let [gamma, beta] = [0, 1].map(|k| self.parameter(operation, parameters, k));
        let [running_mean, running_var] = [2, 3].map(|k| self.parameter(operation, statistics, k));
        let mut all = vec![all_rows, each];
        all.extend_from_slice(args![chunks, c, partials.at, gamma, beta, norm.epsilon, momentum]);
        all.extend_from_slice(args![running_mean, running_var, mean, rstd, scale, shift]);
        kernels.grid("moments_combine", [c.div_ceil(256) as u32, 1, 1], 256, &all)?;
        let Bounds { lo, hi } = operation.bounds;
        kernels.each("normalize", n, args![c, x, scale, shift, lo, hi, y])?;
        self.memory.give(partials);
        self.values[i].norm = Some(kept);
        Ok(())
    }
}

/// What kernels call an activation that does not only clamp.
pub(super) fn which(f: Activation) -> usize {
    usize::from(f == Activation::Silu)
}
