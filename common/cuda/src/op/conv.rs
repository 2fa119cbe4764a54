//! Convolution: a product of patches and weights, or, in groups, a kernel of its own.

use super::{Mode, Run, Site, grouped};
use crate::launch::{Matrix, Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Conv;
use graph::{Bounds, Geometry, Window};

/// Most floats of a convolution's patches at a time, 256 MB: pictures are taken in groups.
const PATCHES: usize = 64 << 20;

impl Run for Conv {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        let (g, &Site { x, y, n, .. }) = (site.conv(self), site);
        let has_bias = self.bias && !site.norm_takes_bias();
        let bias = if has_bias { site.parameter(1) } else { Ptr::NULL };
        if self.groups > 1 {
            return grouped::forward(engine, site, &g, bias, mode);
        }
        dense(engine, &g, x, site.parameter(0), y)?;
        let Bounds { lo, hi } = site.fused.bounds;
        if !has_bias && site.fused.bounds == Bounds::NONE {
            return Ok(());
        }
        engine.kernels.each("bias_clamp", n, args![self.output, bias, lo, hi, y])
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let (g, weight) = (site.conv(self), site.parameter(0));
        engine.mask(site.n, site.y, site.fused.bounds, &grad)?;
        if self.bias && !site.norm_takes_bias() {
            let db = site.within(gradients, 1);
            engine.column_sums([g.rows(), self.output], grad.at, db)?;
        }
        // The picture needs none.
        let dx = (site.input > 0).then(|| engine.memory.take(site.read)).transpose()?;
        let to = dx.as_ref().map(|b| b.at);
        let all = [site.x, grad.at, weight, site.within(gradients, 0)];
        if self.groups > 1 {
            grouped::backward(engine, &g, all, to)?;
        } else {
            dense_backward(engine, &g, all, to)?;
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

/// Weights `[o, c, k, k]` in the order of patches; None where that is their own.
fn taps(engine: &mut Engine, g: &Geometry, weight: Ptr) -> Result<Option<Buffer>> {
    let (t, n) = (g.window.taps(), g.patch() * g.output);
    if t == 1 {
        return Ok(None);
    }
    let buffer = engine.memory.take(n)?;
    engine.kernels.each("weight_to_taps", n, args![g.input, t, weight, buffer.at])?;
    Ok(Some(buffer))
}

/// How many pictures have their patches at a time; None where the pictures are their patches.
fn together(g: &Geometry) -> Option<usize> {
    let picture = g.positions() * g.patch();
    (g.window != Window::POINT).then(|| (PATCHES / picture).clamp(1, g.batch))
}

/// Patches of pictures from `x` on, `[rows, patch]`: `x` itself without a buffer for them.
fn patches(
    engine: &Engine,
    g: &Geometry,
    x: Ptr,
    cols: Option<&Buffer>,
    rows: usize,
) -> Result<Ptr> {
    let Some(cols) = cols else { return Ok(x) };
    engine.windowed("patches", rows * g.patch(), g, args![x, cols.at])?;
    Ok(cols.at)
}

/// A dense convolution of `x` into `y`, without bias.
fn dense(engine: &mut Engine, g: &Geometry, x: Ptr, weight: Ptr, y: Ptr) -> Result<()> {
    let taps = taps(engine, g, weight)?;
    let weight = Matrix { at: taps.as_ref().map_or(weight, |b| b.at), turned: true };
    let (positions, patch, group) = (g.positions(), g.patch(), together(g));
    let cols = group.map(|n| engine.memory.take(n * positions * patch)).transpose()?;
    let together = group.unwrap_or(g.batch);
    for first in (0..g.batch).step_by(together) {
        let rows = together.min(g.batch - first) * positions;
        let a = patches(engine, g, x.at(first * g.floats()), cols.as_ref(), rows)?;
        let to = y.at(first * positions * g.output);
        let a = Matrix { at: a, turned: false };
        engine.kernels.product(a, weight, to, [rows, g.output, patch], 0.0)?;
    }
    cols.into_iter().chain(taps).for_each(|b| engine.memory.give(b));
    Ok(())
}

fn dense_backward(
    engine: &mut Engine,
    g: &Geometry,
    [x, grad, weight, dw]: [Ptr; 4],
    dx: Option<Ptr>,
) -> Result<()> {
    let (positions, patch, group) = (g.positions(), g.patch(), together(g));
    let taps = taps(engine, g, weight)?;
    let weight = Matrix { at: taps.as_ref().map_or(weight, |b| b.at), turned: false };
    // The weight gradient in the order of patches, where that is not its own.
    let in_order = taps.is_some().then(|| engine.memory.take(g.output * patch)).transpose()?;
    let sum = in_order.as_ref().map_or(dw, |b| b.at);
    let cols = group.map(|n| engine.memory.take(n * positions * patch)).transpose()?;
    let together = group.unwrap_or(g.batch);
    for first in (0..g.batch).step_by(together) {
        let pictures = together.min(g.batch - first);
        let rows = pictures * positions;
        let from = grad.at(first * positions * g.output);
        let a = patches(engine, g, x.at(first * g.floats()), cols.as_ref(), rows)?;
        let keep = if first == 0 { 0.0 } else { 1.0 };
        let (turned, a) = (Matrix { at: from, turned: true }, Matrix { at: a, turned: false });
        engine.kernels.product(turned, a, sum, [g.output, patch, rows], keep)?;
        let Some(dx) = dx else { continue };
        let (from, shape) = (Matrix { at: from, turned: false }, [rows, patch, g.output]);
        match &cols {
            None => engine.kernels.product(from, weight, dx, shape, 0.0)?,
            Some(cols) => {
                engine.kernels.product(from, weight, cols.at, shape, 0.0)?;
                let (n, to) = (pictures * g.floats(), dx.at(first * g.floats()));
                engine.windowed("patches_back", n, g, args![cols.at, to])?;
            }
        }
    }
    if let Some(sum) = &in_order {
        let all = args![g.input, g.window.taps(), sum.at, dw];
        engine.kernels.each("taps_to_weight", g.output * patch, all)?;
    }
    cols.into_iter().chain(taps).chain(in_order).for_each(|b| engine.memory.give(b));
    Ok(())
}
