//! Rounding to a grid in the forward pass, with a gradient: quantization-aware training.
//!
//! A row of latent values `u` in −1..1 stands for the weights `w = s · q`, `q = round(top · u)`,
//! clipped at ±top. The gradient passes through the rounding (straight-through estimator, Bengio et
//! al. 2013): `∂w/∂u = s · top` inside the clip and 0 outside; and the step is learned with
//! `∂w/∂s = q` (as in Esser et al. 2020, "Learned step size quantization", for latents that are kept
//! in steps). Kept in steps, the latents of every row have the same size, and one learning rate
//! suits them all.

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

const NAME: &str = "fake-quant";

/// `u [rows, …]`, `log2 s [rows]` → `w` of the shape of `u`.
#[derive(Clone, Debug)]
pub struct FakeQuant {
    /// The steps `s` that are used: those of the second input, rounded to ones that can be stored.
    pub steps: Vec<f32>,
    /// Largest integer.
    pub top: f32,
    /// Loss per bit: adds the gradient of `rate · Σ log2(1 + |top · u|)`, about the bits of the
    /// integers.
    pub rate: f32,
}

impl FakeQuant {
    fn columns(&self, n: usize) -> Result<usize> {
        let rows = self.steps.len().max(1);
        if !n.is_multiple_of(rows) {
            bail!("{NAME}: {n} values in {rows} rows")
        }
        Ok((n / rows).max(1))
    }

    /// The integer of a latent value.
    pub fn integer(u: f32, top: f32) -> f32 {
        (u * top).round_ties_even().clamp(-top, top)
    }

    /// Gradients of `u` and `log2 s`.
    fn gradients(&self, u: &[f32], grad: &[f32], columns: usize) -> (Vec<f32>, Vec<f32>) {
        let top = self.top;
        let mut du = Vec::with_capacity(u.len());
        let mut ds = Vec::with_capacity(self.steps.len());
        for ((u, grad), s) in u.chunks(columns).zip(grad.chunks(columns)).zip(&self.steps) {
            let mut sum = 0.0f64;
            for (u, g) in u.iter().zip(grad) {
                let v = u * top;
                sum += f64::from(g * Self::integer(*u, top));
                let inside = if v.abs() <= top { g * s * top } else { 0.0 };
                let bits = v.signum() * top / ((1.0 + v.abs()) * std::f32::consts::LN_2);
                du.push(inside + self.rate * bits);
            }
            ds.push((sum * f64::from(*s) * std::f64::consts::LN_2) as f32);
        }
        (du, ds)
    }
}

impl CustomOp2 for FakeQuant {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let u = floats(u, layout, NAME)?;
        let columns = self.columns(u.len())?;
        let mut w = Vec::with_capacity(u.len());
        for (u, s) in u.chunks(columns).zip(&self.steps) {
            w.extend(u.iter().map(|u| s * Self::integer(*u, self.top)));
        }
        Ok((CpuStorage::F32(w), layout.shape().clone()))
    }

    fn bwd(
        &self,
        u: &Tensor,
        log_step: &Tensor,
        _w: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let columns = self.columns(u.elem_count())?;
        let (du, ds) = with_floats(&[u, grad], NAME, |s| self.gradients(s[0], s[1], columns))?;
        Ok((Some(tensor_like(du, u)?), Some(tensor_like(ds, log_step)?)))
    }
}
