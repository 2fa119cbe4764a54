//! The mean of each window.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::Slide;
use crate::values::Engine;
use candle_core::Result;
use graph::op::AvgPool;

impl Run for AvgPool {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let s = Slide::new(&site.pool(self.0), &[site.x, site.y]);
        engine.slid("avg_forward", site.n, s, args![site.x, site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let dx = engine.memory.take(site.read)?;
        let s = Slide::new(&site.pool(self.0), &[grad.at, dx.at]);
        engine.slid("avg_backward", site.read, s, args![grad.at, dx.at])?;
        engine.through(site.input, grad, dx)
    }
}
