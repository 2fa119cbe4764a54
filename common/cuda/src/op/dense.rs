//! Convolution of all channels: a product of patches (im2col) and weights.

use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::product::Matrix;
use crate::values::Engine;
use candle_core::Result;
use graph::{Geometry, Window};

/// Most floats of a convolution's patches at a time, 256 MB: pictures are taken in groups.
const PATCHES: usize = 64 << 20;

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
///
/// # Errors
/// A device that fails.
pub(super) fn forward(
    engine: &mut Engine,
    g: &Geometry,
    x: Ptr,
    weight: Ptr,
    y: Ptr,
) -> Result<()> {
    let weight = Matrix { at: weight, turned: true };
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
    cols.into_iter().for_each(|b| engine.memory.give(b));
    Ok(())
}

/// Its gradients: of the weights to `dw`, of x to `dx`, if it has one.
///
/// # Errors
/// A device that fails.
pub(super) fn backward(
    engine: &mut Engine,
    g: &Geometry,
    [x, grad, weight, dw]: [Ptr; 4],
    dx: Option<Ptr>,
) -> Result<()> {
    let (positions, patch, group) = (g.positions(), g.patch(), together(g));
    let weight = Matrix { at: weight, turned: false };
    let cols = group.map(|n| engine.memory.take(n * positions * patch)).transpose()?;
    let together = group.unwrap_or(g.batch);
    for first in (0..g.batch).step_by(together) {
        let pictures = together.min(g.batch - first);
        let rows = pictures * positions;
        let from = grad.at(first * positions * g.output);
        let a = patches(engine, g, x.at(first * g.floats()), cols.as_ref(), rows)?;
        let keep = if first == 0 { 0.0 } else { 1.0 };
        let (turned, a) = (Matrix { at: from, turned: true }, Matrix { at: a, turned: false });
        engine.kernels.product(turned, a, dw, [g.output, patch, rows], keep)?;
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
    cols.into_iter().for_each(|b| engine.memory.give(b));
    Ok(())
}
