//! The largest value in each window. What is kept are the places of the maxima in their windows, bytes.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::MaxPool;

impl Run for MaxPool {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let places = engine.memory.fit(&mut engine.values[site.i].kept, site.n.div_ceil(4))?;
        engine.windowed("max_forward", site.n, &site.pool(self.0), args![site.x, site.y, places])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let (places, dx) = (engine.kept(site.i), engine.memory.take(site.read)?);
        let all = args![grad.at, places, dx.at];
        engine.windowed("max_backward", site.read, &site.pool(self.0), all)?;
        engine.through(site.input, grad, dx)
    }
}
