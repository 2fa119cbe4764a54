//! Weights on grids while they are trained.
//!
//! Of a tensor `x` with a grid, the variables are the latent values `x`, in units of the largest
//! integer, and the logarithms of its steps, `x.log_step`; the network computes with what would be
//! stored (`kernels::quant`).

use super::{Tensors, Training, tensor};
use crate::array::Array;
use crate::codec::{self, Grid, Grids, Step};
use crate::graph::Weights;
use anyhow::{Context, Result};
use candle_core::Var;
use kernels::quant::FakeQuant;

fn log_step_name(name: &str) -> String {
    format!("{name}.log_step")
}

/// The steps that can be stored, for logarithms that are trained.
fn steps(logarithms: &[f32]) -> Vec<Step> {
    logarithms.iter().map(|l| Step::nearest(l.exp2())).collect()
}

/// Weights → latent values and logarithms of steps; tensors without a grid stay.
pub(super) fn latents(weights: &Weights, grids: &Grids) -> Weights {
    let mut latents = weights.clone();
    for (name, Grid { bits, steps }) in grids {
        let Some(array) = latents.get_mut(name) else { continue };
        let top = f32::from(codec::top(*bits));
        let columns = (array.values.len() / steps.len().max(1)).max(1);
        for (row, s) in array.values.chunks_mut(columns).zip(steps) {
            row.iter_mut().for_each(|v| *v /= s.value() * top);
        }
        let logarithms = steps.iter().map(|s| s.value().log2()).collect();
        let array = Array { shape: vec![steps.len()], values: logarithms };
        latents.insert(log_step_name(name), array);
    }
    latents
}

/// What latents stand for: weights between the grid's points, and the grids as they are now.
pub(super) fn unrounded(latents: &Weights, grids: &Grids) -> Result<(Weights, Grids)> {
    let (mut weights, mut now) = (latents.clone(), Grids::new());
    for (name, Grid { bits, .. }) in grids {
        let log_step = log_step_name(name);
        let logarithms = weights.remove(&log_step).context(log_step)?;
        let steps = steps(&logarithms.values);
        let array = weights.get_mut(name).with_context(|| name.clone())?;
        let top = f32::from(codec::top(*bits));
        let columns = (array.values.len() / steps.len().max(1)).max(1);
        for (row, s) in array.values.chunks_mut(columns).zip(&steps) {
            row.iter_mut().for_each(|u| *u *= s.value() * top);
        }
        now.insert(name.clone(), Grid { bits: *bits, steps });
    }
    Ok((weights, now))
}

/// The tensors the network computes with: variables, or what is stored of them. `rate` is the loss
/// per bit of a weight.
pub(super) fn tensors(network: &Training, rate: f32) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for (name, v) in &network.variables {
        let value = match network.grids.get(name) {
            Some(Grid { bits, .. }) => {
                let log_step = network.variables.get(&log_step_name(name)).context("a step")?;
                let logarithms: Vec<f32> = log_step.to_vec1()?;
                let steps = steps(&logarithms).into_iter().map(Step::value).collect();
                let rate = if v.rank() > 1 { rate } else { 0.0 };
                let op = FakeQuant { steps, top: f32::from(codec::top(*bits)), rate };
                v.apply_op2(log_step, op)?
            }
            None if name.ends_with(".log_step") => continue,
            None => v.as_tensor().clone(),
        };
        tensors.insert(name.clone(), value);
    }
    Ok(tensors)
}

impl Training {
    /// What variables with the values `raw` stand for: weights as they would be stored, and their
    /// grids. Without grids, `raw` itself.
    ///
    /// # Errors
    /// Values of other variables.
    pub fn stored(&self, raw: &Weights) -> Result<(Weights, Grids)> {
        if self.grids.is_empty() {
            return Ok((raw.clone(), Grids::new()));
        }
        let (_, grids) = unrounded(raw, &self.grids)?;
        let mut weights = raw.clone();
        for (name, Grid { bits, steps }) in &grids {
            weights.remove(&log_step_name(name));
            let array = weights.get_mut(name).with_context(|| name.clone())?;
            let top = f32::from(codec::top(*bits));
            let columns = (array.values.len() / steps.len().max(1)).max(1);
            for (row, s) in array.values.chunks_mut(columns).zip(steps) {
                row.iter_mut().for_each(|u| *u = s.value() * FakeQuant::integer(*u, top));
            }
        }
        Ok((weights, grids))
    }

    /// What variables with the values `raw` stand for before rounding, and their grids.
    ///
    /// # Errors
    /// Values of other variables.
    pub fn unrounded(&self, raw: &Weights) -> Result<(Weights, Grids)> {
        unrounded(raw, &self.grids)
    }

    /// The variables that stand for weights on `grids`.
    pub fn latents(weights: &Weights, grids: &Grids) -> Weights {
        latents(weights, grids)
    }

    /// Number of values in weights, vectors left out.
    pub fn weight_count(&self) -> usize {
        self.variables.values().filter(|v| v.rank() > 1).map(|v| v.elem_count()).sum()
    }

    /// Whether this variable holds integers that rounding has settled, see [`Training::settle`].
    pub fn is_settled(&self, name: &str) -> bool {
        self.settled && self.grids.contains_key(name) && self.variables[name].rank() > 1
    }

    /// From now on the integers of weights stay as they are; steps and biases go on.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// Give the variables and buffers other values.
    ///
    /// # Errors
    /// Values of other variables.
    pub fn set(&mut self, raw: &Weights) -> Result<()> {
        for (name, v) in &self.variables {
            v.set(&tensor(raw.get(name).with_context(|| name.clone())?)?)?;
        }
        for (name, buffer) in &mut self.buffers {
            buffer.clone_from(raw.get(name).with_context(|| name.clone())?);
        }
        Ok(())
    }
}

/// A variable for every array.
pub(super) fn variable(array: &Array) -> Result<Var> {
    Ok(Var::from_tensor(&tensor(array)?)?)
}
