//! The settings of a training step, on whatever device it is taken.

use std::ops::Range;

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// SGD with Nesterov momentum 0.9 and L2 weight decay.
    Sgd,
    /// AdamW, β = 0.9, 0.999, ε = 1e-8.
    AdamW,
}

/// µ of [`Rule::Sgd`].
pub const SGD_MOMENTUM: f32 = 0.9;

/// β₁ of [`Rule::AdamW`].
pub const BETA1: f32 = 0.9;

/// β₂ of [`Rule::AdamW`].
pub const BETA2: f32 = 0.999;

/// ε of [`Rule::AdamW`]: what its divisor is at least.
pub const ADAM_FLOOR: f32 = 1e-8;

/// The settings of one training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The update rule.
    pub rule: Rule,
    /// Learning rate of this step.
    pub lr: f32,
    /// Weight decay; biases, batch norm and scales have none.
    pub weight_decay: f32,
    /// Largest norm of the gradient; 0 = no limit.
    pub clip: f32,
    /// Decay of the moving average; 0 = none.
    pub ema: f32,
    /// Whether the integers of weights on grids stay as they are.
    pub settled: bool,
    /// λ: factor of the sum of |γ| of all batch norms, whose subgradient is added to the loss's
    /// (Liu et al. 2017, "Learning efficient convolutional networks through network slimming",
    /// equation 1); 0 = none.
    pub slim: f32,
    /// Factor on the learning rate of the body, which is everything but the head
    /// ([`crate::Parametrisation::updates`]). At 0 the body rests: nothing of it changes, neither variables and
    /// momenta nor averages and statistics, and nothing is computed for it on the way back.
    pub body: f32,
    /// Earlier steps in which the body rested. Its bias correction does not count them, as in PyTorch, where a
    /// parameter's steps are those that had a gradient for it.
    pub rested: i32,
    /// Whether batch norms go by their stored statistics, which then stay, as PyTorch's do in `eval()`. Those of a
    /// body at rest do in any case.
    pub stored: bool,
}

/// Variables that an update changes alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Their places.
    pub range: Range<usize>,
    /// Whether they decay.
    pub decays: bool,
    /// Whether they are the head's; either where head and body are updated alike.
    pub is_head: bool,
}

impl Update {
    /// The bare rule.
    pub const fn new(rule: Rule, lr: f32) -> Self {
        Self {
            rule,
            lr,
            weight_decay: 0.0,
            clip: 0.0,
            ema: 0.0,
            settled: false,
            slim: 0.0,
            body: 1.0,
            rested: 0,
            stored: false,
        }
    }

    /// Whether head and body are updated alike.
    pub fn is_even(&self) -> bool {
        self.body == 1.0 && self.rested == 0
    }

    /// Whether the body rests.
    pub fn rests(&self) -> bool {
        self.body == 0.0
    }

    /// Whether batch norms go by stored statistics.
    pub fn keeps_statistics(&self) -> bool {
        self.stored || self.rests()
    }

    /// The learning rate of head or body.
    pub fn lr_of(&self, is_head: bool) -> f32 {
        if is_head { self.lr } else { self.lr * self.body }
    }

    /// The number from 1 of the run's step `step` to head or body.
    pub fn count(&self, step: i32, is_head: bool) -> i32 {
        if is_head { step } else { step - self.rested }
    }

    /// The momenta that this rule needs for `n` variables, as they are at first.
    pub fn momenta(&self, n: usize) -> [Vec<f32>; 2] {
        [vec![0.0; n], vec![0.0; if self.rule == Rule::AdamW { n } else { 0 }]]
    }

    /// How much of the old average is kept in step `step`: a short memory at first, so that the random
    /// start is forgotten.
    pub fn keeps(&self, step: i32) -> f32 {
        let steps = step as f32;
        self.ema.min((1.0 + steps) / (10.0 + steps))
    }
}
