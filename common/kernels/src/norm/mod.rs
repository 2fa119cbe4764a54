//! Batch norm with the statistics of the batch, fused with an activation that clamps.
//!
//! `y = clamp(γ · (x − mean) / √(var + ε) + β, lo, hi)` per channel; mean and (biased) variance
//! over batch, height and width (Ioffe & Szegedy 2015, algorithm 1). With `lo, hi` = 0, 6 it is
//! batch norm + ReLU6, with ∓∞ batch norm alone. With stored statistics (evaluation) it is
//! [`cpu::Normalize`]; networks are folded for that, so only the forward pass exists.

pub mod cpu;

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use cpu::InputGradient;
use std::sync::{Arc, Mutex, PoisonError};

/// Mean and biased variance of each channel of a batch.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Σ x / n.
    pub mean: Vec<f32>,
    /// Σ (x − mean)² / n.
    pub variance: Vec<f32>,
    /// Values each moment is taken over: batch · height · width.
    pub count: usize,
}

/// `x` `[b, h, w, c]`, γ `[c]`, β `[c]` → `[b, h, w, c]`. One object serves one call: it keeps the
/// moments for the backward pass and for the running statistics.
#[derive(Clone, Debug)]
pub struct BatchNormAct {
    /// Added to the variance; PyTorch's default is 1e-5.
    pub epsilon: f32,
    /// Lower bound of the activation.
    pub lo: f32,
    /// Upper bound of the activation.
    pub hi: f32,
    saved: Arc<Mutex<Option<Moments>>>,
}

const NAME: &str = "batch norm";

impl BatchNormAct {
    /// Batch norm followed by a clamp to `lo..=hi`.
    pub fn new(epsilon: f32, lo: f32, hi: f32) -> Self {
        Self { epsilon, lo, hi, saved: Arc::default() }
    }

    /// The moments of the batch this went over, once it has.
    pub fn moments(&self) -> Option<Moments> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CustomOp3 for BatchNormAct {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gamma: &CpuStorage,
        lg: &Layout,
        beta: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gamma, beta) =
            (floats(x, lx, NAME)?, floats(gamma, lg, NAME)?, floats(beta, lb, NAME)?);
        let (_, _, _, channels) = lx.shape().dims4()?;
        if gamma.len() != channels || beta.len() != channels {
            bail!("batch norm of {channels} channels got {} γ and {} β", gamma.len(), beta.len())
        }
        let moments = cpu::moments(x, channels);
        let affine = cpu::Affine::new(gamma, beta, &moments, self.epsilon);
        let mut y = vec![0.0; x.len()];
        cpu::Normalize::new(&affine, (self.lo, self.hi)).all(x, &mut y);
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(moments);
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(moments) = self.moments() else { bail!("batch norm: backward before forward") };
        let (dx, dgamma, dbeta) = with_floats(&[x, grad, gamma, beta], NAME, |s| {
            let affine = cpu::Affine::new(s[2], s[3], &moments, self.epsilon);
            let forward = cpu::Normalize::new(&affine, (self.lo, self.hi));
            let (mut dgamma, mut dbeta) = (vec![0.0; s[2].len()], vec![0.0; s[2].len()]);
            let both = [&mut dgamma[..], &mut dbeta[..]];
            let back = InputGradient::new(s[0], s[1], s[2], &moments, self.epsilon, forward, both);
            let mut dx = s[1].to_vec();
            back.all(s[0], &mut dx);
            (dx, dgamma, dbeta)
        })?;
        Ok((
            Some(tensor_like(dx, x)?),
            Some(tensor_like(dgamma, gamma)?),
            Some(tensor_like(dbeta, beta)?),
        ))
    }
}
