//! An adaptive binary range coder, integers only.
//!
//! Subdivision of a 32-bit range with carry propagation (Martin 1979, "Range encoding"; the byte
//! output is that of LZMA's coder). A [`Bit`] adapts to the bits it has seen.

/// The probability of a 0 so far.
///
/// The n-th bit moves it by 1 / (n + 1.5) of the way (the estimator of Krichevsky & Trofimov 1981),
/// at least by 1 / [`MEMORY`]: quick at first, steady later, and still able to follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bit {
    /// In 2⁻³⁰: fine enough for steps of 1 / [`MEMORY`] near the ends.
    zero: u32,
    seen: u32,
}

/// Bits a probability remembers.
const MEMORY: u32 = 1000;

impl Bit {
    /// Nothing known yet: one half.
    pub(crate) const NEW: Self = Self { zero: 1 << 29, seen: 0 };

    /// Probability of 0 in 2⁻¹⁵, never 0 or 1.
    fn zero(self) -> u32 {
        (self.zero >> 15).clamp(8, 32_760)
    }

    fn update(&mut self, bit: bool) {
        let divisor = 2 * self.seen + 3;
        if bit {
            self.zero -= 2 * self.zero / divisor;
        } else {
            self.zero += 2 * ((1 << 30) - self.zero) / divisor;
        }
        self.seen = (self.seen + 1).min(MEMORY);
    }
}

/// Below this the range is widened by a byte.
const LOW_RANGE: u32 = 1 << 24;

/// Bits → bytes.
pub(crate) struct Encoder {
    low: u64,
    range: u32,
    /// The byte that a carry may still change, and the 0xff bytes behind it.
    pending: Option<(u8, usize)>,
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self { low: 0, range: u32::MAX, pending: None, out: Vec::new() }
    }

    pub(crate) fn put(&mut self, model: &mut Bit, bit: bool) {
        let bound = (self.range >> 15) * model.zero();
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.update(bit);
        while self.range < LOW_RANGE {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Move the top byte of `low` out, with its carry.
    fn shift(&mut self) {
        let (carry, byte) = ((self.low >> 32) as u8, (self.low >> 24) as u8);
        match self.pending {
            // A carry would run through it: it waits.
            Some((first, n)) if carry == 0 && byte == 0xff => self.pending = Some((first, n + 1)),
            Some((first, n)) => {
                self.out.push(first.wrapping_add(carry));
                self.out.extend(std::iter::repeat_n(0xff_u8.wrapping_add(carry), n));
                self.pending = Some((byte, 0));
            }
            None => self.pending = Some((byte, 0)),
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        self.out
    }
}

/// Bytes → bits. Reading beyond the end gives zeros; [`Decoder::finish`] tells.
pub(crate) struct Decoder<'a> {
    code: u32,
    range: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { code: 0, range: u32::MAX, bytes, at: 0 };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    fn shift(&mut self) {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.code = self.code << 8 | u32::from(byte);
        self.at += 1;
    }

    pub(crate) fn get(&mut self, model: &mut Bit) -> bool {
        let bound = (self.range >> 15) * model.zero();
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.update(bit);
        while self.range < LOW_RANGE {
            self.range <<= 8;
            self.shift();
        }
        bit
    }

    /// Bytes read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Whether more was read than there is.
    pub(crate) fn is_beyond_end(&self) -> bool {
        self.at > self.bytes.len()
    }

    /// Whether exactly all bytes were read.
    pub(crate) fn finish(self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::rng::Rng;

    /// Bits with P(1) = p come back, and cost at most 0.5 % and 100 bits more than the entropy.
    #[test]
    fn bits_come_back_at_their_entropy() {
        for p in [0.5, 0.1, 0.01, 0.9] {
            let rng = &mut Rng::new(1, "bits", 0);
            let bits: Vec<bool> = (0..100_000).map(|_| rng.chance(p)).collect();
            let (mut encoder, mut model) = (Encoder::new(), Bit::NEW);
            bits.iter().for_each(|b| encoder.put(&mut model, *b));
            let bytes = encoder.finish();
            let (mut decoder, mut model) = (Decoder::new(&bytes), Bit::NEW);
            assert!(bits.iter().all(|b| decoder.get(&mut model) == *b), "p = {p}");
            assert!(decoder.finish());
            let p = bits.iter().filter(|b| **b).count() as f64 / 1e5;
            let entropy = -1e5 * (p * p.log2() + (1.0 - p) * (1.0 - p).log2());
            let limit = entropy * 1.005 + 100.0;
            assert!((bytes.len() * 8) as f64 <= limit, "p = {p}: {} bytes, {entropy}", bytes.len());
        }
    }

    /// Probabilities at their limits and long runs: carries through many 0xff bytes.
    #[test]
    fn carries_propagate() {
        for seed in 0..200 {
            let rng = &mut Rng::new(seed, "carry", 0);
            let runs: Vec<(bool, usize)> =
                (0..50).map(|i| (i % 2 == 0, 1 + rng.below(400))).collect();
            let bits: Vec<bool> =
                runs.iter().flat_map(|(b, n)| std::iter::repeat_n(*b, *n)).collect();
            let (mut encoder, mut model) = (Encoder::new(), Bit::NEW);
            bits.iter().for_each(|b| encoder.put(&mut model, *b));
            let bytes = encoder.finish();
            let (mut decoder, mut model) = (Decoder::new(&bytes), Bit::NEW);
            assert!(bits.iter().all(|b| decoder.get(&mut model) == *b), "seed {seed}");
            assert!(decoder.finish());
        }
    }
}
