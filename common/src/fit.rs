//! The one training loop. `train` gives it labels, `distill` labels and a teacher's logits.
//!
//! An epoch shows every picture once, in a random order, as its view number `epoch mod K`. The
//! weights that count are an exponential moving average over steps (when switched on); they are
//! measured on the validation pictures after each epoch, and the best are kept beside the last.

mod batches;
mod loss;
mod optimizer;
mod state;

use crate::artifact::{Header, Kind};
use crate::graph::Weights;
use crate::images::Images;
use crate::logits::Logits;
use crate::model::Model;
use crate::network::{Inference, Training};
use crate::score;
use crate::view::Policy;
use anyhow::{Context, Result, ensure};
use batches::{Batch, Batches};
pub use loss::distillation_loss;
use optimizer::{Average, Optimizer};
use serde::Serialize;
use state::State;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// SGD with Nesterov momentum 0.9 and L2 weight decay.
    Sgd,
    /// AdamW, β = 0.9, 0.999.
    Adamw,
}

/// The settings of a training run; everything that decides its result besides the files.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Settings {
    /// Times every picture is shown.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: u32,
    /// Pictures per step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub batch: u32,
    /// Update rule.
    #[arg(long, value_enum, default_value = "adamw")]
    pub optimizer: Rule,
    /// Peak learning rate; reached after the warm-up, then a cosine down to 0.
    #[arg(long, default_value_t = 2e-3)]
    pub lr: f32,
    /// Epochs over which the learning rate rises from 0.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f32,
    /// Weight decay; biases and batch norm have none.
    #[arg(long, default_value_t = 1e-2)]
    pub weight_decay: f32,
    /// Largest norm of the gradient; 0 = no limit.
    #[arg(long, default_value_t = 0.0)]
    pub clip: f32,
    /// Share of the target spread over all classes.
    #[arg(long, default_value_t = 0.0)]
    pub label_smoothing: f32,
    /// Decay of the moving average of the weights, e.g. 0.999; 0 = off.
    #[arg(long, default_value_t = 0.0)]
    pub ema: f32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Settings {
    /// Checks ranges clap does not.
    fn check(&self) -> Result<()> {
        let flag = |name: &str, v: f32, ok: bool, range: &str| -> Result<()> {
            ensure!(v.is_finite() && ok, "--{name} {v}: expected {range}");
            Ok(())
        };
        flag("lr", self.lr, self.lr > 0.0, "more than 0")?;
        flag("warmup", self.warmup, self.warmup >= 0.0, "0 or more epochs")?;
        flag("weight-decay", self.weight_decay, self.weight_decay >= 0.0, "0 or more")?;
        flag("clip", self.clip, self.clip >= 0.0, "0 or more")?;
        let smoothing = self.label_smoothing;
        flag("label-smoothing", smoothing, (0.0..1.0).contains(&smoothing), "0 up to below 1")?;
        flag("ema", self.ema, (0.0..1.0).contains(&self.ema), "0 up to below 1")
    }

    /// Learning rate of `step` out of `steps`, `per_epoch` steps each.
    fn rate(&self, step: usize, steps: usize, per_epoch: usize) -> f32 {
        let warmup = self.warmup * per_epoch as f32;
        let s = step as f32 + 1.0;
        if s < warmup {
            return self.lr * s / warmup;
        }
        let progress = ((s - warmup) / (steps as f32 - warmup).max(1.0)).min(1.0);
        self.lr * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos())
    }
}

/// What a network is trained towards.
pub enum Targets<'a> {
    /// Labels, on views drawn by this policy.
    Labels(Policy),
    /// Labels and a teacher, on the teacher's views.
    Teacher {
        /// The teacher's logits.
        logits: &'a Logits,
        /// Weight of the teacher, α.
        alpha: f32,
        /// Temperature T.
        temperature: f32,
    },
}

/// Where the results go.
pub struct Files {
    best: PathBuf,
    last: PathBuf,
    epochs: PathBuf,
    state: PathBuf,
}

impl Files {
    /// `X.safetensors` for the best weights; beside it `X.last.safetensors`, `X.epochs.csv` and,
    /// until training is over, `X.state.safetensors`.
    pub fn beside(out: &Path) -> Self {
        Self {
            best: out.to_owned(),
            last: out.with_extension("last.safetensors"),
            epochs: out.with_extension("epochs.csv"),
            state: out.with_extension("state.safetensors"),
        }
    }
}

/// What a run is made from: goes into the headers of its files, and tells whether a state that was
/// left behind is of the same run.
pub struct Provenance {
    stage: &'static str,
    settings: serde_json::Value,
    parents: BTreeMap<String, String>,
}

impl Provenance {
    /// The run of `stage` with `settings` on the files with the hashes in `parents`.
    ///
    /// # Errors
    /// Settings that JSON cannot hold.
    pub fn new(
        stage: &'static str,
        settings: &impl Serialize,
        parents: BTreeMap<String, String>,
    ) -> Result<Self> {
        Ok(Self { stage, settings: serde_json::to_value(settings)?, parents })
    }

    fn header(&self, kind: Kind, body: &impl Serialize) -> Result<Header> {
        Header::new(kind, self.stage, &self.settings, self.parents.clone(), body)
    }

    fn save(&self, path: &Path, model: &Model) -> Result<()> {
        model.save(path, self.stage, &self.settings, self.parents.clone())
    }
}

/// What came out of a training run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Validation accuracy of the best epoch.
    pub best: f64,
    /// That epoch, from 1.
    pub best_epoch: usize,
    /// Validation accuracy after the last epoch.
    pub last: f64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { best, best_epoch, last } = self;
        write!(f, "best top-1 {best:.4} in epoch {best_epoch}, last {last:.4}")
    }
}

/// A line of the per-epoch CSV.
#[derive(Serialize)]
struct Epoch {
    epoch: usize,
    loss: f64,
    validation_top1: f64,
}

/// Train `model` on `train` and keep what does best on `validation`.
///
/// The last weights are written after every epoch, the best ones at the end, so that the artifact
/// appears only when training is over. A run that was interrupted goes on after its last epoch.
///
/// # Errors
/// Settings out of range, pictures without labels or of another preparation, a loss that is no
/// longer finite, and what the file system says.
pub fn fit(
    mut model: Model,
    train: &Images,
    validation: &Images,
    targets: &Targets,
    settings: &Settings,
    files: &Files,
    provenance: &Provenance,
) -> Result<Summary> {
    settings.check()?;
    model.check_images(train)?;
    model.check_images(validation)?;
    let truth = validation.all_labels()?;
    let feed = Batches::new(train, targets, settings, &model)?;
    let mut run = Run::start(&model, settings, feed.per_epoch(), &files.state, provenance)?;
    let bar = crate::cli::progress(settings.epochs as usize * feed.per_epoch(), "training");
    bar.inc((run.epochs * feed.per_epoch()) as u64);
    feed.run(run.epochs, |epoch, batches| {
        let loss = run.trainer.epoch(epoch, batches, targets, || bar.inc(1))?;
        model.weights = run.trainer.weights()?;
        let top1 = accuracy(&model, validation, &truth)?;
        provenance.save(&files.last, &model)?;
        run.note(Epoch { epoch: epoch + 1, loss, validation_top1: top1 }, &model.weights)?;
        crate::artifact::save_bytes(&files.epochs, run.log.as_bytes())?;
        run.state()?.save(&files.state, provenance)?;
        bar.set_message(format!("loss {loss:.3} top-1 {top1:.4}"));
        Ok(())
    })?;
    bar.finish_and_clear();
    provenance.save(&files.best, &Model { weights: run.best, ..model })?;
    let _ = std::fs::remove_file(&files.state);
    Ok(run.summary)
}

/// A run under way.
struct Run<'a> {
    epochs: usize,
    summary: Summary,
    best: Weights,
    log: String,
    trainer: Trainer<'a>,
}

impl<'a> Run<'a> {
    /// A fresh run, or the one whose state was left behind.
    fn start(
        model: &Model,
        settings: &'a Settings,
        per_epoch: usize,
        state: &Path,
        provenance: &Provenance,
    ) -> Result<Self> {
        let Some(state) = State::load(state, provenance)? else {
            return Ok(Self {
                epochs: 0,
                summary: Summary { best: -1.0, best_epoch: 0, last: 0.0 },
                best: Weights::new(),
                log: String::new(),
                trainer: Trainer::new(model, settings, per_epoch)?,
            });
        };
        eprintln!("continuing after epoch {} of {}", state.epochs, settings.epochs);
        let model = Model { weights: state.weights, ..model.clone() };
        let mut trainer = Trainer::new(&model, settings, per_epoch)?;
        trainer.optimizer.resume(state.steps, state.moments)?;
        if let Some(average) = &mut trainer.average {
            average.resume(state.steps, state.average);
        }
        let (epochs, summary, best, log) = (state.epochs, state.summary, state.best, state.log);
        Ok(Self { epochs, summary, best, log, trainer })
    }

    fn note(&mut self, epoch: Epoch, weights: &Weights) -> Result<()> {
        self.epochs = epoch.epoch;
        self.summary.last = epoch.validation_top1;
        if epoch.validation_top1 > self.summary.best {
            (self.summary.best, self.summary.best_epoch) = (epoch.validation_top1, epoch.epoch);
            self.best.clone_from(weights);
        }
        let headers = self.log.is_empty();
        let mut line = csv::WriterBuilder::new().has_headers(headers).from_writer(Vec::new());
        line.serialize(epoch)?;
        self.log += &String::from_utf8(line.into_inner()?)?;
        Ok(())
    }

    fn state(&self) -> Result<State> {
        let trainer = &self.trainer;
        let (steps, moments) = trainer.optimizer.state();
        Ok(State {
            epochs: self.epochs,
            summary: self.summary.clone(),
            log: self.log.clone(),
            steps,
            weights: trainer.network.weights()?,
            best: self.best.clone(),
            average: trainer.average.as_ref().map(Average::weights).unwrap_or_default(),
            moments: moments.clone(),
        })
    }
}

fn accuracy(model: &Model, images: &Images, truth: &[usize]) -> Result<f64> {
    let network = Inference::new(model)?;
    let logits = score::logits(&network, images, &model.input.normalization, |_| {})?;
    Ok(score::correct(&logits, truth) as f64 / truth.len() as f64)
}

/// Network, optimizer and average of one run.
struct Trainer<'a> {
    settings: &'a Settings,
    per_epoch: usize,
    network: Training,
    optimizer: Optimizer,
    average: Option<Average>,
}

impl<'a> Trainer<'a> {
    fn new(model: &Model, settings: &'a Settings, per_epoch: usize) -> Result<Self> {
        let network = Training::new(model)?;
        let optimizer = Optimizer::new(settings, &network);
        let average = (settings.ema > 0.0).then(|| Average::new(settings.ema, &model.weights));
        Ok(Self { settings, per_epoch, network, optimizer, average })
    }

    /// One pass over the pictures; the mean loss.
    fn epoch(
        &mut self,
        epoch: usize,
        batches: &Receiver<Batch>,
        targets: &Targets,
        tick: impl Fn(),
    ) -> Result<f64> {
        let steps = self.settings.epochs as usize * self.per_epoch;
        let mut sum = 0.0;
        for i in 0..self.per_epoch {
            let batch = batches.recv().context("the thread that makes batches stopped")?;
            let rate = self.settings.rate(epoch * self.per_epoch + i, steps, self.per_epoch);
            let logits = self.network.forward(batch.pictures)?;
            let loss = loss::loss(&logits, batch.labels, batch.teacher, targets)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            ensure!(
                value.is_finite(),
                "the loss is {value} in epoch {}: try a lower --lr, or --clip 1",
                epoch + 1
            );
            self.optimizer.step(&self.network, &loss.backward()?, rate)?;
            if let Some(average) = &mut self.average {
                average.update(&self.network)?;
            }
            sum += value;
            tick();
        }
        Ok(sum / self.per_epoch as f64)
    }

    fn weights(&self) -> Result<Weights> {
        match &self.average {
            Some(average) => Ok(average.weights()),
            None => self.network.weights(),
        }
    }
}
