//! Optimizer state over the variables of a network, and the moving average of its weights.

use super::{Rule, Settings};
use crate::graph::Weights;
use crate::network::Training;
use anyhow::{Result, ensure};
use kernels::optim::{AdamW, Sgd, square_sum};
use std::collections::BTreeMap;

/// One optimizer over all variables.
pub(super) struct Optimizer {
    rule: Rule,
    weight_decay: f32,
    clip: f32,
    step: i32,
    /// First and, for AdamW, second moments of each variable.
    moments: BTreeMap<String, [Vec<f32>; 2]>,
}

impl Optimizer {
    pub(super) fn new(settings: &Settings, network: &Training) -> Self {
        let moments = network
            .variables
            .iter()
            .map(|(name, v)| {
                let n = v.values.len();
                let second = if settings.optimizer == Rule::Adamw { n } else { 0 };
                (name.clone(), [vec![0.0; n], vec![0.0; second]])
            })
            .collect();
        let Settings { optimizer: rule, weight_decay, clip, .. } = *settings;
        Self { rule, weight_decay, clip, step: 0, moments }
    }

    /// Steps done, and the moments of each variable.
    pub(super) fn state(&self) -> (i32, &BTreeMap<String, [Vec<f32>; 2]>) {
        (self.step, &self.moments)
    }

    /// Go on from an earlier [`Optimizer::state`].
    ///
    /// # Errors
    /// Moments of other variables.
    pub(super) fn resume(
        &mut self,
        step: i32,
        moments: BTreeMap<String, [Vec<f32>; 2]>,
    ) -> Result<()> {
        let lengths = |m: &BTreeMap<String, [Vec<f32>; 2]>| -> Vec<(String, [usize; 2])> {
            m.iter().map(|(n, [a, b])| (n.clone(), [a.len(), b.len()])).collect()
        };
        ensure!(lengths(&moments) == lengths(&self.moments), "a state of another network");
        (self.step, self.moments) = (step, moments);
        Ok(())
    }

    /// Update the variables of `network` by the gradients of its last backward pass.
    pub(super) fn step(&mut self, network: &mut Training, lr: f32) {
        self.step += 1;
        let mut grad_scale = 1.0;
        if self.clip > 0.0 {
            let mut sum = 0.0;
            network.update(|_, _, gradient| sum += square_sum(gradient));
            grad_scale = (self.clip / (sum.sqrt() as f32 + 1e-6)).min(1.0);
        }
        network.update(|name, variable, gradient| {
            let Some([first, second]) = self.moments.get_mut(name) else { return };
            // Vectors are biases and batch norm: shrinking them does not regularise.
            let weight_decay = if variable.shape.len() > 1 { self.weight_decay } else { 0.0 };
            let p = &mut variable.values;
            match self.rule {
                Rule::Sgd => {
                    Sgd { lr, momentum: 0.9, weight_decay, grad_scale }.step(p, gradient, first);
                }
                Rule::Adamw => AdamW {
                    lr,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay,
                    step: self.step,
                    grad_scale,
                }
                .step(p, gradient, first, second),
            }
        });
    }
}

/// Exponential moving average of weights and batch-norm statistics alike: averaged weights with
/// the statistics of others would be a broken network.
pub(super) struct Average {
    decay: f32,
    steps: f32,
    weights: Weights,
}

impl Average {
    pub(super) fn new(decay: f32, start: Weights) -> Self {
        Self { decay, steps: 0.0, weights: start }
    }

    /// Go on from earlier weights after `steps` steps.
    pub(super) fn resume(&mut self, steps: i32, weights: Weights) {
        (self.steps, self.weights) = (steps as f32, weights);
    }

    /// Go on from other weights.
    pub(super) fn restart(&mut self, weights: Weights) {
        self.weights = weights;
    }

    pub(super) fn update(&mut self, network: &Training) {
        self.steps += 1.0;
        // Short memory at first, so that the random start is forgotten.
        let decay = self.decay.min((1.0 + self.steps) / (10.0 + self.steps));
        for (name, now) in network.arrays() {
            let Some(average) = self.weights.get_mut(name) else { continue };
            for (a, n) in average.values.iter_mut().zip(&now.values) {
                *a += (1.0 - decay) * (n - *a);
            }
        }
    }

    pub(super) fn weights(&self) -> Weights {
        self.weights.clone()
    }
}
