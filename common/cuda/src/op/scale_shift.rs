//! A factor and a summand per channel: a batch norm without statistics, by its kernels.

use super::batch_norm::{denormalize, normalize};
use super::{Mode, Run, Site};
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::ScaleShift;

impl Run for ScaleShift {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        normalize(engine, site, site.parameter(0), site.parameter(1))
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let unit = [engine.unit[0].at, engine.unit[1].at];
        denormalize(engine, site, &grad, gradients, unit, 0.0)?;
        engine.add(site.input, grad)
    }
}
