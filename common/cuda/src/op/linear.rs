//! Fully connected layer: the convolution whose window is the whole picture.

use super::{Mode, Run, Site};
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::Op;
use graph::op::{Conv, Linear};

fn conv(linear: Linear) -> Conv {
    Op::from(linear).as_conv().expect("a linear layer is a convolution")
}

impl Run for Linear {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        conv(*self).forward(engine, site, mode)
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        conv(*self).backward(engine, site, grad, gradients)
    }
}
