//! Channels of several groups in turns.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::Divisor;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Shuffle;

/// `y` = `x` of `n` values, in rows of `c`, with `groups` in turns.
fn shuffle(engine: &Engine, n: usize, [c, groups]: [usize; 2], [x, y]: [Ptr; 2]) -> Result<()> {
    let [by_c, by_groups] = [c, groups].map(Divisor::new);
    engine.kernels.spread("shuffle", n, args![by_c, by_groups, x, y])
}

impl Run for Shuffle {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        shuffle(engine, site.n, [site.channels(), self.groups], [site.x, site.y])
    }

    /// The way back takes as many groups as a group has channels.
    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let (c, dx) = (site.channels(), engine.memory.take(site.read)?);
        shuffle(engine, site.n, [c, c / self.groups], [grad.at, dx.at])?;
        engine.through(site.input, grad, dx)
    }
}
