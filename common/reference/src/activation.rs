//! Activations that clamp to an interval, as a custom operation; see `engine::activation`.
//!
//! The gradient is zero at both bounds, as in PyTorch; candle's `relu` gives 1 at 0 and its
//! `clamp` ½ at either bound, which matters for channels that are exactly zero.

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use engine::activation;
use graph::Bounds;

/// `y = clamp(x)`, any shape.
#[derive(Clone, Copy, Debug)]
pub struct Clamp(pub Bounds);

const NAME: &str = "clamp";

impl CustomOp1 for Clamp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout, NAME)?;
        let mut y = vec![0.0; x.len()];
        activation::clamp(x, self.0, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_floats(&[y, grad], NAME, |s| {
            let mut dx = s[1].to_vec();
            activation::mask(&mut dx, s[0], self.0);
            dx
        })?;
        Ok(Some(tensor_like(dx, y)?))
    }
}
