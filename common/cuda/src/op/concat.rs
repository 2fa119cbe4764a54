//! The channels of several inputs, one behind the other.

use super::{Mode, Run, Site};
use crate::launch::{Kernels, Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Concat;

/// A range of channels: where they begin, in rows of how many.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub(super) of: Ptr,
    pub(super) start: usize,
    pub(super) width: usize,
}

/// Moves `c` channels, `n` values in all; those of `to` are added to, if `more`.
///
/// # Errors
/// A device that fails.
pub(super) fn move_channels(
    kernels: &Kernels,
    [n, c]: [usize; 2],
    from: Channels,
    to: Channels,
    more: bool,
) -> Result<()> {
    let (more, start, width) = (usize::from(more), [from.start, to.start], [from.width, to.width]);
    let all = args![c, start[0], width[0], start[1], width[1], more, from.of, to.of];
    kernels.each("move_channels", n, all)
}

impl Run for Concat {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let mut to = Channels { of: site.y, start: 0, width: site.channels() };
        for &j in &site.fused.inputs {
            let (of, c, n) = (engine.out(j), site.channels_of(j), engine.floats(j));
            move_channels(&engine.kernels, [n, c], Channels { of, start: 0, width: c }, to, false)?;
            to.start += c;
        }
        Ok(())
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let mut from = Channels { of: grad.at, start: 0, width: site.channels() };
        for &j in &site.fused.inputs {
            let (c, n) = (site.channels_of(j), engine.floats(j));
            let dx = engine.memory.take(n)?;
            let to = Channels { of: dx.at, start: 0, width: c };
            move_channels(&engine.kernels, [n, c], from, to, false)?;
            engine.add(j, dx)?;
            from.start += c;
        }
        engine.memory.give(grad);
        Ok(())
    }
}
