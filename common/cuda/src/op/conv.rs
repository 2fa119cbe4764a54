//! Convolution: of all channels, or in groups.

use super::{Mode, Run, Site, dense, grouped};
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::Geometry;
use graph::op::Conv;

impl Run for Conv {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        let g = site.conv(self);
        let has_bias = self.bias && !site.norm_takes_bias();
        let bias = if has_bias { site.parameter(1) } else { Ptr::NULL };
        if self.groups > 1 {
            grouped::forward(engine, site, &g, bias, mode)
        } else {
            dense::forward(engine, site, g, bias, mode)
        }
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let g = site.conv(self);
        let bounds = site.fused.bounds;
        if self.bias && !site.norm_takes_bias() {
            let db = site.within(gradients, 1);
            engine.masked_sums([g.rows(), self.output], (site.y, bounds), grad.at, db)?;
        } else {
            engine.mask(site.n, site.y, bounds, &grad)?;
        }
        // The picture needs none.
        let dx = (site.input > 0).then(|| engine.memory.take(site.read)).transpose()?;
        let to = dx.as_ref().map(|b| b.at);
        let dw = site.within(gradients, 0);
        if self.groups > 1 {
            grouped::backward(engine, &g, [site.x, grad.at, site.parameter(0), dw], to)?;
        } else {
            dense::backward(engine, site, g, [grad.at, dw], to)?;
        }
        engine.memory.give(grad);
        dx.map_or(Ok(()), |dx| engine.add(site.input, dx))
    }
}

impl Site<'_> {
    fn conv(&self, conv: &Conv) -> Geometry {
        let [h, w, _] = self.shape;
        Geometry::new(conv, [h, w], self.batch)
    }
}
