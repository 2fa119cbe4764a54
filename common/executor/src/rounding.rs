//! Rounding to a grid in the forward pass, with a gradient: quantization-aware training.
//!
//! A row of latent values `u` in −1..1 stands for the weights `w = s · q`, `q = round(top · u)`,
//! clipped at ±top. The gradient passes through the rounding (straight-through estimator, Bengio et
//! al. 2013): `∂w/∂u = s · top` inside the clip and 0 outside; and the scale is learned with
//! `∂w/∂s = q` (as in Esser et al. 2020, "Learned step size quantization", for latents that are kept
//! in units of the largest integer). Kept so, the latents of every row have the same size, and one
//! learning rate suits them all.

use graph::grid::{Scale, top};
use std::f32::consts::LN_2;

/// The rounding of a tensor: a scale per row, and the largest integer.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// `s`, `[rows]`.
    pub scales: Vec<f32>,
    /// The largest integer.
    pub top: f32,
}

impl Rounding {
    /// At `bits`, with the scales that can be stored nearest to 2^`log_scales`.
    pub fn new(bits: u8, log_scales: &[f32]) -> Self {
        let scales = log_scales.iter().map(|l| Scale::nearest(l.exp2()).value()).collect();
        Self { scales, top: f32::from(top(bits)) }
    }

    /// Values per row, of `n`.
    fn columns(&self, n: usize) -> usize {
        (n / self.scales.len().max(1)).max(1)
    }

    /// The integer of a latent value.
    pub fn integer(&self, u: f32) -> f32 {
        (u * self.top).round_ties_even().clamp(-self.top, self.top)
    }

    /// Replaces each value `v` of a row with scale `s` by `f(v, s)`.
    fn map(&self, values: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let columns = self.columns(values.len());
        for (row, s) in values.chunks_mut(columns).zip(&self.scales) {
            row.iter_mut().for_each(|v| *v = f(*v, *s));
        }
    }

    /// Latents `[rows, …]` → weights on the grid, in place.
    pub fn round(&self, values: &mut [f32]) {
        self.map(values, |u, s| s * self.integer(u));
    }

    /// Latents → the weights they stand for before rounding, in place.
    pub fn weights(&self, values: &mut [f32]) {
        self.map(values, |u, s| u * (s * self.top));
    }

    /// The inverse of [`Rounding::weights`].
    pub fn latents(&self, values: &mut [f32]) {
        self.map(values, |v, s| v / (s * self.top));
    }

    /// Turns the gradient of the rounded weights into that of the latents `u`, in place; that of the
    /// logarithms to base 2 of the scales goes into `log_scales`.
    pub fn gradients(&self, u: &[f32], grad: &mut [f32], log_scales: &mut [f32]) {
        let (columns, top) = (self.columns(u.len()), self.top);
        let rows = u.chunks(columns).zip(grad.chunks_mut(columns)).zip(&self.scales);
        for (((u, grad), s), out) in rows.zip(log_scales) {
            let mut sum = 0.0f64;
            for (u, g) in u.iter().zip(grad) {
                sum += f64::from(*g * self.integer(*u));
                *g = if (u * top).abs() <= top { *g * s * top } else { 0.0 };
            }
            *out = (sum * f64::from(*s)) as f32 * LN_2;
        }
    }
}
