//! A network's passes over its fused operations, forwards and backwards; the twin of `engine::pass`.

use crate::inputs::Targets;
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::op::{Mode, Site, run};
use crate::slide::MOST;
use crate::values::Engine;
use candle_core::{Result, bail};
use graph::Geometry;
use graph::schedule::Fused;

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
        // Kernels count in 31 bits. Patches are those of at least one picture at a time.
        if self.most_patches() > MOST {
            bail!(
                "a picture's patches are {} values, of which kernels count {MOST}: try smaller pictures, or \
                 --device cpu",
                self.most_patches()
            )
        }
        let largest = self.schedule.operations.iter().map(Fused::floats).max().unwrap_or(1);
        if self.batch.checked_mul(largest).is_none_or(|n| n > MOST) {
            bail!(
                "a batch of {} pictures has results of more than {MOST} values: try --batch {}",
                self.batch,
                (MOST / largest.max(1)).max(1)
            )
        }
        self.prepare(0)
    }

    /// Makes pictures `x` `[b, size, size, 3]` the batch.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub(super) fn feed(&mut self, x: &[f32]) -> Result<()> {
        self.begin(x.len())?;
        let pictures = self.values[0].out.as_mut().expect("the batch has room");
        pictures.write(&self.kernels, x)
    }

    /// Where the result `[b, classes]` for the batch is, with the parameters at `parameters`, in the layout
    /// of the graph.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn forward(&mut self, parameters: Ptr, mode: Mode) -> Result<Ptr> {
        let schedule = self.schedule.clone();
        self.stored = matches!(mode, Mode::Stored { .. });
        self.head_only = mode == Mode::Stored { head_only: true };
        for (i, operation) in schedule.operations.iter().enumerate().skip(1) {
            self.prepare(i)?;
            let site = Site::new(self, &schedule, i, parameters);
            run(&operation.op).forward(self, &site, mode)?;
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
        if self.schedule.operations[i].lazy {
            return Ok(());
        }
        let n = self.floats(i);
        self.memory.fit(&mut self.values[i].out, n)?;
        Ok(())
    }

    /// Gradients of all parameters for the gradient `grad` `[b, classes]` of the last training batch's
    /// result, to `gradients`, laid out like the parameters. Those of statistics stay as they are. The
    /// gradient of a result is taken when its first reader has passed and given back when its own operation
    /// has.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn backward(&mut self, parameters: Ptr, grad: Buffer, gradients: Ptr) -> Result<()> {
        let schedule = self.schedule.clone();
        let last = schedule.operations.len() - 1;
        // A pass that failed leaves some behind.
        self.values.iter_mut().for_each(|v| (v.grad, v.owed) = (None, None));
        self.values[last].grad = Some(grad);
        let first = if self.head_only { schedule.head().unwrap_or(1) } else { 1 };
        for (i, operation) in schedule.operations.iter().enumerate().skip(first).rev() {
            if let Some(grad) = self.values[i].grad.take() {
                let site = Site::new(self, &schedule, i, parameters);
                run(&operation.op).backward(self, &site, grad, gradients)?;
            }
        }
        // Where it ends early, what nobody takes.
        for grad in self.values.iter_mut().filter_map(|v| v.grad.take()) {
            self.memory.give(grad);
        }
        Ok(())
    }

    /// A forward pass, the loss, to `losses`, and the backward pass, to `gradients`.
    ///
    /// # Errors
    /// Targets of another size; a device that fails.
    pub(super) fn pass(
        &mut self,
        targets: Targets,
        mode: Mode,
        parameters: Ptr,
        [gradients, losses]: [Ptr; 2],
    ) -> Result<()> {
        let logits = self.forward(parameters, mode)?;
        let grad = self.loss(targets, logits, losses)?;
        self.backward(parameters, grad, gradients)
    }

    /// The batch, as it was fed or rendered.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn fed(&self) -> Result<Vec<f32>> {
        self.buffer(0).read(&self.kernels.device, self.floats(0))
    }

    /// The first `n` values of the last operation's result.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn result(&self, n: usize) -> Result<Vec<f32>> {
        self.buffer(self.values.len() - 1).read(&self.kernels.device, n)
    }

    /// Floats of the patches of a picture, of the convolution that makes most of them.
    fn most_patches(&self) -> usize {
        let operations = &self.schedule.operations;
        let patches = operations.iter().filter_map(|o| {
            let [h, w, _] = operations[*o.inputs.first()?].shape;
            let conv = o.op.as_conv().filter(|c| c.groups == 1 && !c.is_pointwise())?;
            let geometry = Geometry::new(&conv, [h, w], 1);
            Some(geometry.positions() * geometry.patch())
        });
        patches.max().unwrap_or(0)
    }

    /// What to say of `error`: where the device is full, how many pictures would about fit, by the results
    /// that a training step keeps and the gradients that are open at once.
    pub(super) fn explain(&self, error: candle_core::Error, pictures: usize) -> candle_core::Error {
        if !self.memory.is_full() {
            return error;
        }
        let Ok(room) = self.memory.room() else { return error };
        let operations = &self.schedule.operations;
        let stored = || operations.iter().filter(|o| !o.lazy);
        let floats = || stored().map(Fused::floats);
        let open = 3 * floats().max().unwrap_or(0) + self.most_patches();
        let each = 4 * (floats().sum::<usize>() + open);
        // Buffers are not reused without a gap: where this says that it fits, half does.
        let fit = room / each.max(1);
        let fit = if fit < pictures { fit } else { pictures / 2 };
        candle_core::Error::Msg(format!(
            "a batch of {pictures} pictures takes {} MB and more, which the device does not have: try \
             --batch {}",
            (each * pictures).div_ceil(1 << 20),
            fit.max(1)
        ))
    }
}
