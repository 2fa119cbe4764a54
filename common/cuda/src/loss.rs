//! The loss of a batch and its gradient, twin of `engine::loss`.

use crate::inputs::Targets;
use crate::launch::{Arg, Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;

impl Engine {
    /// The gradient of the loss of the last batch's `logits`, `[b, classes]`. The loss itself goes to the
    /// second of the two doubles at `sums` and is added to the first.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn loss(&mut self, targets: Targets, logits: Ptr, sums: Ptr) -> Result<Buffer> {
        let (b, n) = (self.batch, self.floats(self.schedule.operations.len() - 1));
        // Doubles, so two floats each.
        let losses = self.memory.take(2 * b)?;
        let grad = self.memory.take(n)?;
        let Targets { labels, teacher, alpha, temperature } = targets;
        let mut all = args![b, n / b, logits, labels, teacher].to_vec();
        all.extend([Arg::D(alpha), Arg::D(temperature)]);
        all.extend_from_slice(args![losses.at, grad.at]);
        self.kernels.grid("loss", [b as u32, 1, 1], 32, &all)?;
        self.kernels.grid("loss_sum", [1, 1, 1], 32, args![b, losses.at, sums])?;
        self.memory.give(losses);
        Ok(grad)
    }
}
