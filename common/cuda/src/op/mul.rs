//! The product of two maps, or of a map and a factor for each channel of a picture.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Mul;

impl Run for Mul {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let gate = site.fused.inputs[1];
        let sizes = [site.picture(site.input), site.picture(gate)];
        let factors = engine.out(gate);
        let all = args![sizes[0], sizes[1], site.x, factors, site.y];
        engine.kernels.each("mul", site.n, all)
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let gate = site.fused.inputs[1];
        let sizes = [site.picture(site.input), site.picture(gate)];
        let (factors, many) = (engine.out(gate), engine.floats(gate));
        let [dx, dfactors] = [engine.memory.take(site.n)?, engine.memory.take(many)?];
        let all = args![sizes[0], sizes[1], grad.at, factors, dx.at];
        engine.kernels.each("mul", site.n, all)?;
        let all = args![sizes[0], sizes[1], grad.at, site.x, dfactors.at];
        engine.kernels.each("mul_gate", many, all)?;
        engine.through(site.input, grad, dx)?;
        engine.add(gate, dfactors)
    }
}
