//! A linear layer is the convolution that fits into its pictures once.

use super::{Run, Site, conv};
use candle_core::{Result, Tensor};
use graph::op::Linear;

impl Run for Linear {
    fn run(&self, site: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        conv::run(self.as_conv(), site, inputs)
    }
}
