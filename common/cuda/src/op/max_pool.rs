//! The largest value in each window. What is kept are the places of the maxima in their windows, bytes. A batch norm in
//! front that is never stored is made here, as it is read.

use super::{Mode, Read, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::Slide;
use crate::values::Engine;
use candle_core::Result;
use graph::op::MaxPool;

impl Run for MaxPool {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let places = engine.memory.fit(&mut engine.values[site.i].kept, site.n.div_ceil(4))?;
        let Read { factors, bounds, .. } = site.finds(engine, 0);
        let [scale, shift] = factors.unwrap_or([Ptr::NULL; 2]);
        let s = Slide::new(&site.pool(self.0), &[site.x, site.y, scale, shift]);
        let all = args![site.x, scale, shift, bounds.lo, bounds.hi, site.y, places];
        engine.slid("max_forward", site.n, s, all)
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let (places, dx) = (engine.kept(site.i), engine.memory.take(site.read)?);
        let s = Slide::new(&site.pool(self.0), &[grad.at, dx.at]);
        let all = args![grad.at, places, dx.at];
        if self.0.tiles() {
            engine.slid("max_scatter", site.n, s, all)?;
        } else {
            engine.slid("max_gather", site.read, s, all)?;
        }
        engine.through(site.input, grad, dx)
    }
}
