//! The channels of several inputs, one behind the other.

use super::{Mode, Run, Site};
use crate::launch::{Arg, Kernels, Ptr, args};
use crate::memory::Buffer;
use crate::slide::{Divisor, lanes};
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
    let sizes = [from.start, from.width, to.start, to.width];
    let buffers = [from.of, to.of];
    // By fours only where every row of both begins at a multiple of four.
    let fits = sizes.iter().all(|n| n.is_multiple_of(4));
    let lanes = if fits { lanes(c, &buffers) } else { 1 };
    let mut all = args![lanes, Divisor::new(c / lanes)].to_vec();
    all.extend(sizes.map(Arg::from));
    all.extend_from_slice(args![usize::from(more), from.of, to.of]);
    kernels.spread("move_channels", n / lanes, &all)
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
