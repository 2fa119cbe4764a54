//! Functions of each value alone. Those that clamp to an interval are a custom operation, the others candle's own.
//!
//! The gradient is zero at both bounds, as in PyTorch; candle's `relu` gives 1 at 0 and its
//! `clamp` ½ at either bound, which matters for channels that are exactly zero.

use super::{Run, Site};
use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use candle_nn::ops::sigmoid;
use engine::elementwise;
use graph::Bounds;
use graph::op::Activation;

impl Run for Activation {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        let x = &inputs[0];
        match self {
            Self::Relu => clamp(x, Bounds::RELU),
            Self::Relu6 => clamp(x, Bounds::RELU6),
            Self::Hardswish => x * hardsigmoid(x)?,
            Self::Silu => x.silu(),
            Self::Sigmoid => sigmoid(x),
            Self::Hardsigmoid => hardsigmoid(x),
        }
    }
}

fn hardsigmoid(x: &Tensor) -> Result<Tensor> {
    clamp(&(x + 3.0)?, Bounds::RELU6)? / 6.0
}

fn clamp(x: &Tensor, bounds: Bounds) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Clamp(bounds))
}

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
        elementwise::clamp(x, self.0, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_floats(&[y, grad], NAME, |s| {
            let mut dx = s[1].to_vec();
            elementwise::mask(&mut dx, s[0], self.0);
            dx
        })?;
        Ok(Some(tensor_like(dx, y)?))
    }
}
