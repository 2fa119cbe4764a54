//! A factor and a summand per channel.

use super::{Run, Site};
use candle_core::{Result, Tensor};
use graph::op::ScaleShift;

impl Run for ScaleShift {
    fn run(&self, site: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        let (scale, shift) = (site.parameter("weight")?, site.parameter("bias")?);
        inputs[0].broadcast_mul(scale)?.broadcast_add(shift)
    }
}
