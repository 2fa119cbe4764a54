//! Epochs of one run: forward, loss, backward, step.

use super::batches::Batch;
use super::loss;
use super::optimizer::{Average, Optimizer};
use super::{Rounding, Settings, Targets};
use crate::graph::Weights;
use crate::model::Model;
use crate::network::Training;
use crate::plan;
use anyhow::{Context, Result, ensure};
use std::sync::mpsc::Receiver;

/// Network, optimizer and average of one run.
pub(super) struct Trainer<'a> {
    settings: &'a Settings,
    rounding: Option<Rounding>,
    per_epoch: usize,
    pub(super) network: Training,
    pub(super) optimizer: Optimizer,
    pub(super) average: Option<Average>,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(
        model: &Model,
        settings: &'a Settings,
        rounding: Option<Rounding>,
        per_epoch: usize,
    ) -> Result<Self> {
        let network = Training::new(model)?;
        let optimizer = Optimizer::new(settings, &network);
        let start = network.weights();
        let average = (settings.ema > 0.0).then(|| Average::new(settings.ema, start));
        Ok(Self { settings, rounding, per_epoch, network, optimizer, average })
    }

    /// Before `epoch`: the integers come to rest when it is time.
    pub(super) fn settle(&mut self, epoch: usize, model: &Model) -> Result<()> {
        let Some(rounding) = self.rounding else { return Ok(()) };
        let at = rounding.settle_at(self.settings.epochs);
        if epoch == at {
            let (weights, grids) = self.network.unrounded(&self.weights())?;
            // Later changes of steps and biases move the size by a few bytes.
            let budget = rounding.budget - rounding.budget / 1000;
            let (quantized, _) = plan::round_to_budget(model, &weights, &grids, budget)?;
            let raw = Training::latents(&quantized.weights()?, &grids);
            self.network.set(&raw)?;
            if let Some(average) = &mut self.average {
                average.restart(raw);
            }
        }
        if epoch >= at {
            self.network.settle();
        }
        Ok(())
    }

    /// One pass over the pictures; the mean loss.
    pub(super) fn epoch(
        &mut self,
        epoch: usize,
        batches: &Receiver<Batch>,
        targets: &Targets,
        tick: impl Fn(),
    ) -> Result<f64> {
        let steps = self.settings.epochs as usize * self.per_epoch;
        let per_bit = self.rounding.map_or(0.0, |r| r.rate) / self.network.weight_count() as f32;
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
            let store = loss.backward()?;
            let grad = store.get(&logits).context("a loss that ignores the logits")?;
            let grad: Vec<f32> = grad.flatten_all()?.to_vec1()?;
            self.network.backward(&grad, per_bit)?;
            self.optimizer.step(&mut self.network, rate);
            if let Some(average) = &mut self.average {
                average.update(&self.network);
            }
            sum += value;
            tick();
        }
        Ok(sum / self.per_epoch as f64)
    }

    /// Variables and buffers that count: averaged, where they are.
    pub(super) fn weights(&self) -> Weights {
        match &self.average {
            Some(average) => average.weights(),
            None => self.network.weights(),
        }
    }
}
