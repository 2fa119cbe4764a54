//! `infer logits`: teachers' answers to K views of every picture, kept for students.

use anyhow::{Context, Result, ensure};
use common::executor::Device;
use common::view::{self, View};
use common::{answers, cli};
use graph::Array;
use indicatif::ProgressBar;
use model::logits::Views;
use model::{Images, Logits as Cached, Model, Policy, Provenance};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
        let mut provenance = Provenance::new("infer logits", &self.device())?;
        provenance = provenance.from("images", &images.source);
        let bar =
            cli::progress(usize::from(self.views) * images.len() * self.teacher.len(), "views");
        let mut sum: Option<Array> = None;
        for (i, path) in self.teacher.iter().enumerate() {
            let (model, source) = Model::load(path)?;
            model.check_images(&images)?;
            provenance = provenance.from(&format!("teacher {i}"), &source);
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
        let views = Views {
            policy: self.augment,
            seed: self.seed,
            views: usize::from(self.views),
            images: images.source.hash.clone(),
        };
        Cached::save(&self.out, &views, &provenance, &mean)?;
        Ok(format!(
            "{}: {} views of {} pictures by {} teacher(s)",
            self.out.display(),
            self.views,
            images.len(),
            self.teacher.len(),
        ))
    }

    /// What a header keeps of the settings: nothing but a device that is not the usual one, as the
    /// rest stands in the body.
    fn device(&self) -> Option<BTreeMap<&str, Device>> {
        let device = self.compute.device;
        (!device.is_cpu()).then(|| BTreeMap::from([("device", device)]))
    }

    /// Logits `[views, n, classes]` of one teacher.
    fn answers(&self, model: &Model, images: &Images, bar: &ProgressBar) -> Result<Array> {
        let mut executor = self.compute.device.executor(model)?;
        let (n, size, views) = (images.len(), images.size(), usize::from(self.views));
        let fill = |at: usize, x: &mut [f32]| {
            let (k, i) = (at / n, at % n);
            let view = View::of(&self.augment, self.seed, i, k, n, size);
            view::render(images, i, &view, &model.input.normalization, x);
            Ok(())
        };
        let tick = |n| bar.inc(n as u64);
        let floats = images.preparation.bytes();
        let values = answers::logits(&mut *executor, views * n, floats, fill, tick)?;
        Ok(Array::new(vec![views, n, executor.classes()], values)?)
    }
}
