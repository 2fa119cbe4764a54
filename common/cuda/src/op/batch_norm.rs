//! Batch norm, by the statistics of the batch or by stored ones. What is kept are mean, 1 / deviation, scale and shift,
//! and, for the way back, what a gradient loses by mean and deviation; `[c]` each.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::slide::{Divisor, lanes};
use crate::sums::Cut;
use crate::values::{Engine, Statistics};
use candle_core::{Result, bail};
use graph::Bounds;
use graph::op::BatchNorm;

/// Rows of a thread, as in `batch_norm.cu`.
const ROWS: usize = 4;

impl Run for BatchNorm {
    fn forward(&self, engine: &mut Engine, site: &Site, mode: Mode) -> Result<()> {
        let c = site.channels();
        let kept = engine.memory.fit(&mut engine.values[site.i].kept, 6 * c)?;
        let [mean, rstd, scale, shift] = [0, 1, 2, 3].map(|k| kept.at(k * c));
        let bias = site.bias_before(site.parameters).unwrap_or(Ptr::NULL);
        let [gamma, beta] = [0, 1].map(|k| site.parameter(k));
        match mode {
            Mode::Training { statistics, momentum } => {
                let Statistics { partials, parts, of } = match engine.values[site.input].sums.take()
                {
                    Some(sums) => sums,
                    None => sums(engine, site)?,
                };
                let [running_mean, running_var] = [2, 3].map(|k| site.within(statistics, k));
                let mut all = args![of, partials.at, bias, gamma, beta, self.epsilon].to_vec();
                all.extend_from_slice(args![momentum, running_mean, running_var]);
                all.extend_from_slice(args![mean, rstd, scale, shift]);
                engine.combine("stats_combine", c, parts, &all)?;
                engine.memory.give(partials);
            }
            Mode::Stored { .. } => {
                let [stored, variance] = [2, 3].map(|k| site.parameter(k));
                let mut all = args![stored, variance, bias, gamma, beta, self.epsilon].to_vec();
                all.extend_from_slice(args![mean, rstd, scale, shift]);
                engine.kernels.spread("stats_stored", c, &all)?;
            }
            Mode::Inference => bail!("a batch norm that was not folded"),
        }
        normalize(engine, site, [scale, shift])
    }

    fn backward(
        &self,
        engine: &mut Engine,
        site: &Site,
        grad: Buffer,
        gradients: Ptr,
    ) -> Result<()> {
        let (c, kept) = (site.channels(), engine.kept(site.i));
        let inverse = if engine.stored { 0.0 } else { 1.0 / (site.n / c) as f32 };
        denormalize(
            engine,
            site,
            grad,
            gradients,
            [0, 1, 2, 3, 4, 5].map(|k| kept.at(k * c)),
            inverse,
        )
    }
}

/// Of what it reads.
fn sums(engine: &mut Engine, site: &Site) -> Result<Statistics> {
    let c = site.channels();
    let cut = Cut::new([site.n / c, c], &[site.x]);
    let [_, parts] = cut.grid();
    let partials = engine.memory.take(parts * 3 * c)?;
    engine.columns("stats_partials", cut, 1, args![site.x, partials.at])?;
    Ok(Statistics { partials, parts, of: cut.parts().into() })
}

/// `y = clamp(x · scale + shift)`, unless its readers make that for themselves.
///
/// # Errors
/// A device that fails.
pub(super) fn normalize(engine: &Engine, site: &Site, [scale, shift]: [Ptr; 2]) -> Result<()> {
    if site.fused.lazy {
        return Ok(());
    }
    let (&Site { x, y, n, .. }, c, Bounds { lo, hi }) = (site, site.channels(), site.fused.bounds);
    let lanes = lanes(c, &[x, y, scale, shift]);
    let (rows, by_c) = (n / c, Divisor::new(c / lanes));
    let all = args![rows, lanes, by_c, x, scale, shift, lo, hi, y];
    engine.kernels.spread("normalize", rows.div_ceil(ROWS) * (c / lanes), all)
}

/// Turns the gradient of the result into that of x and into those of its factors and summands, for x normalized with
/// `[mean, 1 / deviation, scale, shift]`, which depend on every row by `inverse`, 1 / rows, or on none, by 0; with room
/// for what else is kept. The gradient is left as it is: it may be another operation's, too.
///
/// # Errors
/// A device that fails.
pub(super) fn denormalize(
    engine: &mut Engine,
    site: &Site,
    grad: Buffer,
    gradients: Ptr,
    [mean, rstd, scale, shift, slope, offset]: [Ptr; 6],
    inverse: f32,
) -> Result<()> {
    let (&Site { x, n, .. }, c, Bounds { lo, hi }) = (site, site.channels(), site.fused.bounds);
    let cut = Cut::new([n / c, c], &[x, grad.at, mean, scale, shift]);
    let [_, parts] = cut.grid();
    let partials = engine.memory.take(parts * 2 * c)?;
    let all = args![x, grad.at, mean, scale, shift, lo, hi, partials.at];
    engine.columns("norm_partials", cut, 1, all)?;
    let [dgamma, dbeta] = [0, 1].map(|k| site.within(gradients, k));
    let dbias = site.bias_before(gradients).unwrap_or(Ptr::NULL);
    let all = args![partials.at, rstd, scale, inverse, dgamma, dbeta, dbias, slope, offset];
    engine.combine("norm_combine", c, parts, all)?;
    engine.memory.give(partials);
    let dx = engine.memory.take(n)?;
    let lanes = lanes(c, &[x, grad.at, mean, scale, shift, slope, offset, dx.at]);
    let (rows, by_c) = (n / c, Divisor::new(c / lanes));
    let mut all = args![rows, lanes, by_c, x, grad.at, mean, scale, shift].to_vec();
    all.extend_from_slice(args![slope, offset, lo, hi, dx.at]);
    engine.kernels.spread("norm_input", rows.div_ceil(ROWS) * (c / lanes), &all)?;
    engine.pass_on(site.i, grad)?;
    engine.add(site.input, dx)
}
