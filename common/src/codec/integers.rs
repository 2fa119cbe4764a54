//! Small signed integers ↔ bits, with contexts.
//!
//! An integer is coded as: is it 0? its sign; then its magnitude in unary, one decision per step.
//! How likely each decision is depends on what is around: where the weights of one input channel, or
//! neighbours, are large together, the code is shorter than the entropy of the integers alone. The
//! context is a bucket of the running mean magnitude of the same column (the same place in the
//! filters of earlier output channels) and of the integers before; each kind of layer has
//! probabilities of its own.

use super::range::{Bit, Decoder, Encoder};

/// Kinds of layers whose integers are distributed alike.
pub(super) const KINDS: usize = 4;
/// Buckets of neighbouring magnitudes.
const BUCKETS: usize = 10;
/// Unary decisions with a probability of their own; larger magnitudes share the last.
const STEPS: usize = 24;

/// Probabilities of every decision, adapted as integers pass.
pub(super) struct Contexts {
    zero: [[Bit; BUCKETS]; KINDS],
    sign: [Bit; KINDS],
    more: Vec<[[Bit; STEPS]; BUCKETS]>,
}

impl Contexts {
    pub(super) fn new() -> Self {
        Self {
            zero: [[Bit::NEW; BUCKETS]; KINDS],
            sign: [Bit::NEW; KINDS],
            more: vec![[[Bit::NEW; STEPS]; BUCKETS]; KINDS],
        }
    }
}

/// Magnitudes around the next integer, in sixteenths.
struct Neighbours {
    column: Vec<u32>,
    row: u32,
}

impl Neighbours {
    fn new(columns: usize) -> Self {
        // Unknown columns start as if their mean were 1.
        Self { column: vec![16; columns], row: 16 }
    }

    /// The bucket of column `c`: thresholds grow by about √2.
    fn bucket(&self, c: usize) -> usize {
        const LIMITS: [u32; BUCKETS - 1] = [4, 8, 13, 20, 30, 44, 64, 96, 150];
        let mean = (self.column[c] + self.row) / 2;
        LIMITS.iter().position(|l| mean < *l).unwrap_or(BUCKETS - 1)
    }

    fn push(&mut self, c: usize, magnitude: u32) {
        self.column[c] = (self.column[c] * 15 + magnitude * 16 + 8) / 16;
        self.row = (self.row * 7 + magnitude * 16 + 4) / 8;
    }
}

/// Code `values`, rows of `columns`, of magnitude at most `top`.
pub(super) fn put(
    out: &mut Encoder,
    contexts: &mut Contexts,
    kind: usize,
    columns: usize,
    top: u32,
    values: &[i8],
) {
    let mut around = Neighbours::new(columns);
    for (i, v) in values.iter().enumerate() {
        let c = i % columns;
        let bucket = around.bucket(c);
        let magnitude = u32::from(v.unsigned_abs());
        out.put(&mut contexts.zero[kind][bucket], magnitude != 0);
        if magnitude != 0 {
            out.put(&mut contexts.sign[kind], *v < 0);
            for step in 1..=magnitude.min(top - 1) {
                let model = &mut contexts.more[kind][bucket][(step as usize - 1).min(STEPS - 1)];
                out.put(model, magnitude > step);
            }
        }
        around.push(c, magnitude);
    }
}

/// The inverse of [`put`]: `n` integers.
pub(super) fn get(
    from: &mut Decoder,
    contexts: &mut Contexts,
    kind: usize,
    columns: usize,
    top: u32,
    n: usize,
) -> Vec<i8> {
    let mut around = Neighbours::new(columns);
    let mut values = Vec::with_capacity(n);
    for i in 0..n {
        let c = i % columns;
        let bucket = around.bucket(c);
        let mut magnitude = 0;
        let mut negative = false;
        if from.get(&mut contexts.zero[kind][bucket]) {
            negative = from.get(&mut contexts.sign[kind]);
            magnitude = 1;
            while magnitude < top {
                let step = (magnitude as usize - 1).min(STEPS - 1);
                if !from.get(&mut contexts.more[kind][bucket][step]) {
                    break;
                }
                magnitude += 1;
            }
        }
        let v = magnitude as i8; // at most `top` ≤ 63
        values.push(if negative { -v } else { v });
        around.push(c, magnitude);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn integers_come_back() {
        for (top, spread) in [(1, 0.6), (3, 1.0), (7, 2.5), (63, 20.0)] {
            let rng = &mut Rng::new(2, "integers", 0);
            let clamp = |v: f32| v.round().clamp(-(top as f32), top as f32) as i8;
            let values: Vec<i8> = (0..5000).map(|_| clamp(spread * rng.normal())).collect();
            let (mut encoder, mut contexts) = (Encoder::new(), Contexts::new());
            for (kind, part) in values.chunks(1250).enumerate() {
                put(&mut encoder, &mut contexts, kind, 25, top, part);
            }
            let bytes = encoder.finish();
            let (mut decoder, mut contexts) = (Decoder::new(&bytes), Contexts::new());
            let back: Vec<i8> = (0..4)
                .flat_map(|kind| get(&mut decoder, &mut contexts, kind, 25, top, 1250))
                .collect();
            assert!(back == values && decoder.finish(), "top {top}");
        }
    }

    /// Columns of different spread, as input channels have: the contexts find them, and the code is
    /// shorter than the entropy of the integers taken alone.
    #[test]
    fn contexts_beat_the_order_0_entropy() {
        let rng = &mut Rng::new(3, "columns", 0);
        let spreads: Vec<f32> = (0..64).map(|_| rng.between(0.3, 4.0)).collect();
        let values: Vec<i8> = (0..64 * 400)
            .map(|i| (spreads[i % 64] * rng.normal()).round().clamp(-7.0, 7.0) as i8)
            .collect();
        let (mut encoder, mut contexts) = (Encoder::new(), Contexts::new());
        put(&mut encoder, &mut contexts, 0, 64, 7, &values);
        let bytes = encoder.finish().len() as f64;
        let n = values.len() as f64;
        let entropy: f64 = (-7..=7)
            .map(|v| values.iter().filter(|x| **x == v).count() as f64 / n)
            .filter(|p| *p > 0.0)
            .map(|p| -p * p.log2() * n / 8.0)
            .sum();
        assert!(bytes < 0.96 * entropy, "{bytes} bytes, entropy {entropy}");
    }
}
