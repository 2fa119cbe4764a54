//! The sum of two inputs.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::Bounds;
use graph::op::Add;

impl Run for Add {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let Bounds { lo, hi } = site.fused.bounds;
        let other = engine.out(site.fused.inputs[1]);
        engine.kernels.fours("add", site.n, args![site.x, other, lo, hi, site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        engine.mask(site.n, site.y, site.fused.bounds, &grad)?;
        engine.add_to_both([site.input, site.fused.inputs[1]], grad)
    }
}
