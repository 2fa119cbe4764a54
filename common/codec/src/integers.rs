//! Small signed integers ↔ bits, with contexts.
//!
//! An integer is coded as: is it 0? its sign; then its magnitude in unary, one decision per step, up
//! to [`ESCAPE`]; what is beyond in exponential Golomb code. How likely each decision is depends on
//! what is around: where the weights of one input channel, or neighbours, are large together, the
//! code is shorter than the entropy of the integers alone. The context is a bucket of the running
//! mean magnitude of the same column (the same place in the filters of earlier output channels) and
//! of the integers before; each kind of tensor has probabilities of its own.

use crate::range::{Bit, Decoder, Encoder};
use std::collections::BTreeMap;

/// Kinds of tensors whose integers are distributed alike.
pub(crate) const KINDS: usize = 6;
/// Buckets of neighbouring magnitudes.
const BUCKETS: usize = 10;
/// Magnitudes from here on are coded by their logarithm.
const ESCAPE: usize = 18;
/// Bits of the largest number beyond [`ESCAPE`].
const LONGEST: usize = 13;

/// Probabilities of every decision, adapted as integers pass.
pub(crate) struct Contexts {
    kinds: Vec<Kind>,
}

#[derive(Clone)]
struct Kind {
    zero: [Bit; BUCKETS],
    sign: Bit,
    more: [[Bit; ESCAPE]; BUCKETS],
    length: [Bit; LONGEST],
    digits: [[Bit; LONGEST]; LONGEST + 1],
}

impl Contexts {
    pub(crate) fn new() -> Self {
        let kind = Kind {
            zero: [Bit::NEW; BUCKETS],
            sign: Bit::NEW,
            more: [[Bit::NEW; ESCAPE]; BUCKETS],
            length: [Bit::NEW; LONGEST],
            digits: [[Bit::NEW; LONGEST]; LONGEST + 1],
        };
        Self { kinds: vec![kind; KINDS] }
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

/// A coder in either direction: what it decides to write, or what it reads.
trait Coder {
    /// Passes one decision; `bit` counts when writing.
    fn pass(&mut self, model: &mut Bit, bit: bool) -> bool;
}

impl Coder for Encoder {
    fn pass(&mut self, model: &mut Bit, bit: bool) -> bool {
        self.put(model, bit);
        bit
    }
}

impl Coder for Decoder<'_> {
    fn pass(&mut self, model: &mut Bit, _: bool) -> bool {
        self.get(model)
    }
}

/// One integer through `coder`; `value` counts when writing.
fn pass(coder: &mut impl Coder, kind: &mut Kind, bucket: usize, value: i16) -> i16 {
    if !coder.pass(&mut kind.zero[bucket], value != 0) {
        return 0;
    }
    let negative = coder.pass(&mut kind.sign, value < 0);
    let wanted = usize::from(value.unsigned_abs());
    let mut magnitude = 1;
    for more in &mut kind.more[bucket][1..] {
        if !coder.pass(more, wanted > magnitude) {
            return signed(magnitude, negative);
        }
        magnitude += 1;
    }
    // wanted ≥ ESCAPE: the rest + 1 is a 1 with `length` binary digits behind it.
    let rest = (wanted + 1).saturating_sub(magnitude).max(1);
    let wanted_length = rest.ilog2() as usize;
    let mut length = 0;
    while length < LONGEST && coder.pass(&mut kind.length[length], wanted_length > length) {
        length += 1;
    }
    let mut number = 1;
    for place in (0..length).rev() {
        let digit = coder.pass(&mut kind.digits[length][place], rest >> place & 1 == 1);
        number = number << 1 | usize::from(digit);
    }
    signed(magnitude + number - 1, negative)
}

fn signed(magnitude: usize, negative: bool) -> i16 {
    let m = magnitude as i16; // at most ESCAPE + 2^14
    if negative { -m } else { m }
}

/// Code `values`, rows of `columns`, of magnitude below 2^14.
pub(crate) fn put(
    out: &mut Encoder,
    contexts: &mut Contexts,
    kind: usize,
    columns: usize,
    values: &[i16],
) {
    let mut around = Neighbours::new(columns);
    for (i, v) in values.iter().enumerate() {
        let c = i % columns;
        pass(out, &mut contexts.kinds[kind], around.bucket(c), *v);
        around.push(c, u32::from(v.unsigned_abs()));
    }
}

/// The inverse of [`put`]: `n` integers.
pub(crate) fn get(
    from: &mut Decoder,
    contexts: &mut Contexts,
    kind: usize,
    columns: usize,
    n: usize,
) -> Vec<i16> {
    let mut around = Neighbours::new(columns);
    let mut values = Vec::with_capacity(n);
    for i in 0..n {
        let c = i % columns;
        let v = pass(from, &mut contexts.kinds[kind], around.bucket(c), 0);
        values.push(v);
        around.push(c, u32::from(v.unsigned_abs()));
    }
    values
}

/// Bytes of an ideal code for integers with the frequencies of `codes`.
pub(crate) fn entropy(codes: &[i16]) -> f64 {
    let mut counts = BTreeMap::<i16, usize>::new();
    for q in codes {
        *counts.entry(*q).or_default() += 1;
    }
    let n = codes.len() as f64;
    counts.values().map(|c| -(*c as f64) * (*c as f64 / n).log2()).sum::<f64>() / 8.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::rng::Rng;

    fn there_and_back(values: &[i16], columns: usize) -> Vec<u8> {
        let part = values.len().div_ceil(KINDS);
        let (mut encoder, mut contexts) = (Encoder::new(), Contexts::new());
        for (kind, values) in values.chunks(part).enumerate() {
            put(&mut encoder, &mut contexts, kind, columns, values);
        }
        let bytes = encoder.finish();
        let (mut decoder, mut contexts) = (Decoder::new(&bytes), Contexts::new());
        let back: Vec<i16> = values
            .chunks(part)
            .enumerate()
            .flat_map(|(kind, v)| get(&mut decoder, &mut contexts, kind, columns, v.len()))
            .collect();
        assert!(back == values && decoder.finish());
        bytes
    }

    #[test]
    fn integers_come_back() {
        for (top, spread) in [(1, 0.6), (3, 1.0), (7, 2.5), (127, 40.0), (16_000, 3000.0)] {
            let rng = &mut Rng::new(2, "integers", 0);
            let clamp = |v: f32| v.round().clamp(-top as f32, top as f32) as i16;
            let values: Vec<i16> = (0..5000).map(|_| clamp(spread * rng.normal())).collect();
            there_and_back(&values, 25);
        }
        let around_the_escape: Vec<i16> = (-40..=40).collect();
        there_and_back(&around_the_escape, 1);
    }

    /// At 4, 6 and 8 bits the code of Gaussian integers is within 2 % of their entropy, known
    /// probabilities and all.
    #[test]
    fn the_code_is_near_the_entropy() {
        for (top, spread) in [(7, 2.2), (31, 9.0), (127, 36.0)] {
            let rng = &mut Rng::new(6, "near", 0);
            let values: Vec<i16> = (0..60_000)
                .map(|_| (spread * rng.normal()).round().clamp(-top as f32, top as f32) as i16)
                .collect();
            let (mut encoder, mut contexts) = (Encoder::new(), Contexts::new());
            put(&mut encoder, &mut contexts, 0, 64, &values);
            let (bytes, entropy) = (encoder.finish().len() as f64, entropy(&values));
            assert!(bytes < 1.02 * entropy, "top {top}: {bytes} bytes, entropy {entropy}");
        }
    }

    /// Columns of different spread, as input channels have: the contexts find them, and the code is
    /// shorter than the entropy of the integers taken alone.
    #[test]
    fn contexts_beat_the_order_0_entropy() {
        let rng = &mut Rng::new(3, "columns", 0);
        let spreads: Vec<f32> = (0..64).map(|_| rng.between(0.3, 4.0)).collect();
        let values: Vec<i16> = (0..64 * 400)
            .map(|i| (spreads[i % 64] * rng.normal()).round().clamp(-7.0, 7.0) as i16)
            .collect();
        let (mut encoder, mut contexts) = (Encoder::new(), Contexts::new());
        put(&mut encoder, &mut contexts, 0, 64, &values);
        let (bytes, entropy) = (encoder.finish().len() as f64, entropy(&values));
        assert!(bytes < 0.96 * entropy, "{bytes} bytes, entropy {entropy}");
    }
}
