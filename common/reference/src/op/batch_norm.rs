//! Batch norm: with the statistics of the batch, fused with an activation, as a custom operation (see
//! `engine::norm`); with stored ones in candle's own operations.

use super::{BatchStats as Stats, Run, Site, Statistics};
use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use engine::norm::{Affine, BatchStats, InputGradient, Normalize, batch_stats};
use graph::Bounds;
use graph::op::BatchNorm;
use std::sync::{Arc, Mutex, PoisonError};

impl Run for BatchNorm {
    fn run(&self, site: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        let x = &inputs[0];
        let (gamma, beta) = (site.parameter("weight")?, site.parameter("bias")?);
        if site.statistics == Statistics::Batch {
            site.found.insert(site.node.name.clone(), stats(x)?);
            let op = BatchNormAct::new(self.epsilon, Bounds::NONE);
            return x.contiguous()?.apply_op3(gamma, beta, op);
        }
        let (mean, variance) = (site.parameter("running_mean")?, site.parameter("running_var")?);
        let scale = (gamma / (variance + f64::from(self.epsilon))?.sqrt()?)?;
        let shift = (beta - (mean * &scale)?)?;
        x.broadcast_mul(&scale)?.broadcast_add(&shift)
    }
}

/// Over batch, height and width, off the tape.
fn stats(x: &Tensor) -> Result<Stats> {
    let x = x.detach();
    let channels = x.dim(3)?;
    let x = x.contiguous()?.reshape(((), channels))?;
    let n = x.dim(0)? as f64;
    let mean = x.mean(0)?;
    let squares = x.broadcast_sub(&mean)?.sqr()?.sum(0)?;
    Ok([mean, (squares / (n - 1.0).max(1.0))?])
}

/// `x` `[b, h, w, c]`, γ `[c]`, β `[c]` → `[b, h, w, c]`. One object serves one call: it keeps the
/// statistics for the backward pass.
#[derive(Clone, Debug)]
pub struct BatchNormAct {
    epsilon: f32,
    bounds: Bounds,
    saved: Arc<Mutex<Option<BatchStats>>>,
}

const NAME: &str = "batch norm";

impl BatchNormAct {
    /// Batch norm with ε = `epsilon`, followed by a clamp.
    pub fn new(epsilon: f32, bounds: Bounds) -> Self {
        Self { epsilon, bounds, saved: Arc::default() }
    }

    /// The statistics of the batch this went over, once it has.
    fn batch_stats(&self) -> Option<BatchStats> {
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
        let batch_stats = batch_stats(x, channels);
        let affine = Affine::new(gamma, beta, &batch_stats, self.epsilon);
        let mut y = vec![0.0; x.len()];
        Normalize::new(&affine, self.bounds).all(x, &mut y);
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch_stats);
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
        let Some(batch_stats) = self.batch_stats() else {
            bail!("batch norm: backward before forward")
        };
        let (dx, dgamma, dbeta) = with_floats(&[x, grad, gamma, beta], NAME, |s| {
            let affine = Affine::new(s[2], s[3], &batch_stats, self.epsilon);
            let forward = Normalize::new(&affine, self.bounds);
            let (mut dgamma, mut dbeta) = (vec![0.0; s[2].len()], vec![0.0; s[2].len()]);
            let both = [&mut dgamma[..], &mut dbeta[..]];
            let back =
                InputGradient::of_norm(s[0], s[1], s[2], &batch_stats, self.epsilon, forward, both);
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
