//! Activations that clamp to an interval: ReLU is `[0, ∞)`, ReLU6 `[0, 6]`.
//!
//! The gradient is zero at both bounds, as in PyTorch; candle's `relu` gives 1 at 0 and its
//! `clamp` ½ at either bound, which matters for channels that are exactly zero.

use crate::parallel::collect_blocks;
use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

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
        let y = collect_blocks(x.len(), BLOCK, |i, y| {
            for (y, x) in y.iter_mut().zip(&x[i * BLOCK..]) {
                *y = x.max(self.lo).min(self.hi);
            }
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_floats(&[x, grad], NAME, |s| {
            let (x, grad) = (s[0], s[1]);
            collect_blocks(x.len(), BLOCK, |i, dx| {
                let values = dx.iter_mut().zip(&x[i * BLOCK..]).zip(&grad[i * BLOCK..]);
                for ((dx, x), g) in values {
                    *dx = if (*x > self.lo) & (*x < self.hi) { *g } else { 0.0 };
                }
            })
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
