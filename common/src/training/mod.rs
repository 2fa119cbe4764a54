//! The training loop. `train` gives it labels, `distill` labels and a teacher's logits.
//!
//! An epoch shows every picture once, in a random order, as its view number `epoch mod K`. The
//! variables that count are an exponential moving average over steps (when switched on); they are
//! measured on the validation pictures after each epoch, and the best are kept beside the last.
//! Nothing here prints or touches files: [`crate::run`] does.

mod batches;
mod progress;
mod settings;
mod sizes;
mod state;
mod validation;

use crate::device::Device;
use anyhow::{Context, Result, ensure};
use artifacts::{Fold, Images, Logits, Model, plan};
use batches::{Batches, Feed};
use codec::Quantized;
use executor::{Executor, Kept, Loss};
use graph::Weights;
use graph::grid::Grids;
pub use progress::{Epoch, Progress, Summary};
pub use settings::{OnGrids, Optimizer, Settings, Tuning};
pub use sizes::Sizes;
use sizes::executor;
pub use state::Saved;
use std::sync::mpsc::Receiver;
use validation::Validation;
use views::Policy;

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
        /// Weight of the teacher, and temperature.
        loss: Loss,
    },
}

/// Steps between two looks at the losses: each look waits for the device.
const READ: usize = 50;

/// A training run in memory.
pub struct Training<'a> {
    model: Model,
    pictures: Pictures<'a>,
    /// Those to train on that are shown, ascending.
    shown: Vec<usize>,
    validation: Validation<'a>,
    targets: &'a Targets<'a>,
    settings: &'a Settings,
    tuning: Option<Tuning>,
    on_grids: Option<OnGrids>,
    device: Device,
    executor: Box<dyn Executor>,
    /// Side of the pictures that the executor takes.
    side: usize,
    /// The training pictures, where the executor makes views itself.
    kept: Option<Kept>,
    progress: Progress,
    summary: Summary,
    best: Vec<f32>,
    log: String,
}

impl<'a> Training<'a> {
    /// A run that trains `model`, on its grids if `on_grids` says how.
    ///
    /// # Errors
    /// Settings out of range, pictures without labels or of another preparation.
    pub fn new(
        model: Model,
        pictures: Pictures<'a>,
        targets: &'a Targets<'a>,
        settings: &'a Settings,
        on_grids: Option<OnGrids>,
        device: Device,
    ) -> Result<Self> {
        settings.check()?;
        on_grids.map_or(Ok(()), |r| r.check())?;
        model.check_images(pictures.train)?;
        model.check_images(pictures.validation)?;
        settings.sizes.check(pictures.train.size(), &model.graph, settings.epochs)?;
        let validation = Validation::new(pictures.validation)?;
        let side = settings.side(0, pictures.train.size());
        let mut executor = executor(&model, side, settings, device)?;
        ensure!(
            settings.slim == 0.0 || executor.parametrisation().layout().gammas().next().is_some(),
            "--slim {}: the network has no batch norm that could go towards zero; of one that is trained \
             on grids it is folded",
            settings.slim
        );
        // What is kept on a device is rendered at its own size.
        let kept = match settings.sizes.is_full() {
            true => executor.keep(pictures.train, &model.input.normalization)?,
            false => None,
        };
        let summary = Summary { best: -1.0, best_epoch: 0, last: 0.0 };
        let (best, log) = (Vec::new(), String::new());
        let shown = (0..pictures.train.len()).collect();
        Ok(Self {
            model,
            pictures,
            shown,
            validation,
            targets,
            settings,
            tuning: None,
            on_grids,
            device,
            executor,
            side,
            kept,
            progress: Progress::default(),
            summary,
            best,
            log,
        })
    }

    /// The same run with head and body trained apart, and batch norms by the statistics they have.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn tuned(self, tuning: Tuning) -> Result<Self> {
        tuning.check()?;
        Ok(Self { tuning: Some(tuning), ..self })
    }

    /// The same run without the pictures of a fold: none of them is shown, alone or as a partner.
    ///
    /// # Errors
    /// As [`Fold::others`].
    pub fn without(mut self, fold: Fold) -> Result<Self> {
        self.shown = fold.others(self.pictures.train)?;
        Ok(self)
    }

    /// Go on after an interruption.
    ///
    /// # Errors
    /// The state of another network.
    pub fn resume(&mut self, saved: Saved) -> Result<()> {
        self.progress = saved.progress;
        self.take_side(self.progress.epochs)?;
        self.executor.upload(saved.state)?;
        self.executor.set_losses(saved.progress.loss)?;
        (self.summary, self.best, self.log) = (saved.summary, saved.best, saved.log);
        Ok(())
    }

    /// What an interrupted run needs to go on.
    ///
    /// # Errors
    /// A device that fails.
    pub fn saved(&self) -> Result<Saved> {
        Ok(Saved {
            progress: Progress { loss: self.executor.losses()?, ..self.progress },
            summary: self.summary.clone(),
            log: self.log.clone(),
            best: self.best.clone(),
            state: self.executor.download()?,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What came out so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Lines of the per-epoch CSV so far.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Steps in an epoch.
    ///
    /// # Errors
    /// Pictures without labels, or too few.
    pub fn steps_per_epoch(&self) -> Result<usize> {
        Ok(self.batches(&self.shown)?.per_epoch())
    }

    /// The work of so much of the run, of epochs of `per_epoch` steps, in steps at full size.
    pub fn work(&self, progress: Progress, per_epoch: usize) -> u64 {
        self.settings.sizes.work(
            progress,
            self.settings.epochs,
            per_epoch,
            self.pictures.train.size(),
        )
    }

    /// Pictures in a step.
    pub fn batch(&self) -> usize {
        batches::batch(self.settings, &self.shown)
    }

    /// Of the pictures `shown`, which are [`Training::shown`]: borrowed apart, as a run changes its progress while
    /// batches are made.
    fn batches<'b>(&self, shown: &'b [usize]) -> Result<Batches<'b>>
    where
        'a: 'b,
    {
        let pictures = (self.pictures.train, shown);
        Batches::new(pictures, self.targets, self.settings, &self.model, self.kept.is_none())
    }

    /// The remaining epochs. `tick` is called after every step, `note` after every epoch.
    ///
    /// # Errors
    /// A loss that is no longer finite, what `tick` and `note` say, a device that fails.
    pub fn run(
        &mut self,
        mut tick: impl FnMut(&Self) -> Result<()>,
        mut note: impl FnMut(&Self, &Epoch) -> Result<()>,
    ) -> Result<()> {
        let shown = self.shown.clone();
        let feed = self.batches(&shown)?;
        let per_epoch = feed.per_epoch();
        feed.run((self.progress.epochs, self.progress.steps), |epoch, batches| {
            if self.progress.steps == 0 {
                self.resize(epoch)?;
                self.settle(epoch)?;
            }
            let loss = self.epoch(epoch, per_epoch, batches, &mut tick)?;
            let steps = self.settings.epochs as usize * per_epoch;
            let lr = self.settings.lr((epoch + 1) * per_epoch - 1, steps, per_epoch);
            let epoch = self.measure(epoch, loss, lr)?;
            note(self, &epoch)
        })
    }

    /// Before `epoch`, from 0: an executor for pictures of its side, if that is another.
    fn resize(&mut self, epoch: usize) -> Result<()> {
        if self.side_in(epoch) == self.side {
            return Ok(());
        }
        let state = self.executor.download()?;
        self.take_side(epoch)?;
        self.executor.upload(state)
    }

    /// Side of the pictures in `epoch`, from 0.
    fn side_in(&self, epoch: usize) -> usize {
        self.settings.side(epoch, self.pictures.train.size())
    }

    /// An executor for pictures of the side of `epoch`, from 0, with the weights of the beginning, unless it is there.
    fn take_side(&mut self, epoch: usize) -> Result<()> {
        let side = self.side_in(epoch);
        if side != self.side {
            self.executor = executor(&self.model, side, self.settings, self.device)?;
            (self.side, self.kept) = (side, None);
            self.validation.forget();
        }
        Ok(())
    }

    /// Whether the integers no longer change in `epoch`, from 0.
    fn is_settled(&self, epoch: usize) -> bool {
        self.on_grids.is_some_and(|g| epoch >= g.settle_at(self.settings.epochs))
    }

    /// Before `epoch`: the integers come to rest when it is time.
    fn settle(&mut self, epoch: usize) -> Result<()> {
        let Some(on_grids) = self.on_grids else { return Ok(()) };
        if epoch != on_grids.settle_at(self.settings.epochs) {
            return Ok(());
        }
        let mut state = self.executor.download()?;
        let parametrisation = self.executor.parametrisation();
        let (weights, grids) = parametrisation.unrounded(state.counting())?;
        // Later changes of scales and biases move the size by a few bytes.
        let budget = on_grids.budget - on_grids.budget / 1000;
        let (quantized, _) = plan::round_to_budget(&self.model, &weights, &grids, budget)?;
        state.variables = parametrisation.variables(&quantized.weights()?, &grids)?;
        if !state.average.is_empty() {
            state.average.clone_from(&state.variables);
        }
        self.executor.upload(state)
    }

    /// One pass over the pictures; the mean loss.
    fn epoch(
        &mut self,
        epoch: usize,
        per_epoch: usize,
        batches: &Receiver<Feed>,
        tick: &mut impl FnMut(&Self) -> Result<()>,
    ) -> Result<f64> {
        let steps = self.settings.epochs as usize * per_epoch;
        let target = match self.targets {
            Targets::Labels(_) => Loss::LABELS,
            Targets::Teacher { loss, .. } => *loss,
        };
        for i in self.progress.steps..per_epoch {
            let feed = batches.recv().context("the thread that makes batches stopped")?;
            let Feed { batch, views } = feed;
            let mut update = self.settings.update(epoch * per_epoch + i, steps, per_epoch);
            update.settled = self.is_settled(epoch);
            let update = self.tuning.map_or(update, |t| t.of(update, epoch, per_epoch));
            match self.kept {
                Some(kept) => self.executor.step_on(kept, &views, batch, target, &update)?,
                None => self.executor.step(batch, target, &update)?,
            }
            self.progress.steps = i + 1;
            if self.progress.steps.is_multiple_of(READ) || self.progress.steps == per_epoch {
                let loss = self.executor.losses()?;
                ensure!(
                    loss.is_finite(),
                    "the loss is {loss} in epoch {}: try a lower --lr, or --clip 1",
                    epoch + 1
                );
                self.progress.loss = loss;
            }
            tick(self)?;
        }
        Ok(self.progress.loss / per_epoch as f64)
    }

    /// After epoch number `epoch` from 0: accuracy, and whether it is the best.
    fn measure(&mut self, epoch: usize, loss: f64, lr: f32) -> Result<Epoch> {
        let (size, normalization) = (self.validation.size(), &self.model.input.normalization);
        let validation_top1 = if self.side == size {
            self.validation.top1(&mut *self.executor, normalization)?
        } else {
            // Of pictures as they are: what training is for.
            let mut full = executor(&self.last()?, size, self.settings, self.device)?;
            self.validation.top1_of(&mut *full, normalization)?
        };
        let epoch = Epoch { epoch: epoch + 1, loss, validation_top1, lr };
        self.progress = Progress { epochs: epoch.epoch, ..Progress::default() };
        self.executor.set_losses(0.0)?;
        self.summary.last = validation_top1;
        if validation_top1 > self.summary.best && self.keeps_to_budget()? {
            (self.summary.best, self.summary.best_epoch) = (validation_top1, epoch.epoch);
            self.best = self.executor.counting()?;
        }
        let mut line =
            csv::WriterBuilder::new().has_headers(self.log.is_empty()).from_writer(Vec::new());
        line.serialize(epoch)?;
        self.log += &String::from_utf8(line.into_inner()?)?;
        Ok(epoch)
    }

    /// Whether the finished file would.
    fn keeps_to_budget(&self) -> Result<bool> {
        let Some(OnGrids { budget, .. }) = self.on_grids else { return Ok(true) };
        let model = self.last()?;
        let quantized = Quantized::on(&model.graph, &model.weights, &model.grids, 0.0)?;
        Ok(model.coded_bytes(&quantized)? <= budget)
    }

    /// The network as it is now.
    ///
    /// # Errors
    /// A device that fails.
    pub fn last(&self) -> Result<Model> {
        self.with_variables(&self.executor.counting()?)
    }

    /// The network of the best epoch; None if none kept to the budget.
    ///
    /// # Errors
    /// Only a run that was resumed from a damaged state.
    pub fn best(&self) -> Result<Option<Model>> {
        (!self.best.is_empty()).then(|| self.with_variables(&self.best)).transpose()
    }

    fn with_variables(&self, variables: &[f32]) -> Result<Model> {
        let (stored, grids): (Weights, Grids) =
            self.executor.parametrisation().stored(variables)?;
        // What is no parameter (PyTorch's count of batches) stays as it came.
        let mut weights = self.model.weights.clone();
        weights.extend(stored);
        Ok(Model { weights, grids, ..self.model.clone() })
    }
}
