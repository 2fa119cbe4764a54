//! Randomness as a pure function of (seed, purpose, index).
//!
//! No generator is ever carried along: whoever needs a random number names what it is for and
//! which item it belongs to. Results then cannot depend on the order of work or on threads, and
//! the 7th view of picture 42 can be made again without making the first six.

/// A stream of random numbers: SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable
/// pseudorandom number generators"), which passes BigCrush and needs one word of state.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// SplitMix64's output function.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of item `index` for `purpose`.
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        // FNV-1a over the purpose; `mix` between the parts keeps related keys unrelated.
        let purpose = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        Self(mix(mix(mix(seed) ^ purpose).wrapping_add(index)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`, 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in `[lo, hi)`.
    pub fn between(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.uniform()
    }

    /// Uniform in `0..n` (multiply-shift; the bias for n < 2³² is below 2⁻³²); 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// Standard normal (Box & Muller 1958).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * f64::from(1.0 - self.uniform()).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.uniform());
        (radius * angle.cos()) as f32
    }

    /// Beta(α, α) for 0 < α ≤ 1 (Jöhnk 1964).
    pub fn beta(&mut self, alpha: f32) -> f32 {
        loop {
            let x = self.uniform().powf(1.0 / alpha);
            let y = self.uniform().powf(1.0 / alpha);
            if x + y > 0.0 && x + y <= 1.0 {
                return x / (x + y);
            }
        }
    }

    /// A random order of `0..n` (Fisher & Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_is_splitmix64() {
        // First outputs for state 1234567, as published with Vigna's splitmix64.c.
        let mut rng = Rng(1_234_567);
        let expected: [u64; 3] =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected, [rng.bits(), rng.bits(), rng.bits()]);
    }

    #[test]
    fn keys_are_independent() {
        let first = |s, p, i| Rng::new(s, p, i).bits();
        let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
        for (i, x) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|y| y != x), "{all:?}");
        }
        assert_eq!(first(1, "a", 0), first(1, "a", 0));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 20_000;
        let sample = |f: &dyn Fn(&mut Rng) -> f32| -> (f64, f64) {
            let v: Vec<f64> =
                (0..n).map(|i| f64::from(f(&mut Rng::new(7, "moments", i)))).collect();
            let mean = v.iter().sum::<f64>() / n as f64;
            (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64)
        };
        let close = |(m, v): (f64, f64), (em, ev): (f64, f64)| {
            assert!((m - em).abs() < 0.02 && (v - ev).abs() < 0.02, "{m} {v}, expected {em} {ev}");
        };
        close(sample(&|r| r.uniform()), (0.5, 1.0 / 12.0));
        close(sample(&|r| r.normal()), (0.0, 1.0));
        // Var Beta(α, α) = 1 / (4 (2α + 1))
        close(sample(&|r| r.beta(0.2)), (0.5, 1.0 / (4.0 * 1.4)));
        close(sample(&|r| r.beta(1.0)), (0.5, 1.0 / 12.0));
    }

    #[test]
    fn permutation_has_every_item_once() {
        let mut order = Rng::new(3, "order", 0).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
