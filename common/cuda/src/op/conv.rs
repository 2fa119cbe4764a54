//! Convolution: of all channels, or in groups.

use super::{Mode, Run, Site, before, dense};
use crate::launch::{Arg, Ptr, args};
use crate::memory::Buffer;
use crate::sums::{CHANNELS, blocks, parts};
use crate::values::Engine;
use candle_core::Result;
use graph::op::Conv;
use graph::{Bounds, Geometry, Window};

impl Run for Conv {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        if self.groups == 1 {
            return dense::forward(engine, site, self, mode);
        }
        let (g, &Site { x, y, n, .. }) = (site.conv(self), site);
        let rest = args![self.output, self.groups, x, site.parameter(0), y];
        engine.windowed("grouped_forward", n, &g, rest)?;
        let Bounds { lo, hi } = site.fused.bounds;
        if !self.bias && site.fused.bounds == Bounds::NONE {
            return Ok(());
        }
        let bias = if self.bias { site.parameter(1) } else { Ptr::NULL };
        engine.kernels.each("bias_clamp", n, args![self.output, bias, lo, hi, y])
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        engine.mask(site.n, site.y, site.fused.bounds, &grad)?;
        if self.bias {
            let db = site.within(gradients, 1);
            engine.column_sums([site.conv(self).rows(), self.output], grad.at, db)?;
        }
        // The picture needs none.
        let dx = (site.input > 0).then(|| engine.memory.take(site.read)).transpose()?;
        let to = dx.as_ref().map(|b| b.at);
        let dw = site.within(gradients, 0);
        if self.groups > 1 {
            let g = site.conv(self);
            grouped_backward(engine, &g, [site.x, grad.at, site.parameter(0), dw], to)?;
        } else {
            dense::backward(engine, site, self, [grad.at, dw], to)?;
        }
        engine.memory.give(grad);
        dx.map_or(Ok(()), |dx| engine.add(site.input, dx))
    }
}

impl Site<'_> {
    pub(super) fn conv(&self, conv: &Conv) -> Geometry {
        let [h, w, _] = self.shape;
        Geometry::new(conv, [h, w], self.batch)
    }
}

fn grouped_backward(
    engine: &mut Engine,
    g: &Geometry,
    [x, grad, weight, dw]: [Ptr; 4],
    dx: Option<Ptr>,
) -> Result<()> {
    let (chunk, chunks) = parts(g.rows());
    let (per_filter, Window { kernel, stride, .. }) = (g.patch(), g.window);
    let padding = before(g);
    let n = g.output * per_filter;
    let partials = engine.memory.take(chunks * n)?;
    let mut all = vec![Arg::L(g.rows() as u64), Arg::L(chunk as u64)];
    all.extend_from_slice(args![g.height, g.width, g.input, kernel, stride, padding]);
    all.extend_from_slice(args![g.out_height(), g.out_width(), g.output, g.groups]);
    all.extend_from_slice(args![x, grad, partials.at]);
    let grid = [blocks(g.output), per_filter as u32, chunks as u32];
    engine.kernels.grid("grouped_weight", grid, CHANNELS as u32, &all)?;
    engine.sum(n, chunks, n, partials.at, dw)?;
    engine.memory.give(partials);
    if let Some(dx) = dx {
        let rest = args![g.output, g.groups, grad, weight, dx];
        engine.windowed("grouped_input", g.batch * g.floats(), g, rest)?;
    }
    Ok(())
}
