//! Weights on grids while they are trained.
//!
//! Of a tensor `x` with a grid, the variables are the latent values `x`, in units of the largest
//! integer, and the logarithms of its steps, `x.log_step`; the network computes with what would be
//! stored (`kernels::quant`).

use super::Training;
use crate::array::Array;
use crate::codec::{self, Grid, Grids, Step};
use crate::graph::Weights;
use anyhow::{Context, Result, ensure};
use kernels::quant;

fn log_step_name(name: &str) -> String {
    format!("{name}.log_step")
}

/// The steps that can be stored, for logarithms that are trained.
fn steps(logarithms: &[f32]) -> Vec<Step> {
    logarithms.iter().map(|l| Step::nearest(l.exp2())).collect()
}

/// Replaces each value `v` of a row with step `s` by `f(v, s)`.
fn map_rows(array: &mut Array, steps: &[Step], f: impl Fn(f32, f32) -> f32) {
    let columns = (array.values.len() / steps.len().max(1)).max(1);
    for (row, s) in array.values.chunks_mut(columns).zip(steps) {
        row.iter_mut().for_each(|v| *v = f(*v, s.value()));
    }
}

impl Training {
    /// What would be stored of the variables that have grids.
    pub(super) fn round(&mut self) {
        for (name, Grid { bits, .. }) in &self.grids {
            let (Some(u), Some(l)) =
                (self.variables.get(name), self.variables.get(&log_step_name(name)))
            else {
                continue;
            };
            let rounded = self.rounded.entry(name.clone()).or_insert_with(|| u.clone());
            rounded.values.copy_from_slice(&u.values);
            kernel_grid(*bits, &steps(&l.values)).round(&mut rounded.values);
        }
    }

    /// Turns gradients of what is stored into gradients of the variables it stands for.
    pub(super) fn gradients_of_latents(&mut self, rate: f32) {
        for (name, gradient) in self.names.iter().zip(&mut self.gradients) {
            let Some(Grid { bits, .. }) = self.grids.get(name) else { continue };
            let log_step = log_step_name(name);
            let (Some(u), Some(l)) = (self.variables.get(name), self.variables.get(&log_step))
            else {
                continue;
            };
            let rate = if u.shape.len() > 1 { rate } else { 0.0 };
            let grid = kernel_grid(*bits, &steps(&l.values));
            self.step_gradients.insert(log_step, grid.gradients(&u.values, gradient, rate));
        }
    }

    /// What variables with the values `raw` stand for: weights as they would be stored, and their
    /// grids. Without grids, `raw` itself.
    ///
    /// # Errors
    /// Values of other variables.
    pub fn stored(&self, raw: &Weights) -> Result<(Weights, Grids)> {
        self.meaning(raw, |array, grid| {
            kernel_grid(grid.bits, &grid.steps).round(&mut array.values)
        })
    }

    /// What variables with the values `raw` stand for before rounding, and their grids.
    ///
    /// # Errors
    /// Values of other variables.
    pub fn unrounded(&self, raw: &Weights) -> Result<(Weights, Grids)> {
        self.meaning(raw, |array, Grid { bits, steps }| {
            let top = f32::from(codec::top(*bits));
            map_rows(array, steps, |u, s| u * (s * top));
        })
    }

    /// `raw` with the latents of every grid, as it is now, turned into weights by `f`.
    fn meaning(&self, raw: &Weights, f: impl Fn(&mut Array, &Grid)) -> Result<(Weights, Grids)> {
        let (mut weights, mut grids) = (raw.clone(), Grids::new());
        for (name, Grid { bits, .. }) in &self.grids {
            let log_step = log_step_name(name);
            let logarithms = weights.remove(&log_step).context(log_step)?;
            let grid = Grid { bits: *bits, steps: steps(&logarithms.values) };
            f(weights.get_mut(name).with_context(|| name.clone())?, &grid);
            grids.insert(name.clone(), grid);
        }
        Ok((weights, grids))
    }

    /// The variables that stand for weights on `grids`: latent values and logarithms of steps; tensors
    /// without a grid stay.
    pub fn latents(weights: &Weights, grids: &Grids) -> Weights {
        let mut latents = weights.clone();
        for (name, Grid { bits, steps }) in grids {
            let Some(array) = latents.get_mut(name) else { continue };
            let top = f32::from(codec::top(*bits));
            map_rows(array, steps, |v, s| v / (s * top));
            let logarithms = steps.iter().map(|s| s.value().log2()).collect();
            let array = Array { shape: vec![steps.len()], values: logarithms };
            latents.insert(log_step_name(name), array);
        }
        latents
    }

    /// Number of values in weights, vectors left out.
    pub fn weight_count(&self) -> usize {
        self.variables.values().filter(|v| v.shape.len() > 1).map(|v| v.values.len()).sum()
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
        for (name, array) in self.variables.iter_mut().chain(&mut self.buffers) {
            let other = raw.get(name).with_context(|| name.clone())?;
            ensure!(other.shape == array.shape, "{name}: shape {:?}", other.shape);
            array.clone_from(other);
        }
        Ok(())
    }
}

fn kernel_grid(bits: u8, steps: &[Step]) -> quant::Grid {
    let steps = steps.iter().map(|s| s.value()).collect();
    quant::Grid { steps, top: f32::from(codec::top(bits)) }
}
