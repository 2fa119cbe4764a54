//! The one training loop. `train` gives it labels, `distill` labels and a teacher's logits.
//!
//! An epoch shows every picture once, in a random order, as its view number `epoch mod K`. The
//! weights that count are an exponential moving average over steps (when switched on); they are
//! measured on the validation pictures after each epoch, and the best are kept beside the last.

mod batches;
mod loss;
mod optimizer;
mod settings;
mod state;
mod trainer;

use crate::artifact::{Header, Kind};
use crate::codec::Quantized;
use crate::graph::Weights;
use crate::images::Images;
use crate::logits::Logits;
use crate::model::Model;
use crate::network::Inference;
use crate::score;
use crate::view::Policy;
use anyhow::{Result, ensure};
use batches::Batches;
pub use loss::distillation_loss;
use optimizer::Average;
use serde::Serialize;
pub use settings::{Rounding, Rule, Settings};
use state::State;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trainer::Trainer;

/// Pictures to train on, and those that decide which epoch was best.
pub struct Pictures<'a> {
    /// To train on.
    pub train: &'a Images,
    /// To measure on.
    pub validation: &'a Images,
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
    pictures: &Pictures,
    targets: &Targets,
    settings: &Settings,
    rounding: Option<Rounding>,
    files: &Files,
    provenance: &Provenance,
) -> Result<Summary> {
    settings.check()?;
    rounding.map_or(Ok(()), |r| r.check())?;
    let Pictures { train, validation } = pictures;
    model.check_images(train)?;
    model.check_images(validation)?;
    let truth = validation.all_labels()?;
    let feed = Batches::new(train, targets, settings, &model)?;
    let mut run =
        Run::start(&model, settings, rounding, feed.per_epoch(), &files.state, provenance)?;
    let bar = crate::cli::progress(settings.epochs as usize * feed.per_epoch(), "training");
    bar.inc((run.epochs * feed.per_epoch()) as u64);
    feed.run(run.epochs, |epoch, batches| {
        run.trainer.settle(epoch, &model)?;
        let loss = run.trainer.epoch(epoch, batches, targets, || bar.inc(1))?;
        let raw = run.trainer.weights();
        (model.weights, model.grids) = run.trainer.network.stored(&raw)?;
        let top1 = accuracy(&model, validation, &truth)?;
        provenance.save(&files.last, &model)?;
        let fits =
            rounding.map_or(Ok(true), |r| Ok::<_, anyhow::Error>(bytes(&model)? <= r.budget))?;
        run.note(Epoch { epoch: epoch + 1, loss, validation_top1: top1 }, fits.then_some(&raw))?;
        crate::artifact::save_bytes(&files.epochs, run.log.as_bytes())?;
        run.state()?.save(&files.state, provenance)?;
        bar.set_message(format!("loss {loss:.3} top-1 {top1:.4}"));
        Ok(())
    })?;
    bar.finish_and_clear();
    ensure!(
        !run.best.is_empty(),
        "after no epoch did the network keep to the budget: raise --settle or --rate; \
         the last weights are in {}",
        files.last.display()
    );
    let (weights, grids) = run.trainer.network.stored(&run.best)?;
    provenance.save(&files.best, &Model { weights, grids, ..model })?;
    let _ = std::fs::remove_file(&files.state);
    Ok(run.summary)
}

/// Bytes of the finished file of a model whose weights are on its grids.
fn bytes(model: &Model) -> Result<usize> {
    model.coded_bytes(&Quantized::on(&model.weights, &model.grids, 0.0)?)
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
        rounding: Option<Rounding>,
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
                trainer: Trainer::new(model, settings, rounding, per_epoch)?,
            });
        };
        eprintln!("continuing after epoch {} of {}", state.epochs, settings.epochs);
        let mut trainer = Trainer::new(model, settings, rounding, per_epoch)?;
        trainer.network.set(&state.weights)?;
        trainer.optimizer.resume(state.steps, state.moments)?;
        if let Some(average) = &mut trainer.average {
            average.resume(state.steps, state.average);
        }
        let (epochs, summary, best, log) = (state.epochs, state.summary, state.best, state.log);
        Ok(Self { epochs, summary, best, log, trainer })
    }

    /// `raw` are the variables after the epoch, None where the network is over its budget.
    fn note(&mut self, epoch: Epoch, raw: Option<&Weights>) -> Result<()> {
        self.epochs = epoch.epoch;
        self.summary.last = epoch.validation_top1;
        if let Some(raw) = raw
            && epoch.validation_top1 > self.summary.best
        {
            (self.summary.best, self.summary.best_epoch) = (epoch.validation_top1, epoch.epoch);
            self.best.clone_from(raw);
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
            weights: trainer.network.weights(),
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
