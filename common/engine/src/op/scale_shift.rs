//! A factor and a summand per channel: a batch norm whose statistics do not change.

use super::{Back, Gradient, Pass, Run, Value, batch_norm};
use crate::norm::{Affine, InputGradient, Normalize};
use graph::op::ScaleShift;

impl Run for ScaleShift {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [scale, shift] = [0, 1].map(|k| pass.parameter(k).to_vec());
        let normalize = Normalize::new(&Affine { scale, shift }, pass.fused.bounds);
        batch_norm::normalize(normalize, pass, value);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        batch_norm::back(back, gradient, |x, grad, _, forward, both| {
            InputGradient::of_scale(x, grad, forward, both)
        });
    }
}
