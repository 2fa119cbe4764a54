//! Batch norm, with the statistics of the batch in training, unless it goes by stored ones; see [`crate::norm`].

use super::{Back, Gradient, Mode, Pass, Run, Value};
use crate::norm::{Affine, BatchStats, InputGradient, Normalize, batch_stats};
use graph::op::BatchNorm;

impl Run for BatchNorm {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let found = match pass.engine.mode() {
            Mode::Training if !pass.engine.manner.stored => {
                let known = pass.engine.values[pass.fused.inputs[0]].result_stats.clone();
                known.unwrap_or_else(|| batch_stats(pass.source().values, self.channels))
            }
            Mode::Training | Mode::Inference => {
                let [mean, variance] = [2, 3].map(|k| pass.parameter(k).to_vec());
                let count = pass.source().values.len() / self.channels.max(1);
                BatchStats { mean, variance, count, is_stored: true }
            }
        };
        let affine = Affine::new(pass.parameter(0), pass.parameter(1), &found, self.epsilon);
        normalize(Normalize::new(&affine, pass.fused.bounds), pass, value);
        value.batch_stats = Some(found);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let found =
            back.value().batch_stats.clone().expect("a forward pass in training keeps them");
        self::back(back, gradient, |x, grad, gamma, forward, both| {
            InputGradient::of_norm(x, grad, gamma, &found, self.epsilon, forward, both)
        });
    }
}

/// Normalizes what is read, unless the readers do that for themselves.
pub(super) fn normalize(normalize: Normalize, pass: &Pass, value: &mut Value) {
    if !pass.fused.lazy {
        normalize.all(pass.source().values, &mut value.out);
    }
    value.normalize = Some(normalize);
}

/// Gradients of factors and summands by `f(x, gradient, factors, forward, [both])`; the input's takes the
/// place of the result's, once what stands before goes back over it.
pub(super) fn back(
    mut back: Back,
    mut gradient: Gradient,
    f: impl FnOnce(&[f32], &[f32], &[f32], Normalize, [&mut [f32]; 2]) -> InputGradient,
) {
    let input = back.fused.inputs[0];
    let forward = back.value().normalize.clone().expect("a forward pass keeps it");
    let ranges = [0, 1].map(|k| back.engine.range(back.fused, k));
    let factors = &back.parameters[ranges[0].clone()];
    let both = back.gradients.get_disjoint_mut(ranges).expect("parameters do not overlap");
    let x = back.engine.source(back.i).values;
    let pending = f(x, &gradient.values, factors, forward, both);
    if back.open[input].is_none() && input > 0 {
        gradient.pending = Some(pending);
        back.open[input] = Some(gradient);
    } else {
        pending.all(x, &mut gradient.values);
        back.add(input, gradient.values);
    }
}
