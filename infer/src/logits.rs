//! `infer logits`: teachers' answers to K views of every picture, kept for students.

use crate::asking::Asking;
use anyhow::{Context, Result, ensure};
use artifacts::logits::Views;
use artifacts::{Images, Logits as Cached, Model, Provenance, artifact};
use common::cli;
use common::device::Device;
use common::forward::{Asked, BATCH};
use common::interrupt::{Partial, Watch};
use graph::Array;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use views::{Policy, View};

/// Compute teachers' logits for random views of the training pictures.
///
/// Views are drawn by --augment and --seed; a student distilled from the result sees the same
/// views. Of several teachers the mean of their logits is kept; views that a teacher's file has (quantize pack --views)
/// are not asked for. An interrupted run goes on where it stopped when the same command is given again.
///
/// Teachers of train --fold on these very pictures answer those that they have not seen, each its fold, and partners of
/// mixed views come from the same fold, so that none has seen any part of what it answers. All folds must have a
/// teacher, and teachers with a fold go with no others, nor are they asked about other pictures. Only files of train
/// itself count: what prune, distill or quantize make of them does not say what they have seen, and is asked as any other.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer logits --teacher teacher.safetensors --images training.safetensors \\
      --augment flip,shift=0.1,cutmix=1 --views 10 --out logits.safetensors
  infer logits --teacher a.safetensors --teacher b.safetensors --images t.safetensors --out l.safetensors
  infer logits --teacher teacher-1.safetensors --teacher teacher-2.safetensors --images t.safetensors --out l.safetensors
      teachers of train --fold 1/2 and 2/2: each answers the half that it has not seen")]
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
    /// Do nothing if --out was made by this very command from these very files before.
    #[arg(long)]
    reuse: bool,
    #[command(flatten)]
    products: cli::Products,
    #[command(flatten)]
    compute: cli::Compute,
}

impl Logits {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.compute.start()?;
        let inputs: Vec<&Path> =
            self.teacher.iter().chain([&self.images]).map(PathBuf::as_path).collect();
        let _claim = artifact::claim(&self.out, &inputs)?;
        let images = Images::load(&self.images)?;
        let mut provenance = Provenance::new("infer logits", &self.settings(device))?;
        provenance = provenance.from("images", &images.source);
        let mut teachers = Vec::new();
        let mut sources = Vec::new();
        for (i, path) in self.teacher.iter().enumerate() {
            let (model, source) = Model::load(path)?;
            model.check_images(&images)?;
            provenance = provenance.from(&format!("teacher {i}"), &source);
            teachers.push(model);
            sources.push(source);
        }
        let classes = self.check_classes(&teachers)?;
        let asking = Asking::of(&sources, &images)?;
        let views = Views {
            policy: self.augment,
            seed: self.seed,
            views: usize::from(self.views),
            images: images.source.hash.clone(),
            folds: asking.folds(),
        };
        let is_made = |l: &Cached| l.views == views && l.source.provenance == provenance;
        if self.reuse && Cached::load(&self.out).is_ok_and(|l| is_made(&l)) {
            return Ok(cli::keep(&self.out));
        }
        let rows = views.views * images.len();
        // The sum, what was done of it, and both on the disk.
        artifact::check_room(&self.out, (12 * rows * classes) as u64)?;
        let partial = Partial::beside(&self.out, &provenance, &views)?;
        let (all, asked) = self.answers(&teachers, &images, &asking, &partial, device)?;
        let mean = asking.mean(all, views.views, classes);
        let mean = Array::new(vec![views.views, images.len(), classes], mean)?;
        Cached::save(&self.out, &views, &provenance, &mean)?;
        partial.remove();
        cli::record(&self.out, "infer logits", asked);
        Ok(format!(
            "{}: {} views of {} pictures by {} teacher(s){}",
            self.out.display(),
            self.views,
            images.len(),
            self.teacher.len(),
            asking.told(),
        ))
    }

    fn check_classes(&self, teachers: &[Model]) -> Result<usize> {
        let classes = teachers.first().context("no teacher")?.classes.len();
        for (path, teacher) in self.teacher.iter().zip(teachers) {
            let found = teacher.classes.len();
            ensure!(
                found == classes,
                "{}: {found} classes, the first teacher has {classes}",
                path.display()
            );
        }
        Ok(classes)
    }

    /// What a header keeps of the settings: nothing but a device and a precision that are not the usual ones, as
    /// the rest stands in the body.
    fn settings(&self, device: Device) -> Option<BTreeMap<&'static str, String>> {
        let precision = self.products.precision;
        let device = (!device.is_cpu()).then(|| ("device", device.to_string()));
        let precision = (!precision.is_f32()).then(|| ("precision", precision.to_string()));
        let settings: BTreeMap<_, _> = device.into_iter().chain(precision).collect();
        (!settings.is_empty()).then_some(settings)
    }

    /// The logits of each teacher for what it is asked, one teacher after the other, going on from `partial`, which
    /// holds the first of them; and how many views were asked about now.
    fn answers(
        &self,
        teachers: &[Model],
        images: &Images,
        asking: &Asking,
        partial: &Partial,
        device: Device,
    ) -> Result<(Vec<f32>, usize)> {
        let (views, size) = (usize::from(self.views), images.size());
        let bar = cli::progress(views * asking.pictures(), "views");
        let mut watch = Watch::start()?;
        let mut all = floats(&partial.load()?);
        let (mut before, mut asked) = (0, 0);
        for (teacher, model) in teachers.iter().enumerate() {
            let pictures = asking.of_teacher(teacher);
            let (n, classes) = (pictures.len(), model.classes.len());
            let rows = views * n;
            let own = all.len().saturating_sub(before * classes) / classes;
            // Whole batches, so that the rest falls into the same ones.
            let done = if own < rows { own / BATCH * BATCH } else { rows };
            if own < rows {
                all.truncate((before + done) * classes);
            }
            before += rows;
            bar.skip(done as u64);
            asked += rows - done;
            let mut executor = device.executor_at(model, self.products.precision)?;
            let network = Asked::new(&mut *executor, images, &model.input.normalization)?;
            let view = |at: usize| {
                let (k, i) = ((at + done) / n, pictures[(at + done) % n]);
                (i, View::among(&self.augment, self.seed, i, k, asking.peers(i), size))
            };
            let tick = |new: &[f32], n| {
                bar.inc(n as u64);
                watch.between(|| partial.save(bytes(all.iter().chain(new))))
            };
            let new = network.logits(&mut *executor, rows - done, view, tick)?;
            all.extend(new);
        }
        bar.finish_and_clear();
        Ok((all, asked))
    }
}

fn bytes<'a>(values: impl Iterator<Item = &'a f32>) -> Vec<u8> {
    values.flat_map(|v| v.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
