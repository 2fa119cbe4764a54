//! A batch goes up, before anything of its pass is launched.

use crate::address::Ptr;
use crate::inputs::Targets;
use crate::render::Kept;
use crate::values::Engine;
use candle_core::{Result, bail};
use executor::{Batch, Loss};
use views::View;

impl Engine {
    /// Makes `batch` the batch, of `views` of `pictures` if there are any, which are rendered later.
    ///
    /// # Errors
    /// A batch of another size; views of pictures that are not there; a device that fails.
    pub(super) fn stage(
        &mut self,
        batch: &Batch,
        views: &[(usize, View)],
        pictures: Option<&Kept>,
        target: Loss,
    ) -> Result<Targets> {
        match pictures {
            _ if views.is_empty() => self.feed(&batch.pictures)?,
            Some(pictures) => self.draw(pictures, views)?,
            None => bail!("{} views where no pictures are kept", views.len()),
        }
        let n = self.floats(self.schedule.operations.len() - 1);
        batch.check(n).map_err(candle_core::Error::msg)?;
        let labels = self.memory.put(&mut self.inputs.labels, &batch.labels)?;
        let temperature = f64::from(target.temperature);
        if batch.teacher.is_empty() {
            return Ok(Targets { labels, teacher: Ptr::NULL, alpha: 0.0, temperature });
        }
        let teacher = self.memory.put(&mut self.inputs.teacher, &batch.teacher)?;
        Ok(Targets { labels, teacher, alpha: f64::from(target.alpha), temperature })
    }
}
