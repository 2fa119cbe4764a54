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
/// How much the logarithm of the price has to rise for that of the bytes to fall by one: 2 to 4 around a bit per weight.
const STEEP: f64 = 3.0;

/// Prices whose logarithms are nearer than that take bytes that differ by chance: another number rounded up changes what
/// all after it make up for. At 0.3 bits a weight, where few numbers are not zero, bytes at one price are off by up to a
/// hundredth.
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
                let ends = [0.02, 0.98].map(|share| l[0] + share * (f[0] - l[0]));
                (f[0] - l[0] > NARROW).then(|| self.meeting(aim).clamp(ends[0], ends[1]))
            }
            [Some([at, bytes]), _] | [_, Some([at, bytes])] => {
                Some(at + self.steep(aim) * (bytes - aim))
            }
            [None, None] => None,
        }
    }

    /// By how much to go beyond all that was seen: a little more than the last two say, if that is more than [`STEEP`].
    fn steep(&self, aim: f64) -> f64 {
        let near = self.near(aim);
        let seen = near.first_chunk::<2>().map_or(0.0, |[a, b]| -slope(*a, *b));
        STEEP.max(1.5 * seen)
    }

    /// What was seen, the nearest to `aim` first. Of equal sizes one: two say nothing of a slope.
    fn near(&self, aim: f64) -> Vec<[f64; 2]> {
        let mut near = self.seen.clone();
        near.sort_by(|a, b| (a[1] - aim).abs().total_cmp(&(b[1] - aim).abs()));
        near.dedup_by(|a, b| (a[1] - b[1]).abs() < f64::EPSILON);
        near
    }

    /// Newton's polynomial through the three that are nearest to `aim`, of the price by the bytes, at it.
    fn meeting(&self, aim: f64) -> f64 {
        let near = self.near(aim);
        match near[..] {
            [a, b, c, ..] => {
                let bend = (slope(b, c) - slope(a, b)) / (c[1] - a[1]);
                a[0] + (aim - a[1]) * (slope(a, b) + (aim - b[1]) * bend)
            }
            [a, b] => a[0] + (aim - a[1]) * slope(a, b),
            _ => near.first().map_or(0.0, |a| a[0]),
        }
    }
}

/// Of the price by the bytes.
fn slope(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]) / (a[1] - b[1])
}

/// The network rounded at the lowest price, to about a thousandth of the bytes, at which its finished file keeps to
/// `budget`; and that price, in nats for the error of one number. `between` is called after every rounding.
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
        least = least.min(bytes);
        bar.inc(1);
        between()?;
        search.seen.push([at, (bytes as f64).ln()]);
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

    /// Sources whose bytes fall as those of normal distributions do, ½ ln (1 + v / price) a number, and budgets from a
    /// sixth to six times what the first price takes: five roundings on average, seven at most. (The plain way, from the
    /// first price by factors of eight and then along straight lines, takes 6.6 and 8.)
    #[test]
    fn few_prices_are_tried() {
        let sources = [
            (vec![1.0, 0.1, 0.01], 0.3f64),
            (vec![1.0, 0.3, 0.1, 0.03, 0.01, 0.003], 0.1),
            (vec![1.0], 0.5),
        ];
        let mut tries = Vec::new();
        for (spreads, first) in sources {
            let bytes = |at: f64| {
                let nats: f64 = spreads.iter().map(|v| 0.5 * (1.0 + v / at.exp()).ln()).sum();
                (1e7 * nats) as usize
            };
            for share in [1.0 / 6.0, 1.0 / 3.0, 0.6, 1.5, 3.0, 6.0] {
                let budget = (share * bytes(first.ln()) as f64) as usize;
                let mut search = Search { budget, seen: Vec::new() };
                let mut at = first.ln();
                while !(budget - budget / 1000..=budget).contains(&bytes(at)) {
                    search.seen.push([at, (bytes(at) as f64).ln()]);
                    at = search.next().unwrap();
                }
                tries.push(search.seen.len() + 1);
            }
        }
        let most = *tries.iter().max().unwrap();
        assert!(most <= 7 && tries.iter().sum::<usize>() <= 5 * tries.len(), "{tries:?}");
    }
}
