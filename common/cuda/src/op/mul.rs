//! The product of two maps, or of a map and a factor for each channel of a picture.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::{Divisor, lanes};
use crate::values::Engine;
use candle_core::Result;
use graph::op::Mul;

/// `y = x · factors`, of `n` values, with `[picture, gate]` values and factors of a picture.
fn mul(
    engine: &Engine,
    [picture, gate]: [usize; 2],
    n: usize,
    [x, factors, y]: [Ptr; 3],
) -> Result<()> {
    // Channels of both: a picture's values are a multiple of its factors.
    let lanes = lanes(gate, &[x, factors, y]);
    let [by_picture, by_gate] = [picture / lanes, gate / lanes].map(Divisor::new);
    engine.kernels.spread("mul", n / lanes, args![lanes, by_picture, by_gate, x, factors, y])
}

impl Run for Mul {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let gate = site.fused.inputs[1];
        let sizes = [site.picture(site.input), site.picture(gate)];
        mul(engine, sizes, site.n, [site.x, engine.out(gate), site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let gate = site.fused.inputs[1];
        let [picture, each] = [site.picture(site.input), site.picture(gate)];
        let (factors, many) = (engine.out(gate), engine.floats(gate));
        let [dx, dfactors] = [engine.memory.take(site.n)?, engine.memory.take(many)?];
        mul(engine, [picture, each], site.n, [grad.at, factors, dx.at])?;
        if each == picture {
            mul(engine, [picture, each], site.n, [grad.at, site.x, dfactors.at])?;
        } else {
            // Summed up over the pixels that a factor is for.
            let sizes = [many / each, picture / each, each];
            engine.picture_sums(sizes, [grad.at, site.x, dfactors.at], 1.0)?;
        }
        engine.through(site.input, grad, dx)?;
        engine.add(gate, dfactors)
    }
}
