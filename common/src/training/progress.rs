//! How far a training run is, and what came out of it.

use serde::Serialize;

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Epochs done.
    pub epochs: usize,
    /// Steps done of the next.
    pub steps: usize,
    /// Sum of their losses, up to the last look at them.
    pub loss: f64,
}

/// What came out of a training run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Validation accuracy of the best epoch; below 0 before there is one.
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

/// What an epoch brought: a line of the per-epoch CSV.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Top-1 accuracy on the validation pictures afterwards.
    pub validation_top1: f64,
    /// Learning rate of its last step.
    #[serde(skip)]
    pub lr: f32,
}
