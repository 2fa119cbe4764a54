//! Calibration pictures: gradients for importance, and fresh batch-norm statistics.

use anyhow::{Context, Result, ensure};
use artifacts::{Images, Model, Source};
use common::cli;
use common::device::Device;
use common::spread::spread;
use executor::{Batch, Loss};
use graph::Weights;
use serde::Serialize;
use std::path::PathBuf;

/// Pictures per batch.
const BATCH: usize = 64;

/// Flags that name the pictures.
#[derive(clap::Args)]
pub(crate) struct Pictures {
    /// Images artifact to recalibrate batch norm on afterwards, and to measure importance on; best the
    /// pictures it is trained on.
    #[arg(long, value_name = "FILE")]
    pub(crate) images: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) count: Count,
}

/// How many of them.
#[derive(Serialize, clap::Args)]
pub(crate) struct Count {
    /// Calibration pictures: so many of --images, evenly spread.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(2..))]
    pictures: u32,
}

/// The pictures themselves.
pub(crate) struct Calibration {
    images: Images,
    chosen: Vec<usize>,
    device: Device,
}

impl Pictures {
    /// Those for `model`; None without --images.
    ///
    /// # Errors
    /// Pictures of another preparation, or none.
    pub(crate) fn load(&self, model: &Model, device: Device) -> Result<Option<Calibration>> {
        let Some(path) = &self.images else { return Ok(None) };
        let images = Images::load(path)?;
        model.check_images(&images)?;
        let all: Vec<usize> = (0..images.len()).collect();
        let chosen = spread(&all, self.count.pictures as usize);
        ensure!(chosen.len() >= 2, "{}: too few pictures", images.source.name);
        Ok(Some(Calibration { images, chosen, device }))
    }
}

impl Calibration {
    /// Where the pictures came from.
    pub(crate) fn source(&self) -> &Source {
        &self.images.source
    }

    /// How many there are.
    pub(crate) fn pictures(&self) -> usize {
        self.chosen.len()
    }

    fn batches(&self) -> impl Iterator<Item = &[usize]> {
        batches(&self.chosen)
    }

    /// `[b, size, size, 3]`, normalized.
    fn batch(&self, model: &Model, chosen: &[usize]) -> Vec<f32> {
        let floats = self.images.preparation.bytes();
        let mut x = vec![0.0; chosen.len() * floats];
        for (x, i) in x.chunks_mut(floats.max(1)).zip(chosen) {
            model.input.normalization.apply(self.images.pixels(*i), x);
        }
        x
    }

    /// `model` with batch-norm statistics of these pictures.
    ///
    /// # Errors
    /// Pictures that do not fit the network.
    pub(crate) fn recalibrated(&self, mut model: Model) -> Result<Model> {
        let mut executor = self.device.executor(&model)?;
        let bar = cli::progress(self.batches().count(), "recalibrating");
        executor.recalibrate(&mut self.batches().map(|chosen| {
            bar.inc(1);
            self.batch(&model, chosen)
        }))?;
        bar.finish_and_clear();
        let variables = executor.counting()?;
        let (stored, _) = executor.parametrisation().stored(&variables)?;
        // What is no parameter (PyTorch's count of batches) stays as it came.
        model.weights.extend(stored);
        Ok(model)
    }

    /// Calls `each` with the gradient of the cross-entropy of every batch.
    ///
    /// # Errors
    /// Pictures without labels, or that do not fit the network.
    pub(crate) fn gradients(&self, model: &Model, mut each: impl FnMut(&Weights)) -> Result<()> {
        let labels = self.images.all_labels().context("importance is measured on labels")?;
        let classes = model.classes.len();
        let mut executor = self.device.executor(model)?;
        let bar = cli::progress(self.batches().count(), "measuring");
        for chosen in self.batches() {
            let mut targets = vec![0.0; chosen.len() * classes];
            for (target, i) in targets.chunks_mut(classes).zip(chosen) {
                target[labels[*i]] = 1.0;
            }
            let pictures = self.batch(model, chosen);
            let batch = Batch { pictures, labels: targets, teacher: Vec::new() };
            let (_, gradient) = executor.gradient(batch, Loss::LABELS)?;
            each(&executor.parametrisation().layout().unpack(&gradient)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// Batches of picture numbers, each of two at least: one has no variance, so the last joins those before it.
fn batches(chosen: &[usize]) -> impl Iterator<Item = &[usize]> {
    let lone = if chosen.len() % BATCH == 1 { chosen.len().min(BATCH + 1) } else { 0 };
    let (even, rest) = chosen.split_at(chosen.len() - lone);
    even.chunks(BATCH).chain(rest.chunks(BATCH + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every picture counts, and none alone.
    #[test]
    fn no_picture_is_left_out() {
        for n in 2..=3 * BATCH + 2 {
            let chosen: Vec<usize> = (0..n).collect();
            assert_eq!(batches(&chosen).flatten().count(), n);
            assert!(batches(&chosen).all(|b| (2..=BATCH + 1).contains(&b.len())), "{n}");
        }
    }
}
