//! Activations that clamp to an interval: ReLU is `[0, ∞)`, ReLU6 `[0, 6]`.
//!
//! The gradient is zero at both bounds, as in PyTorch; candle's `relu` gives 1 at 0 and its
//! `clamp` ½ at either bound, which matters for channels that are exactly zero.

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `y = clamp(x, lo, hi)`, any shape.
#[derive(Clone, Copy, Debug)]
pub struct Clamp {
    /// Lower bound.
    pub lo: f32,
    /// Upper bound.
    pub hi: f32,
}

const NAME: &str = "clamp";
const BLOCK: usize = 16 * 1024;

impl CustomOp1 for Clamp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout, NAME)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = x.max(self.lo).min(self.hi);
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_floats(&[x, grad], NAME, |s| {
            let mut dx = vec![0.0; s[0].len()];
            let blocks = dx.par_chunks_mut(BLOCK).zip(s[0].par_chunks(BLOCK));
            blocks.zip(s[1].par_chunks(BLOCK)).for_each(|((dx, x), grad)| {
                for ((dx, x), g) in dx.iter_mut().zip(x).zip(grad) {
                    *dx = if (*x > self.lo) & (*x < self.hi) { *g } else { 0.0 };
                }
            });
            dx
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
