//! The mean of each window, as a custom operation; see `engine::op::avg_pool`.

use super::{Run, Site};
use crate::tensors::{floats, pooled, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use engine::op::avg_pool;
use graph::Window;
use graph::op::AvgPool;

impl Run for AvgPool {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].contiguous()?.apply_op1(Means(self.0))
    }
}

const NAME: &str = "average pool";

/// Mean of each window: `[b, h, w, c]` → `[b, oh, ow, c]`.
#[derive(Clone, Copy, Debug)]
pub struct Means(pub Window);

impl CustomOp1 for Means {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, h, w, c) = layout.shape().dims4()?;
        let shape = pooled(self.0, layout.shape())?;
        let mut y = vec![0.0; shape.elem_count()];
        avg_pool::forward(floats(x, layout, NAME)?, (h, w, c), self.0, &mut y);
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], NAME, |s| avg_pool::backward(s[0], (h, w, c), self.0, &mut dx))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
