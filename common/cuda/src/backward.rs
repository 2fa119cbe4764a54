//! The fused operations, backwards: each turns the gradient of its result into those of its inputs and
//! parameters. A gradient's buffer is taken when its first reader has passed and given back when its own
//! operation has.

use crate::forward::{CHANNELS, blocks, which};
use crate::launch::{Arg, Matrix, Ptr, args};
use crate::memory::Buffer;
use crate::pass::{Engine, Slide};
use candle_core::Result;
use graph::op::Conv;
use graph::schedule::Fused;
use graph::{Bounds, Op};

/// The gradients of all results that some reader has added to.
type Open = Vec<Option<Buffer>>;

impl Engine {
    /// Gradients of all parameters for the gradient `grad` `[b, classes]` of the last training batch's
    /// result, to `gradients`, laid out like the parameters. Those of statistics stay as they are.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn backward(&mut self, parameters: Ptr, grad: Buffer, gradients: Ptr) -> Result<()> {
        let schedule = self.schedule.clone();
        let last = schedule.operations.len() - 1;
        let mut open: Open = schedule.operations.iter().map(|_| None).collect();
        open[last] = Some(grad);
        for i in (1..=last).rev() {
            if let Some(grad) = open[i].take() {
                self.back(i, &schedule.operations[i], parameters, grad, gradients, &mut open)?;
            }
        }
        Ok(())
    }

    fn back(
        &mut self,
        i: usize,
        operation: &Fused,
        parameters: Ptr,
        grad: Buffer,
        gradients: Ptr,
        open: &mut Open,
    ) -> Result<()> {
        let (n, y, shape) = (self.floats(i), self.out(i), self.input_shape(i));
        let (input, c) = (operation.inputs.first().copied().unwrap_or(0), shape[2]);
        let (x, read) = (self.out(input), self.floats(input));
        match operation.op {
            Op::Input(_) => self.memory.give(grad),
            Op::Conv(_) | Op::Linear(_) => {
                if let Some(conv) = operation.op.as_conv() {
                    return self.conv_back(i, operation, &conv, parameters, grad, gradients, open);
                }
            }
            Op::BatchNorm(_) | Op::ScaleShift(_) => {
                self.norm_back(i, operation, parameters, &grad, gradients)?;
                return self.add(input, grad, open);
            }
            Op::Activation(f) => {
                match f.bounds() {
                    Some(bounds) => self.mask(n, y, bounds, &grad)?,
                    None => {
                        self.kernels.each("smooth_backward", n, args![which(f), x, grad.at])?;
                    }
                }
                return self.add(input, grad, open);
            }
            Op::MaxPool(p) => {
                let places = self.values[i].places.as_ref().map_or(Ptr::NULL, |b| b.at);
                let dx = self.memory.take(read)?;
                let rest = args![grad.at, places, dx.at];
                self.pool("max_backward", read, &Slide::new(shape, p.0), rest)?;
                return self.through(input, grad, dx, open);
            }
            Op::AvgPool(p) => {
                let dx = self.memory.take(read)?;
                self.pool("avg_backward", read, &Slide::new(shape, p.0), args![grad.at, dx.at])?;
                return self.through(input, grad, dx, open);
            }
            Op::GlobalAvgPool(_) => {
                let dx = self.memory.take(read)?;
                let all = args![shape[0] * shape[1], c, grad.at, dx.at];
                self.kernels.each("mean_backward", read, all)?;
                return self.through(input, grad, dx, open);
            }
            Op::Add(_) => {
                self.mask(n, y, operation.bounds, &grad)?;
                let copy = self.memory.take(n)?;
                let Bounds { lo, hi } = Bounds::NONE;
                self.kernels.each("clamp", n, args![grad.at, lo, hi, copy.at])?;
                self.add(input, grad, open)?;
                return self.add(operation.inputs[1], copy, open);
            }
            Op::Concat(_) => return self.concat_back(operation, grad, open),
            Op::Split(s) => {
                if input > 0 && open[input].is_none() {
                    let zeros = self.memory.take(read)?;
                    self.kernels.each("fill", read, args![0.0f32, zeros.at])?;
                    open[input] = Some(zeros);
                }
                if let Some(sum) = &open[input] {
                    let (taken, zero) = (s.end - s.start, 0usize);
                    let all = args![taken, zero, taken, s.start, c, 1usize, grad.at, sum.at];
                    self.kernels.each("move_channels", n, all)?;
                }
                self.memory.give(grad);
            }
            Op::Shuffle(s) => {
                let dx = self.memory.take(read)?;
                self.kernels.each("shuffle", n, args![c, s.groups, 1usize, grad.at, dx.at])?;
                return self.through(input, grad, dx, open);
            }
        }
        Ok(())
    }

    /// The gradient `dx` of operation `input`, made of `grad`, which is done with.
    fn through(&mut self, input: usize, grad: Buffer, dx: Buffer, open: &mut Open) -> Result<()> {
        self.memory.give(grad);
        self.add(input, dx, open)
    }

    /// Adds to the gradient of operation `i`; the first becomes it.
    fn add(&mut self, i: usize, values: Buffer, open: &mut Open) -> Result<()> {
        if i == 0 {
            self.memory.give(values);
            return Ok(());
        }
        match &open[i] {
            Some(sum) => {
                self.kernels.each("accumulate", self.floats(i), args![values.at, sum.at])?;
                self.memory.give(values);
            }
            None => open[i] = Some(values),
        }
        Ok(())
    }

    fn mask(&self, n: usize, y: Ptr, bounds: Bounds, grad: &Buffer) -> Result<()> {
        if bounds == Bounds::NONE {
            return Ok(());
        }
        self.kernels.each("mask", n, args![y, bounds.lo, bounds.hi, grad.at])
    }

    fn concat_back(&mut self, operation: &Fused, grad: Buffer, open: &mut Open) -> Result<()> {
        let (mut at, width) = (0, operation.shape[2]);
        for &j in &operation.inputs {
            let (c, n, zero) = (self.schedule.operations[j].shape[2], self.floats(j), 0usize);
            let dx = self.memory.take(n)?;
            let all = args![c, at, width, zero, c, zero, grad.at, dx.at];
            self.kernels.each("move_channels", n, all)?;
            self.add(j, dx, open)?;
            at += c;
        }
        self.memory.give(grad);
        Ok(())
    }

    /// The input gradient takes the place of `grad`.
    fn norm_back(
        &mut self,
        i: usize,
        operation: &Fused,
        parameters: Ptr,
        grad: &Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let (x, y, n) = (self.out(operation.inputs[0]), self.out(i), self.floats(i));
        let c = operation.shape[2];
        let rows = n / c;
        let is_norm = matches!(operation.op, Op::BatchNorm(_));
        let (mean, rstd) = match &self.values[i].norm {
            Some(norm) if is_norm => (norm.at, norm.at.at(c)),
            _ => (self.unit[0].at, self.unit[1].at),
        };
        let inverse = if is_norm { 1.0 / rows as f32 } else { 0.0 };
        let Bounds { lo, hi } = operation.bounds;
        let (chunk, chunks) = Self::parts(rows);
        let partials = self.memory.take(chunks * 2 * c)?;
        let mut all = vec![Arg::L(rows as u64), Arg::L(chunk as u64)];
        all.extend_from_slice(args![c, x, y, grad.at, mean, rstd, lo, hi, partials.at]);
        let grid = [blocks(c), chunks as u32, 1];
        self.kernels.grid("norm_partials", grid, CHANNELS as u32, &all)?;
        let [dgamma, dbeta] = [0, 1].map(|k| self.parameter(operation, gradients, k));
        self.sum(c, chunks, 2 * c, partials.at, dbeta)?;
        self.sum(c, chunks, 2 * c, partials.at.at(c), dgamma)?;
        self.memory.give(partials);
        let gamma = self.parameter(operation, parameters, 0);
        let mut all = args![c, x, y, grad.at, mean, rstd, gamma, dbeta, dgamma].to_vec();
        all.extend_from_slice(args![inverse, lo, hi, grad.at]);
        self.kernels.each("norm_input", n, &all)
    }

    #[allow(clippy::too_many_arguments)] // what every operation's backward pass is given
    fn conv_back(
        &mut self,
        i: usize,
        operation: &Fused,
        conv: &Conv,
        parameters: Ptr,
        grad: Buffer,
        gradients: Ptr,
        open: &mut Open,
    ) -> Result<()> {
        let (n, input) = (self.floats(i), operation.inputs[0]);
        self.mask(n, self.out(i), operation.bounds, &grad)?;
        let rows = n / conv.output;
        let [dw, db] = [0, 1].map(|k| self.parameter(operation, gradients, k));
        if db != Ptr::NULL {
            let (chunk, chunks) = Self::parts(rows);
            let partials = self.memory.take(chunks * conv.output)?;
            let mut all = vec![Arg::L(rows as u64), Arg::L(chunk as u64)];
            all.extend_from_slice(args![conv.output, grad.at, partials.at]);
            let grid = [blocks(conv.output), chunks as u32, 1];
            self.kernels.grid("column_partials", grid, CHANNELS as u32, &all)?;
            self.sum(conv.output, chunks, conv.output, partials.at, db)?;
            self.memory.give(partials);
        }
        let weight = self.parameter(operation, parameters, 0);
        let dx = if input == 0 { None } else { Some(self.memory.take(self.floats(input))?) };
        let to = dx.as_ref().map(|b| b.at);
        let slide = Slide::new(self.input_shape(i), conv.window);
        let x = self.out(input);
        if conv.groups > 1 {
            self.grouped_back(conv, &slide, [x, grad.at, weight, dw], to)?;
        } else {
            self.dense_back(conv, &slide, [x, grad.at, weight, dw], to)?;
        }
        self.memory.give(grad);
        match dx {
            Some(dx) => self.add(input, dx, open),
            None => Ok(()),
        }
    }

    fn grouped_back(
        &mut self,
        conv: &Conv,
        slide: &Slide,
        [x, grad, weight, dw]: [Ptr; 4],
        dx: Option<Ptr>,
    ) -> Result<()> {
        let rows = self.batch * slide.positions();
        let (chunk, chunks) = Self::parts(rows);
        let per_filter = conv.input / conv.groups * conv.window.taps();
        let n = conv.output * per_filter;
        let partials = self.memory.take(chunks * n)?;
        let mut all = vec![Arg::L(rows as u64), Arg::L(chunk as u64)];
        all.extend_from_slice(&slide.args());
        all.extend_from_slice(args![conv.output, conv.groups, x, grad, partials.at]);
        let grid = [blocks(conv.output), per_filter as u32, chunks as u32];
        self.kernels.grid("grouped_weight", grid, CHANNELS as u32, &all)?;
        self.sum(n, chunks, n, partials.at, dw)?;
        self.memory.give(partials);
        if let Some(dx) = dx {
            let rest = args![conv.output, conv.groups, grad, weight, dx];
            self.pool("grouped_input", self.batch * slide.input(), slide, rest)?;
        }
        Ok(())
    }

    fn dense_back(
        &mut self,
        conv: &Conv,
        slide: &Slide,
        [x, grad, weight, dw]: [Ptr; 4],
        dx: Option<Ptr>,
    ) -> Result<()> {
        let (positions, patch) = (slide.positions(), slide.patch());
        let group = self.together(slide);
        let taps = self.taps(conv, weight)?;
        let weight = Matrix { at: taps.as_ref().map_or(weight, |b| b.at), turned: false };
        // The weight gradient in the order of patches, where that is not its own.
        let in_order = taps.is_some().then(|| self.memory.take(conv.output * patch)).transpose()?;
        let sum = in_order.as_ref().map_or(dw, |b| b.at);
        let cols = group.map(|g| self.memory.take(g * positions * patch)).transpose()?;
        let step = group.unwrap_or(self.batch);
        for first in (0..self.batch).step_by(step.max(1)) {
            let pictures = step.min(self.batch - first);
            let rows = pictures * positions;
            let g = grad.at(first * positions * conv.output);
            let a = self.patches(slide, x.at(first * slide.input()), cols.as_ref(), rows)?;
            let keep = if first == 0 { 0.0 } else { 1.0 };
            let (turned, straight) =
                (Matrix { at: g, turned: true }, Matrix { at: a, turned: false });
            self.kernels.product(turned, straight, sum, [conv.output, patch, rows], keep)?;
            let Some(dx) = dx else { continue };
            let g = Matrix { at: g, turned: false };
            let shape = [rows, patch, conv.output];
            match &cols {
                None => self.kernels.product(g, weight, dx, shape, 0.0)?,
                Some(cols) => {
                    self.kernels.product(g, weight, cols.at, shape, 0.0)?;
                    let to = dx.at(first * slide.input());
                    self.pool("patches_back", pictures * slide.input(), slide, args![cols.at, to])?;
                }
            }
        }
        if let Some(sum) = &in_order {
            let n = conv.output * patch;
            let all = args![conv.input, conv.window.taps(), sum.at, dw];
            self.kernels.each("taps_to_weight", n, all)?;
        }
        cols.into_iter().chain(taps).chain(in_order).for_each(|b| self.memory.give(b));
        Ok(())
    }
}
