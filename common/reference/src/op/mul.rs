//! The product of two maps, or of a map and a factor for each channel.

use super::{Run, Site};
use candle_core::{Result, Tensor};
use graph::op::Mul;

impl Run for Mul {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].broadcast_mul(&inputs[1])
    }
}
