//! Functions of each value alone.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::Bounds;
use graph::op::Activation;

/// The number by which kernels know an activation that does not only clamp.
fn which(f: Activation) -> usize {
    match f {
        Activation::Relu | Activation::Relu6 => unreachable!("{f:?} only clamps"),
        Activation::Hardswish => 0,
        Activation::Silu => 1,
        Activation::Sigmoid => 2,
        Activation::Hardsigmoid => 3,
    }
}

impl Run for Activation {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let &Site { x, y, n, .. } = site;
        match self.bounds() {
            Some(Bounds { lo, hi }) => engine.kernels.fours("clamp", n, args![x, lo, hi, y]),
            None => engine.kernels.fours("smooth_forward", n, args![which(*self), x, y]),
        }
    }

    /// In place.
    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let &Site { x, y, n, .. } = site;
        match self.bounds() {
            Some(bounds) => engine.mask(n, y, bounds, &grad)?,
            None => engine.kernels.fours("smooth_backward", n, args![which(*self), x, grad.at])?,
        }
        engine.add(site.input, grad)
    }
}
