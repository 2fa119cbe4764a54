//! Batch norm, by the statistics of the batch or by stored ones. What is kept are mean, 1 / deviation, scale and shift, `[c]` each.

use super::{Mode, Run, Site};
use crate::launch::{Arg, Ptr, args};
use crate::memory::Buffer;
use crate::sums::parts;
use crate::values::Engine;
use candle_core::{Result, bail};
use graph::Bounds;
use graph::op::BatchNorm;

impl Run for BatchNorm {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        let (c, x) = (site.channels(), site.x);
        let rows = site.n / c;
        let kept = engine.memory.fit(&mut engine.values[site.i].kept, 4 * c)?;
        let [mean, rstd, scale, shift] = [0, 1, 2, 3].map(|k| kept.at(k * c));
        let (statistics, momentum) = match mode {
            Mode::Training { statistics, momentum } => (statistics, momentum),
            Mode::Stored { .. } => {
                let [gamma, beta, stored, variance] = [0, 1, 2, 3].map(|k| site.parameter(k));
                let mut all = args![stored, variance, gamma, beta, self.epsilon].to_vec();
                all.extend_from_slice(args![mean, rstd, scale, shift]);
                engine.kernels.each("stats_stored", c, &all)?;
                return normalize(engine, site, scale, shift);
            }
            Mode::Inference => bail!("a batch norm that was not folded"),
        };
        let (chunk, chunks) = parts(rows);
        let partials = engine.memory.take(chunks * 3 * c)?;
        engine.columns("stats_partials", [rows, c], args![x, partials.at])?;
        let [gamma, beta] = [0, 1].map(|k| site.parameter(k));
        let [running_mean, running_var] = [2, 3].map(|k| site.within(statistics, k));
        let mut all = vec![Arg::L(rows as u64), Arg::L(chunk as u64)];
        all.extend_from_slice(args![chunks, c, partials.at, gamma, beta, self.epsilon, momentum]);
        all.extend_from_slice(args![running_mean, running_var, mean, rstd, scale, shift]);
        engine.kernels.grid("stats_combine", [c.div_ceil(256) as u32, 1, 1], 256, &all)?;
        engine.memory.give(partials);
        normalize(engine, site, scale, shift)
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let (c, mean) = (site.channels(), engine.kept(site.i));
        let inverse = if engine.stored { 0.0 } else { 1.0 / (site.n / c) as f32 };
        denormalize(engine, site, &grad, gradients, [mean, mean.at(c)], inverse)?;
        engine.add(site.input, grad)
    }
}

/// `y = clamp(x · scale + shift)`.
///
/// # Errors
/// A device that fails.
pub(super) fn normalize(engine: &Engine, site: &Site, scale: Ptr, shift: Ptr) -> Result<()> {
    let (c, Bounds { lo, hi }) = (site.channels(), site.fused.bounds);
    engine.kernels.each("normalize", site.n, args![c, site.x, scale, shift, lo, hi, site.y])
}

/// Turns the gradient of the result into that of x, in place, and into those of its factors and summands, for
/// x normalized with `mean` and 1 / deviation, `rstd`, which depend on every row by `inverse`, 1 / rows, or
/// on none, by 0.
///
/// # Errors
/// A device that fails.
pub(super) fn denormalize(
    engine: &mut Engine,
    site: &Site,
    grad: &Buffer,
    gradients: Ptr,
    [mean, rstd]: [Ptr; 2],
    inverse: f32,
) -> Result<()> {
    let &Site { x, y, n, .. } = site;
    let (c, Bounds { lo, hi }) = (site.channels(), site.fused.bounds);
    let (_, chunks) = parts(n / c);
    let partials = engine.memory.take(chunks * 2 * c)?;
    let all = args![x, y, grad.at, mean, rstd, lo, hi, partials.at];
    engine.columns("norm_partials", [n / c, c], all)?;
    let [dgamma, dbeta] = [0, 1].map(|k| site.within(gradients, k));
    engine.sum(c, chunks, 2 * c, partials.at, dbeta)?;
    engine.sum(c, chunks, 2 * c, partials.at.at(c), dgamma)?;
    engine.memory.give(partials);
    let gamma = site.parameter(0);
    let mut all = args![c, x, y, grad.at, mean, rstd, gamma, dbeta, dgamma].to_vec();
    all.extend_from_slice(args![inverse, lo, hi, grad.at]);
    engine.kernels.each("norm_input", n, &all)
}
