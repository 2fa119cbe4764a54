//! The sum of two inputs.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::{Divisor, lanes};
use crate::values::Engine;
use candle_core::Result;
use graph::Bounds;
use graph::op::Add;

impl Run for Add {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let (Bounds { lo, hi }, c) = (site.fused.bounds, site.channels());
        let (first, other) = (site.finds(engine, 0), site.finds(engine, 1));
        if [first, other].iter().all(|r| r.factors.is_none()) {
            return engine.kernels.fours("add", site.n, args![first.at, other.at, lo, hi, site.y]);
        }
        let [[s, t], [u, v]] = [first, other].map(|r| r.factors.unwrap_or([Ptr::NULL; 2]));
        let lanes = lanes(c, &[first.at, other.at, site.y, s, t, u, v]);
        let mut all = args![lanes, Divisor::new(c / lanes), first.at, s, t].to_vec();
        all.extend_from_slice(args![other.at, u, v, lo, hi, site.y]);
        engine.kernels.spread("add_normalized", site.n / lanes, &all)
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        engine.mask(site.n, site.y, site.fused.bounds, &grad)?;
        engine.add_to_both([site.input, site.fused.inputs[1]], grad)
    }
}
