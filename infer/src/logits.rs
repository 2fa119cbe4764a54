//! `infer logits`: teachers' answers to K views of every picture, kept for students.

use anyhow::{Context, Result, ensure};
use common::array::Array;
use common::cli;
use common::images::Images;
use common::logits::{About, Logits as Cached};
use common::model::Model;
use common::network::Inference;
use common::view::{self, Policy, View};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Pictures per batch.
const BATCH: usize = 64;

/// Compute teachers' logits for random views of the training pictures.
///
/// Views are drawn by --augment and --seed; a student distilled from the result sees the same
/// views. Several teachers are averaged.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer logits --teacher teacher.safetensors --images training.safetensors \\
      --augment flip,shift=0.1,cutmix=1 --views 10 --out logits.safetensors
  infer logits --teacher a.safetensors --teacher b.safetensors --images t.safetensors --out l.safetensors")]
pub(crate) struct Logits {
    /// Model to ask; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    teacher: Vec<PathBuf>,
    /// Images artifact.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// Random changes to the pictures, as in train.
    #[arg(long, default_value = "none")]
    augment: Policy,
    /// Views per picture, K; epoch e of the student uses view e mod K.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    views: u16,
    /// Seed of the views.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write the logits.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    compute: cli::Compute,
}

impl Logits {
    pub(crate) fn run(self) -> Result<String> {
        self.compute.start()?;
        let images = Images::load(&self.images)?;
        let mut parents = BTreeMap::from([("images".to_owned(), images.hash().to_owned())]);
        let views = usize::from(self.views);
        let bar = cli::progress(views * images.len() * self.teacher.len(), "views");
        let mut sum: Option<Array> = None;
        for (i, path) in self.teacher.iter().enumerate() {
            let (model, origin) = Model::load(path)?;
            model.check_images(&images)?;
            parents.insert(format!("teacher {i}"), origin.hash);
            let logits = self.answers(&model, &images, &bar)?;
            match &mut sum {
                None => sum = Some(logits),
                Some(s) => {
                    ensure!(
                        s.shape == logits.shape,
                        "{}: {} classes, the first teacher has {}",
                        path.display(),
                        logits.shape[2],
                        s.shape[2]
                    );
                    s.values.iter_mut().zip(&logits.values).for_each(|(a, b)| *a += b);
                }
            }
        }
        bar.finish_and_clear();
        let mut mean = sum.context("no teacher")?;
        mean.values.iter_mut().for_each(|v| *v /= self.teacher.len() as f32);
        let about = About {
            policy: self.augment,
            seed: self.seed,
            views,
            images: images.hash().to_owned(),
        };
        Cached::save(&self.out, &about, parents, &mean)?;
        Ok(format!(
            "{}: {} views of {} pictures by {} teacher(s)",
            self.out.display(),
            views,
            images.len(),
            self.teacher.len(),
        ))
    }

    /// Logits `[views, n, classes]` of one teacher.
    fn answers(
        &self,
        model: &Model,
        images: &Images,
        bar: &indicatif::ProgressBar,
    ) -> Result<Array> {
        let network = Inference::new(model)?;
        let (n, size, views) = (images.len(), images.size(), usize::from(self.views));
        let floats = 3 * size * size;
        let mut values = Vec::with_capacity(views * n * network.classes());
        for k in 0..views {
            for start in (0..n).step_by(BATCH) {
                let count = BATCH.min(n - start);
                let mut x = vec![0.0; count * floats];
                x.par_chunks_mut(floats).enumerate().for_each(|(j, x)| {
                    let i = start + j;
                    let view = View::of(&self.augment, self.seed, i, k, n, size);
                    view::render(images, i, &view, &model.input.normalization, x);
                });
                values.extend(network.logits(&x)?);
                bar.inc(count as u64);
            }
        }
        Array::new(vec![views, n, network.classes()], values)
    }
}
