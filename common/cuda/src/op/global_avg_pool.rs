//! The mean over the picture.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::{Divisor, lanes};
use crate::values::Engine;
use candle_core::Result;
use graph::op::GlobalAvgPool;

impl Run for GlobalAvgPool {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let [h, w, c] = site.shape;
        let all = [site.x, Ptr::NULL, site.y];
        engine.picture_sums([site.n / c, h * w, c], all, 1.0 / (h * w) as f32)
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let ([h, w, c], dx) = (site.shape, engine.memory.take(site.read)?);
        let lanes = lanes(c, &[grad.at, dx.at]);
        let [by_pixels, by_c] = [h * w, c / lanes].map(Divisor::new);
        let all = args![lanes, by_pixels, by_c, grad.at, dx.at];
        engine.kernels.spread("mean_backward", site.read / lanes, all)?;
        engine.through(site.input, grad, dx)
    }
}
