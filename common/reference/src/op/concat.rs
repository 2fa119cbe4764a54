//! Channels of several inputs, one behind the other.

use super::{Run, Site};
use candle_core::{Result, Tensor};
use graph::op::Concat;

impl Run for Concat {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        Tensor::cat(inputs, 3)
    }
}
