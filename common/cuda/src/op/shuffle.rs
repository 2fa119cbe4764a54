//! Channels of several groups in turns.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Shuffle;

impl Run for Shuffle {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let (c, back) = (site.channels(), 0usize);
        engine.kernels.each("shuffle", site.n, args![c, self.groups, back, site.x, site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let (c, back) = (site.channels(), 1usize);
        let dx = engine.memory.take(site.read)?;
        engine.kernels.each("shuffle", site.n, args![c, self.groups, back, grad.at, dx.at])?;
        engine.through(site.input, grad, dx)
    }
}
