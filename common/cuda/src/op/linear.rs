//! Fully connected layer: the convolution that fits into its pictures once.

use super::{Mode, Run, Site};
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Linear;

impl Run for Linear {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        self.as_conv().forward(engine, site, mode)
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        self.as_conv().backward(engine, site, grad, gradients)
    }
}
