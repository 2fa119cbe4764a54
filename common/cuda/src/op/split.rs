//! A range of the channels.

use super::concat::{Channels, move_channels};
use super::{Mode, Run, Site};
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Split;

impl Run for Split {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let c = site.channels();
        let from = Channels { of: site.x, start: self.start, width: site.shape[2] };
        let to = Channels { of: site.y, start: 0, width: c };
        move_channels(&engine.kernels, [site.n, c], from, to, false)
    }

    /// Adds to a part of the input's gradient: no other has to be made and added for each range.
    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        if site.input > 0 {
            let sum = engine.open(site.input)?;
            let c = site.channels();
            let from = Channels { of: grad.at, start: 0, width: c };
            let to = Channels { of: sum, start: self.start, width: site.shape[2] };
            move_channels(&engine.kernels, [site.n, c], from, to, true)?;
        }
        engine.memory.give(grad);
        Ok(())
    }
}
