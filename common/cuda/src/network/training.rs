//! Training steps: the passes, launched or replayed, and the update.

use super::Network;
use crate::capture::Captured;
use crate::inputs::Targets;
use crate::memory::Buffer;
use crate::op::Mode;
use crate::optimizer::{self, Buffers, Kinds};
use crate::values::Engine;
use anyhow::Result;
use executor::{Batch, Kept as Album, Loss, MOMENTUM, Rule, Update};
use views::View;

/// Views of pictures that are kept, if a step is on any.
pub(super) type Views<'a> = Option<(Album, &'a [(usize, View)])>;

/// What training needs besides the state.
pub(super) struct Training {
    pub(super) engine: Engine,
    /// What the network computes with, where that is not the variables.
    parameters: Option<Buffer>,
    pub(super) gradient: Buffer,
    kinds: Kinds,
    pub(super) repeats: Repeats,
}

/// What the last pass was, which tells whether the next is the same again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pictures: usize,
    targets: Targets,
    /// Whose views it is fed.
    album: Option<usize>,
    mode: Mode,
}

/// Passes that repeat. One is captured when it comes again after one of its shape that allocated nothing; then buffers
/// are taken and given back in the same order, so that what was captured writes nowhere else. Nothing else runs in the
/// engine's memory while a graph is kept.
pub(super) enum Repeats {
    /// Another may be another.
    No,
    /// One of this shape has run, and allocated nothing.
    Once(Shape),
    /// It is one launch.
    As(Shape, Captured),
}

impl Training {
    fn new(network: &mut Network) -> Result<Self> {
        let p = &network.parametrisation;
        let parameters = match &network.rows {
            None => None,
            Some(_) => Some(network.memory.take(p.layout().len())?),
        };
        Ok(Self {
            engine: Engine::new(&network.graph, network.size, &network.kernels)?
                .at(network.precision),
            parameters,
            // Zeros: those of statistics stay so.
            gradient: network.memory.hold(&vec![0.0; p.len()])?,
            kinds: Kinds::new(p, &Update::new(Rule::Sgd, 0.0), &network.kernels.device)?,
            repeats: Repeats::No,
        })
    }
}

impl Network {
    /// A forward pass with batch statistics, the loss, the backward pass; on views of what is kept if there are any.
    pub(super) fn passes(
        &mut self,
        batch: &Batch,
        views: Views,
        target: Loss,
        mode: Mode,
    ) -> Result<()> {
        if let Some(inference) = &mut self.inference {
            inference.is_stale = true;
        }
        let mut training = self.take_training()?;
        let passed = self.pass(&mut training, batch, views, target, mode);
        let passed = passed.map_err(|e| {
            let pictures = batch.labels.len() / self.graph.classes();
            training.repeats = Repeats::No;
            training.engine.explain(e, pictures)
        });
        self.training = Some(training);
        Ok(passed?)
    }

    fn pass(
        &mut self,
        training: &mut Training,
        batch: &Batch,
        views: Views,
        target: Loss,
        mode: Mode,
    ) -> candle_core::Result<()> {
        let (album, views) = views.map_or((None, [].as_slice()), |(a, v)| (Some(a.0), v));
        let pictures = album.and_then(|a| self.pictures.get(a));
        let targets = training.engine.stage(batch, views, pictures, target)?;
        let shape = Shape { pictures: training.engine.batch, targets, album, mode };
        if matches!(&training.repeats, Repeats::Once(s) if *s == shape) && self.graphs {
            match self.kernels.capture(|| self.launch(training, &shape)) {
                Ok(captured) => training.repeats = Repeats::As(shape, captured),
                // Not for graphs: what is wrong besides, the launches below tell.
                Err(e) => (self.graphs, self.refused) = (false, Some(e.to_string())),
            }
        }
        if let Repeats::As(s, captured) = &training.repeats
            && *s == shape
        {
            self.replays += 1;
            return self.kernels.replay(captured);
        }
        let before = training.engine.memory.allocations();
        training.repeats = Repeats::No;
        self.launch(training, &shape)?;
        if training.engine.memory.allocations() == before {
            training.repeats = Repeats::Once(shape);
        }
        Ok(())
    }

    /// Everything of a pass that depends on its shape alone: launches, and nothing else.
    fn launch(&self, training: &mut Training, shape: &Shape) -> candle_core::Result<()> {
        let (kernels, variables) = (&self.kernels, self.variables.at);
        let Training { engine, parameters, gradient, .. } = training;
        let computed = match &self.rows {
            None => variables,
            Some(rows) => {
                let parameters = parameters.as_mut().expect("what is on grids has parameters");
                let n = self.parametrisation.layout().len();
                parameters.copy_from(&self.variables, n, &kernels.device)?;
                rows.round(kernels, variables, parameters.at)?;
                parameters.at
            }
        };
        if let Some(pictures) = shape.album.and_then(|a| self.pictures.get(a)) {
            engine.render(pictures)?;
        }
        engine.pass(shape.targets, shape.mode, computed, [gradient.at, self.losses.at])?;
        match &self.rows {
            None => Ok(()),
            Some(rows) => rows.gradients(kernels, variables, gradient.at),
        }
    }

    /// A training step on `views` of what is kept, or else on the pictures of `batch`.
    pub(super) fn train(
        &mut self,
        views: Views,
        batch: &Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        if update.ema > 0.0 && self.average.is_none() {
            // Of the variables as they were before this step, statistics included.
            self.average = Some(self.variables.copy(&mut self.memory)?);
        }
        let mode = if update.keeps_statistics() {
            Mode::Stored { head_only: update.rests() }
        } else {
            self.by_batch(MOMENTUM)
        };
        self.passes(batch, views, target, mode)?;
        let (n, device) = (self.parametrisation.len(), self.kernels.device.clone());
        if self.momenta.is_none() {
            self.momenta = self.memory.hold_momenta(update.momenta(n))?;
        }
        self.steps += 1;
        let training = self.training.as_mut().expect("passes have run in it");
        if !training.kinds.holds(update) {
            training.kinds = Kinds::new(&self.parametrisation, update, &device)?;
        }
        let buffers = Buffers {
            variables: &self.variables,
            gradient: &training.gradient,
            momenta: self.momenta.as_ref().expect("set above"),
            kinds: &training.kinds,
            average: self.average.as_ref().filter(|_| update.ema > 0.0).map(|average| {
                let share = 1.0 - update.keeps(self.steps);
                (average.at, share)
            }),
            n,
        };
        Ok(optimizer::step(update, &buffers, self.steps, &self.kernels, &mut self.memory)?)
    }

    /// By the statistics of the batch, towards which those of the variables move by the share `momentum`.
    pub(super) fn by_batch(&self, momentum: f32) -> Mode {
        Mode::Training { statistics: self.variables.at, momentum }
    }

    /// What training needs, made at the first use; whoever takes it puts it back.
    pub(super) fn take_training(&mut self) -> Result<Training> {
        match self.training.take() {
            Some(training) => Ok(training),
            None => Training::new(self),
        }
    }
}
