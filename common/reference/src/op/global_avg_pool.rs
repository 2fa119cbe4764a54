//! The mean over the picture, as a custom operation; see `engine::op::global_avg_pool`.

use super::{Run, Site};
use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use engine::op::global_avg_pool;
use graph::op::GlobalAvgPool;

impl Run for GlobalAvgPool {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].contiguous()?.apply_op1(Mean)
    }
}

const NAME: &str = "global average pool";

/// Mean over height and width: `[b, h, w, c]` → `[b, 1, 1, c]`.
#[derive(Clone, Copy, Debug)]
pub struct Mean;

impl CustomOp1 for Mean {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        let mut y = vec![0.0; b * c];
        global_avg_pool::forward(floats(x, layout, NAME)?, h * w, c, &mut y);
        Ok((CpuStorage::F32(y), Shape::from((b, 1, 1, c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], NAME, |s| global_avg_pool::backward(s[0], h * w, c, &mut dx))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
