//! The price at which a file keeps to its budget.

use super::Rounding;
use anyhow::{Context, Result};
use codec::Quantized;
use common::cli;

/// Roundings tried on the way to a budget.
const TRIES: usize = 9;
/// Share of the budget that may be left over.
const SPARE: f64 = 1e-3;
/// Nats that all errors together cost at the price that is tried first.
const FIRST: f64 = 0.01;
/// How much the logarithm of the price has to rise for that of the bytes to fall by one: 2 to 4 around a bit per weight,
/// above that 1.4 for every bit.
const STEEP: std::ops::RangeInclusive<f64> = 3.0..=12.0;

/// Prices whose logarithms are nearer than that take bytes that differ by chance: another number rounded up changes what
/// all after it make up for. At 0.3 bits a weight, where few numbers are not zero, bytes at nearly one price differ by up
/// to a hundredth.
const NARROW: f64 = 0.004;

/// What prices were tried, and what came of it.
struct Search {
    budget: usize,
    /// (price, bytes), as logarithms.
    seen: Vec<[f64; 2]>,
}

impl Search {
    /// The highest price that is too low, and the lowest that fits, with their bytes.
    fn ends(&self) -> [Option<[f64; 2]>; 2] {
        let most = (self.budget as f64).ln();
        let (large, fits): (Vec<[f64; 2]>, Vec<[f64; 2]>) =
            self.seen.iter().partition(|[_, bytes]| *bytes > most);
        let large = large.into_iter().max_by(|a, b| a[0].total_cmp(&b[0]));
        [large, fits.into_iter().min_by(|a, b| a[0].total_cmp(&b[0]))]
    }

    /// The logarithm of the price to try next: where a curve through the nearest of what was seen meets the budget, between
    /// what is too large and what fits. None where only chance is left to try.
    fn next(&self) -> Option<f64> {
        let aim = (self.budget as f64).ln() - 0.3 * SPARE;
        match self.ends() {
            [Some(l), Some(f)] => {
                let [first, last] = [0.02, 0.98].map(|share| l[0] + share * (f[0] - l[0]));
                // Sizes that differ by chance bend the curve to anywhere; a straight line stays between its ends.
                let curve = self.meeting(aim).filter(|at| (first..=last).contains(at));
                let line = f[0] + (aim - f[1]) * slope(l, f);
                (f[0] - l[0] > NARROW).then(|| curve.unwrap_or(line).clamp(first, last))
            }
            [Some([at, bytes]), _] | [_, Some([at, bytes])] => {
                Some(at + self.steep(aim) * (bytes - aim))
            }
            [None, None] => None,
        }
    }

    /// How much the price is to rise, to reach the other side of the budget, for every one by which the bytes must fall:
    /// half as much again as between the last two.
    fn steep(&self, aim: f64) -> f64 {
        let near = self.near(aim);
        let seen = near.first_chunk::<2>().map_or(0.0, |[a, b]| -slope(*a, *b));
        (1.5 * seen).clamp(*STEEP.start(), *STEEP.end())
    }

    /// What was seen, the nearest to `aim` first. Of equal sizes one: two say nothing of a slope.
    fn near(&self, aim: f64) -> Vec<[f64; 2]> {
        let mut near = self.seen.clone();
        near.sort_by(|a, b| (a[1] - aim).abs().total_cmp(&(b[1] - aim).abs()));
        near.dedup_by(|a, b| (a[1] - b[1]).abs() < f64::EPSILON);
        near
    }

    /// Newton's polynomial through the three that are nearest to `aim`, of the price by the bytes, at it.
    fn meeting(&self, aim: f64) -> Option<f64> {
        let near = self.near(aim);
        let [a, b] = *near.first_chunk::<2>()?;
        let line = a[0] + (aim - a[1]) * slope(a, b);
        let Some(c) = near.get(2) else { return Some(line) };
        let bend = (slope(b, *c) - slope(a, b)) / (c[1] - a[1]);
        Some(line + (aim - a[1]) * (aim - b[1]) * bend)
    }
}

/// Of the price by the bytes.
fn slope(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]) / (a[1] - b[1])
}

/// The network rounded at the lowest price at which its finished file keeps to `budget`, to a thousandth of the bytes or
/// as near as chance lets it; and that price, in nats for the error of one number. `between` is called after every rounding.
///
/// # Errors
/// A budget that is out of reach; what `between` says.
pub(crate) fn to_budget(
    rounding: &Rounding,
    budget: usize,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<(Quantized, f64)> {
    let model = rounding.model;
    let mut search = Search { budget, seen: Vec::new() };
    let mut best: Option<(Quantized, f64)> = None;
    let mut least = usize::MAX;
    let mut at = (FIRST / model.graph.parameter_count() as f64).ln();
    let bar = cli::progress(TRIES, "rounding");
    for _ in 0..TRIES {
        let quantized = rounding.at(at.exp())?;
        let bytes = model.coded_bytes(&quantized)?;
        bar.inc(1);
        between()?;
        search.seen.push([at, (bytes as f64).ln()]);
        least = least.min(bytes);
        if bytes <= budget && best.as_ref().is_none_or(|(_, price)| at.exp() < *price) {
            best = Some((quantized, at.exp()));
            if (budget - bytes) as f64 <= budget as f64 * SPARE {
                break;
            }
        }
        let Some(next) = search.next() else { break };
        at = next;
    }
    bar.finish_and_clear();
    best.with_context(|| {
        format!(
            "at the coarsest grids tried the network takes {} bytes, the budget is {}: prune it, or raise --budget",
            cli::count(least),
            cli::count(budget)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::rng::Rng;

    /// What is left over of a budget of `share` times what the first price takes, and how many prices were tried: of
    /// numbers of normal distributions of the variances `spreads`, ½ ln (1 + v / price) a number, off by up to `noise`.
    fn left(spreads: &[f64], first: f64, share: f64, noise: f32, rng: &mut Rng) -> (f64, usize) {
        let mut bytes = |at: f64| {
            let nats: f64 = spreads.iter().map(|v| 0.5 * (1.0 + v / at.exp()).ln()).sum();
            1e7 * nats * f64::from(1.0 + rng.between(-noise, noise))
        };
        let mut at = first.ln();
        let budget = (share * bytes(at)) as usize;
        let (mut search, mut best) = (Search { budget, seen: Vec::new() }, f64::INFINITY);
        for tries in 1..=TRIES {
            let now = bytes(at);
            search.seen.push([at, now.ln()]);
            let left = 1.0 - now / budget as f64;
            best = if left >= 0.0 { best.min(left) } else { best };
            let next = search.next();
            let Some(next) = next.filter(|_| best > SPARE) else { return (best, tries) };
            at = next;
        }
        (best, TRIES)
    }

    const SOURCES: [(&[f64], f64); 3] =
        [(&[1.0, 0.1, 0.01], 0.3), (&[1.0, 0.3, 0.1, 0.03, 0.01, 0.003], 0.1), (&[1.0], 0.5)];
    const SHARES: [f64; 6] = [1.0 / 6.0, 1.0 / 3.0, 0.6, 1.5, 3.0, 6.0];

    #[test]
    fn few_prices_are_tried() {
        let rng = &mut Rng::new(1, "noise", 0);
        let cases = SOURCES.iter().flat_map(|s| SHARES.map(|share| (s, share)));
        let found: Vec<_> = cases.map(|((v, at), share)| left(v, *at, share, 0.0, rng)).collect();
        assert!(found.iter().all(|(left, _)| *left <= SPARE), "{found:?}");
        let tries: usize = found.iter().map(|(_, tries)| tries).sum();
        assert!(tries <= 5 * found.len(), "{found:?}");
    }

    /// Bytes that are off by up to three thousandths, as they are at a bit per weight: never are two hundredths left over.
    #[test]
    fn noise_leads_nowhere_far() {
        let rng = &mut Rng::new(2, "noise", 0);
        for _ in 0..100 {
            for ((spreads, first), share) in SOURCES.iter().flat_map(|s| SHARES.map(|x| (s, x))) {
                let (left, tries) = left(spreads, *first, share, 0.003, rng);
                assert!(left < 0.02, "{left} of {share} after {tries}");
            }
        }
    }
}
