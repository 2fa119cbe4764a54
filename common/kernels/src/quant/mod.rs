//! Rounding to a grid in the forward pass, with a gradient: quantization-aware training.
//!
//! A row of latent values `u` in −1..1 stands for the weights `w = s · q`, `q = round(top · u)`,
//! clipped at ±top. The gradient passes through the rounding (straight-through estimator, Bengio et
//! al. 2013): `∂w/∂u = s · top` inside the clip and 0 outside; and the step is learned with
//! `∂w/∂s = q` (as in Esser et al. 2020, "Learned step size quantization", for latents that are kept
//! in steps). Kept in steps, the latents of every row have the same size, and one learning rate
//! suits them all.

use std::f32::consts::LN_2;

/// The grid of a tensor: a step per row, and the largest integer.
#[derive(Clone, Debug)]
pub struct Grid {
    /// `s`, `[rows]`.
    pub steps: Vec<f32>,
    /// The largest integer.
    pub top: f32,
}

impl Grid {
    /// Values per row, of `n`.
    fn columns(&self, n: usize) -> usize {
        (n / self.steps.len().max(1)).max(1)
    }

    /// The integer of a latent value.
    pub fn integer(&self, u: f32) -> f32 {
        (u * self.top).round_ties_even().clamp(-self.top, self.top)
    }

    /// Latents `[rows, …]` → weights, in place.
    pub fn round(&self, values: &mut [f32]) {
        let columns = self.columns(values.len());
        for (row, s) in values.chunks_mut(columns).zip(&self.steps) {
            row.iter_mut().for_each(|u| *u = s * self.integer(*u));
        }
    }

    /// Turns the gradient of the weights into that of the latents `u`, in place, and gives that of the
    /// logarithms to base 2 of the steps. `rate` is a loss per bit: it adds the gradient of
    /// `rate · Σ log2(1 + |top · u|)`, about the bits of the integers.
    pub fn gradients(&self, u: &[f32], grad: &mut [f32], rate: f32) -> Vec<f32> {
        let (columns, top) = (self.columns(u.len()), self.top);
        let mut of_steps = Vec::with_capacity(self.steps.len());
        for ((u, grad), s) in u.chunks(columns).zip(grad.chunks_mut(columns)).zip(&self.steps) {
            let mut sum = 0.0f64;
            for (u, g) in u.iter().zip(grad) {
                let v = u * top;
                sum += f64::from(*g * self.integer(*u));
                let inside = if v.abs() <= top { *g * s * top } else { 0.0 };
                *g = inside + rate * v.signum() * top / ((1.0 + v.abs()) * LN_2);
            }
            of_steps.push((sum * f64::from(*s)) as f32 * LN_2);
        }
        of_steps
    }
}
