//! An adaptive binary range coder, integers only.
//!
//! Subdivision of a 32-bit range with carry propagation (Martin 1979, "Range encoding"; the byte
//! output is that of LZMA's coder). A [`Bit`] adapts to the bits it sees: the mean of a fast and a
//! slow estimate follows both the first symbols of a file and its long-run frequencies.

/// The probability, in 2⁻¹⁶, that a bit is 0: a fast and a slow moving average.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit {
    fast: u16,
    slow: u16,
}

impl Bit {
    /// Nothing known yet: one half.
    pub(super) const NEW: Self = Self { fast: 1 << 15, slow: 1 << 15 };

    /// Probability of 0 in 2⁻¹⁵, never 0 or 1.
    fn zero(self) -> u32 {
        (((u32::from(self.fast) + u32::from(self.slow)) >> 2) & 0x7fff).clamp(32, 32_736)
    }

    fn update(&mut self, bit: bool) {
        if bit {
            self.fast -= self.fast >> 4;
            self.slow -= self.slow >> 7;
        } else {
            self.fast += (u16::MAX - self.fast) >> 4;
            self.slow += (u16::MAX - self.slow) >> 7;
        }
    }
}

/// Below this the range is widened by a byte.
const LOW_RANGE: u32 = 1 << 24;

/// Bits → bytes.
pub(super) struct Encoder {
    low: u64,
    range: u32,
    /// The byte that a carry may still change, and the 0xff bytes behind it.
    pending: Option<(u8, usize)>,
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { low: 0, range: u32::MAX, pending: None, out: Vec::new() }
    }

    pub(super) fn put(&mut self, model: &mut Bit, bit: bool) {
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

    pub(super) fn finish(mut self) -> Vec<u8> {
        for _ in 0..5 {
            self.shift();
        }
        self.out
    }
}

/// Bytes → bits. Reading beyond the end gives zeros; [`Decoder::finish`] tells.
pub(super) struct Decoder<'a> {
    code: u32,
    range: u32,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
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

    pub(super) fn get(&mut self, model: &mut Bit) -> bool {
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

    /// Whether exactly all bytes were read.
    pub(super) fn finish(self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Bits with P(1) = p come back, and cost at most 2 % (and 100 bits) more than the entropy.
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
            // The fast average costs a few per cent: it is what makes short files cheap.
            let limit = entropy * 1.05 + 300.0;
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
