//! Bytes exchanged between tensors while the divergence of the whole network falls.
//!
//! What one tensor's error costs depends on that of the others, the more so the larger they are, so no sum of what
//! tensors cost alone is to be trusted (Deng et al. 2025, "CLADO"). Every tensor is measured a notch coarser and a notch
//! finer in the plan as it is; whatever brings more than its bytes are worth stays. The height of the water
//! then makes good what the bytes have moved.

use super::measure::{Log, Measure};
use super::waterline::{Level, Waterline};
use anyhow::Result;
use codec::Quantized;

/// Notches of one sweep after the other, sixteenths of an octave.
pub(super) const NOTCHES: [i16; 3] = [4, 4, 2];
/// By how much the water is raised to see what a byte is worth.
const RAISED: f64 = 4.0;

/// Least divergence that counts: of what f32 answers can tell.
const LEAST: f64 = 1e-9;

/// Measurements of a search with so many weights, at most.
pub(super) const fn measurements(weights: usize) -> usize {
    1 + NOTCHES.len() * (2 + 2 * weights)
}

/// What is known of a plan.
struct Known {
    level: Level,
    bytes: f64,
    /// Natural logarithm of its divergence, which falls about evenly with bytes.
    nats: f64,
}

/// A search on a line.
pub(super) struct Search<'a, D> {
    pub(super) line: &'a Waterline<'a>,
    pub(super) budget: usize,
    /// Divergence of a rounded network.
    pub(super) divergence: D,
}

impl<D: FnMut(&Quantized) -> Result<f64>> Search<'_, D> {
    fn known(&mut self, level: Level) -> Result<Known> {
        let rounded = self.line.round(&level)?;
        let bytes = self.line.bytes(&rounded)? as f64;
        let nats = (self.divergence)(&rounded)?.max(LEAST).ln();
        Ok(Known { level, bytes, nats })
    }

    /// The plan from `start` on: of those that keep to the budget after each sweep, the one of least divergence.
    ///
    /// # Errors
    /// A budget that nothing keeps to; what measuring says.
    pub(super) fn run(&mut self, start: &Level) -> Result<Level> {
        let landed = self.line.land(start, self.budget)?;
        let mut best = self.known(landed)?;
        for notch in NOTCHES {
            let Level { height, shifts } = &best.level;
            let raised = Level { height: height + RAISED, shifts: shifts.clone() };
            let raised = self.known(raised)?;
            // Logarithm of nats that a byte is worth; nothing where fewer bytes were better.
            let saved = (best.bytes - raised.bytes).max(1.0);
            let worth = ((raised.nats - best.nats) / saved).max(0.0);
            let moved = self.sweep(&best, notch, worth)?;
            let landed = self.line.land(&moved, self.budget)?;
            let landed = self.known(landed)?;
            if landed.nats < best.nats {
                best = landed;
            }
        }
        Ok(best.level)
    }

    /// Every weight a notch coarser, and finer; what pays stays.
    fn sweep(&mut self, start: &Known, notch: i16, worth: f64) -> Result<Level> {
        let cost = |k: &Known| k.nats + worth * k.bytes;
        let Known { level, bytes, nats } = start;
        let mut best = Known { level: level.clone(), bytes: *bytes, nats: *nats };
        for i in self.line.weights() {
            let from = best.level.clone();
            for by in [notch, -notch] {
                let mut level = from.clone();
                level.shifts[i] += by;
                let found = self.known(level)?;
                if cost(&found) < cost(&best) {
                    best = found;
                }
            }
        }
        Ok(best.level)
    }
}

/// [`Search::run`] by what `measure` says.
pub(super) fn exchange(
    line: &Waterline,
    budget: usize,
    start: &Level,
    measure: &mut Measure,
    log: &mut Log,
) -> Result<Level> {
    let divergence = |rounded: &Quantized| log.next(|| Ok(measure.of(&rounded.weights()?)?.0));
    Search { line, budget, divergence }.run(start)
}
