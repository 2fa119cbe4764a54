//! The mean of each window.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::AvgPool;

impl Run for AvgPool {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        engine.windowed("avg_forward", site.n, &site.pool(self.0), args![site.x, site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let dx = engine.memory.take(site.read)?;
        engine.windowed("avg_backward", site.read, &site.pool(self.0), args![grad.at, dx.at])?;
        engine.through(site.input, grad, dx)
    }
}
