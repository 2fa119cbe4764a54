//! The mean over the picture.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::GlobalAvgPool;

impl Run for GlobalAvgPool {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let [h, w, c] = site.shape;
        engine.kernels.each("mean_forward", site.n, args![h * w, c, site.x, site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let ([h, w, c], dx) = (site.shape, engine.memory.take(site.read)?);
        engine.kernels.each("mean_backward", site.read, args![h * w, c, grad.at, dx.at])?;
        engine.through(site.input, grad, dx)
    }
}
