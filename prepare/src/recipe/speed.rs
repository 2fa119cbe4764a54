//! How fast this machine is, measured: some seconds for every network.

use super::level::Speed;
use anyhow::{Context, Result, bail};
use artifacts::artifact::{self, Data};
use artifacts::images::Unsaved;
use artifacts::{Images, Model, Preparation, Provenance, classes};
use codec::{Quantized, Rows};
use common::device::Device;
use common::forward::Asked;
use common::spread::spread;
use common::training::{OnGrids, Optimizer, Pictures, Settings, Sizes, Targets, Training};
use executor::Precision;
use graph::Role;
use photos::MAX_PIXELS;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use views::{Policy, View};

/// Pictures that are decoded for it, and how many they are made to be.
const DECODED: usize = 64;
const PICTURES: usize = 512;

/// Steps of an epoch that are not timed, those that are at least, and for how long.
const WARM_UP: usize = 2;
const STEPS: usize = 4;
const SPAN: Duration = Duration::from_millis(1500);

/// Some of the pictures, prepared, with labels that mean nothing: every class has one.
pub(super) struct Sample {
    images: Images,
    /// Seconds a picture.
    decode: f64,
    /// Where to write for a moment.
    scratch: PathBuf,
}

/// Removes a file when it goes.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Sample {
    /// Of `paths`, for pictures of `size` and so many classes; written for a moment beside `out`.
    ///
    /// # Errors
    /// No picture that can be read, a disk that fails.
    pub(super) fn of(
        paths: &[PathBuf],
        how: Preparation,
        classes: usize,
        out: &Path,
    ) -> Result<Self> {
        let all: Vec<&PathBuf> = paths.iter().collect();
        let chosen = spread(&all, DECODED);
        let count = chosen.len();
        let began = Instant::now();
        let decoded: Vec<Vec<u8>> =
            chosen.par_iter().filter_map(|p| photos::prepare(p, &how, MAX_PIXELS).ok()).collect();
        let decode = began.elapsed().as_secs_f64() / count.max(1) as f64;
        if decoded.is_empty() {
            bail!("none of {count} pictures can be read");
        }
        let n = PICTURES.max(classes);
        let scratch = artifact::beside(out, "sample.safetensors");
        let file = Scratch(scratch.clone());
        let unsaved = Unsaved {
            preparation: how,
            classes: classes::numbers(classes),
            labels: (0..n).map(|i| Some(i % classes)).collect(),
            names: (0..n).map(|i| i.to_string()).collect(),
            pixels: Data::Bytes((0..n).flat_map(|i| decoded[i % decoded.len()].clone()).collect()),
        };
        unsaved.save(&file.0, &Provenance::new("prepare recipe", &())?)?;
        Ok(Self { images: Images::load(&file.0)?, decode, scratch })
    }

    /// The level's speed with these networks, of the sample's size; on grids where what is planned `is_trained` there.
    ///
    /// # Errors
    /// Networks that do not fit the pictures, a device that fails.
    pub(super) fn speed(
        &self,
        teacher: Model,
        student: Model,
        is_trained: bool,
        device: Device,
    ) -> Result<Speed> {
        let planned = on_grids(&student)?;
        let tensors = planned.graph.parameters().filter(|p| p.role == Role::Weight).count();
        Ok(Speed {
            decode: self.decode,
            teacher_epoch: self.epoch(&teacher)?,
            student_epoch: self.epoch(&student)?,
            weights: student.graph.parameter_count(),
            teacher_answer: self.answer(&teacher, device)?,
            teacher_step: self.step(teacher, None, device)?,
            student_answer: self.answer(&student, device)?,
            student_step: self.step(student, None, device)?,
            grids_step: if is_trained { self.step(planned, Some(FREE), device)? } else { 0.0 },
            tensors,
        })
    }

    /// A fresh network for pictures like these.
    ///
    /// # Errors
    /// One that they do not fit.
    pub(super) fn fresh(&self, build: impl FnOnce(usize) -> Result<graph::Graph>) -> Result<Model> {
        Model::fresh(build, &self.images, false, 1)
    }

    /// A network that was trained elsewhere, for pictures like these.
    ///
    /// # Errors
    /// One that cannot go on with them.
    pub(super) fn go_on(&self, model: Model) -> Result<Model> {
        Ok(model.for_images(&self.images, 1)?.0)
    }

    /// Seconds that an epoch of training takes for what it writes: the last weights, and, though not after every one, the
    /// state, which is up to four times as large.
    fn epoch(&self, model: &Model) -> Result<f64> {
        let file = Scratch(self.scratch.clone());
        let began = Instant::now();
        model.save(&file.0, &Provenance::new("prepare recipe", &())?)?;
        Ok(2.0 * began.elapsed().as_secs_f64())
    }

    /// Seconds that training takes for a picture, views and all.
    fn step(&self, model: Model, on_grids: Option<OnGrids>, device: Device) -> Result<f64> {
        let targets = Targets::Labels(views()?);
        let pictures = Pictures { train: &self.images, validation: &self.images };
        let mut training = Training::new(model, pictures, &targets, &SETTINGS, on_grids, device)?;
        let (mut steps, mut timed, mut took) = (0, Duration::ZERO, None);
        let (batch, mut last) = (training.batch(), Instant::now());
        let ended = training.run(
            |training| {
                // Before the first step of an epoch the validation pictures were looked at.
                if training.progress().steps > WARM_UP {
                    (steps, timed) = (steps + 1, timed + last.elapsed());
                }
                if steps >= STEPS && timed >= SPAN {
                    took = Some(timed.as_secs_f64() / (steps * batch) as f64);
                    bail!("enough");
                }
                last = Instant::now();
                Ok(())
            },
            |_, _| Ok(()),
        );
        match (took, ended) {
            (Some(seconds), _) => Ok(seconds),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => bail!("{} epochs were no {SPAN:?}", SETTINGS.epochs),
        }
    }

    /// Seconds of an answer to a view, of all pictures once; the second time counts.
    fn answer(&self, model: &Model, device: Device) -> Result<f64> {
        let policy = views()?;
        let mut executor = device.executor(model)?;
        let asked = Asked::new(&mut *executor, &self.images, &model.input.normalization)?;
        let (n, size) = (self.images.len(), self.images.size());
        let mut took = 0.0;
        for k in 0..2 {
            let began = Instant::now();
            let view = |i| (i, View::of(&policy, 1, i, k, n, size));
            asked.logits(&mut *executor, n, view, |_, _| Ok(()))?;
            took = began.elapsed().as_secs_f64();
        }
        Ok(took / n as f64)
    }
}

/// What the recipe's own policy is, for the time that views take.
fn views() -> Result<Policy> {
    super::text::AUGMENT.parse().context("the views of a recipe")
}

/// As a plan would leave it, at three bits a weight.
fn on_grids(student: &Model) -> Result<Model> {
    let mut model = student.folded()?;
    let choices = codec::uniform_choices(&model.graph, Rows::Channel, 3);
    let quantized = Quantized::new(&model.graph, &model.weights, &choices)?;
    (model.weights, model.grids) = (quantized.weights()?, quantized.grids());
    Ok(model)
}

/// On grids, with no budget to keep to.
const FREE: OnGrids = OnGrids { budget: usize::MAX, settle: 0.0 };

/// Of trainings that are timed: a learning rate that does no harm, and more epochs than there is time for.
static SETTINGS: Settings = Settings {
    epochs: 100_000,
    batch: 32,
    optimizer: Optimizer::Adamw,
    lr: 1e-5,
    warmup: 0.0,
    weight_decay: 0.0,
    clip: 0.0,
    label_smoothing: 0.0,
    ema: 0.99,
    slim: 0.0,
    sizes: Sizes::FULL,
    seed: 1,
    precision: Precision::F32,
};
