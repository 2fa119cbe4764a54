//! How well a network does on the validation pictures.

use crate::forward::Asked;
use crate::score;
use anyhow::Result;
use artifacts::Images;
use executor::Executor;
use views::{Normalization, View};

/// The pictures that decide which epoch was best, as they are.
pub(super) struct Validation<'a> {
    images: &'a Images,
    truth: Vec<usize>,
    /// The pictures as the executor that is asked again and again has them.
    asked: Option<Asked<'a>>,
}

impl<'a> Validation<'a> {
    /// On `images`.
    ///
    /// # Errors
    /// Pictures without labels.
    pub(super) fn new(images: &'a Images) -> Result<Self> {
        Ok(Self { images, truth: images.all_labels()?, asked: None })
    }

    /// Their side, pixels.
    pub(super) fn size(&self) -> usize {
        self.images.size()
    }

    /// Another executor is asked from here on.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }

    /// The share that `executor` answers right, which is the same in every call until [`Validation::forget`].
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn top1(
        &mut self,
        executor: &mut dyn Executor,
        normalization: &Normalization,
    ) -> Result<f64> {
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => Asked::new(executor, self.images, normalization)?,
        };
        let top1 = self.share(&asked, executor)?;
        self.asked = Some(asked);
        Ok(top1)
    }

    /// The share that another executor answers right.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn top1_of(
        &self,
        executor: &mut dyn Executor,
        normalization: &Normalization,
    ) -> Result<f64> {
        self.share(&Asked::new(executor, self.images, normalization)?, executor)
    }

    fn share(&self, asked: &Asked, executor: &mut dyn Executor) -> Result<f64> {
        let n = self.truth.len();
        let logits = asked.logits(executor, n, |i| (i, View::plain(i)), |_, _| Ok(()))?;
        Ok(score::correct(&logits, &self.truth) as f64 / n as f64)
    }
}
