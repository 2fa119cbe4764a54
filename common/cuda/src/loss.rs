//! The loss of a batch and its gradient, twin of `engine::loss`.

use crate::launch::{Arg, Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use executor::{Batch, Loss};

impl Engine {
    /// The gradient of the loss of the last batch's `logits`, `[b, classes]`. The loss itself goes to the
    /// second of the two doubles at `sums` and is added to the first.
    ///
    /// # Errors
    /// Targets of another size; a device that fails.
    pub(super) fn loss(
        &mut self,
        batch: &Batch,
        target: Loss,
        logits: Ptr,
        sums: Ptr,
    ) -> Result<Buffer> {
        let (b, n) = (self.batch, self.floats(self.schedule.operations.len() - 1));
        batch.check(n).map_err(candle_core::Error::msg)?;
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
        self.kernels.grid("loss", [b as u32, 1, 1], 32, &all)?;
        self.kernels.grid("loss_sum", [1, 1, 1], 32, args![b, losses.at, sums])?;
        let used = [Some(labels), teacher, Some(losses)];
        used.into_iter().flatten().for_each(|b| self.memory.give(b));
        Ok(grad)
    }
}
