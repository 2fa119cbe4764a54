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
        normalize(engine, site, [site.parameter(0), site.parameter(1)])
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let [zeros, ones] = [engine.unit[0].at, engine.unit[1].at];
        let [scale, shift] = [0, 1].map(|k| site.parameter(k));
        let room = engine.memory.take(2 * site.channels())?;
        let rest = [room.at, room.at.at(site.channels())];
        let all = [zeros, ones, scale, shift, rest[0], rest[1]];
        denormalize(engine, site, grad, gradients, all, 0.0)?;
        engine.memory.give(room);
        Ok(())
    }
}
