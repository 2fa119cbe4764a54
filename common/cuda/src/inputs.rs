//! What a batch brings along, in buffers that stay where they are from step to step, so that a graph of a step that
//! was captured ([`crate::capture`]) finds the next batch where it found the first.

use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::render::{Kept, tables};
use crate::values::Engine;
use candle_core::{Result, bail};
use executor::{Batch, Loss};
use views::View;

/// Buffers of an engine for what a batch brings.
#[derive(Default)]
pub(super) struct Inputs {
    labels: Option<Buffer>,
    teacher: Option<Buffer>,
    /// Of views: see `render.cu`.
    pub(super) places: Option<Buffer>,
    pub(super) shots: Option<Buffer>,
}

/// What a batch is towards, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Targets {
    /// `[b, classes]`
    pub(super) labels: Ptr,
    /// The same, or none.
    pub(super) teacher: Ptr,
    /// Of the teacher, 0 without one.
    pub(super) alpha: f64,
    /// See [`Loss`].
    pub(super) temperature: f64,
}

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

    /// Makes `views` of `pictures` the batch, which [`Engine::render`] then renders.
    ///
    /// # Errors
    /// A view of no picture; a device that fails.
    pub(super) fn draw(&mut self, pictures: &Kept, views: &[(usize, View)]) -> Result<()> {
        if pictures.floats() != self.schedule.operations[0].floats() {
            bail!("pictures of another size than the network's")
        }
        let (places, shots) = tables(pictures, views)?;
        self.begin(views.len() * pictures.floats())?;
        self.memory.put(&mut self.inputs.places, &places)?;
        self.memory.put(&mut self.inputs.shots, &shots)?;
        Ok(())
    }
}
