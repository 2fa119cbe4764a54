//! A share of a number of things, such as 0.05 of 40 channels, counted as it was written.
//!
//! 0.05 is no binary fraction: the nearest f32, widened, is a little more, and of 20 channels two would
//! be cut instead of one; 1 − 0.9 as f64 is a little less than 0.1, and of 10 none would be left.

use std::fmt;
use std::str::FromStr;

/// A share from 0 to 1 in whole billionths; what is written with more decimals is rounded to these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u64);

const WHOLE: u64 = 1_000_000_000;

impl Share {
    /// `parts` of `of` equal parts; all of them where it is more.
    pub const fn of_parts(parts: u32, of: u32) -> Self {
        let share = parts as u64 * WHOLE / of as u64;
        Self(if share < WHOLE { share } else { WHOLE })
    }

    /// The share that was written where this f32 was read: 0.2 is that of 0.2, not a little more. Below 0 it
    /// is none, above 1 all.
    pub fn written_as(share: f32) -> Self {
        share.to_string().parse().unwrap_or(if share > 1.0 { Self(WHOLE) } else { Self(0) })
    }

    /// Whether it is all there is.
    pub const fn is_whole(self) -> bool {
        self.0 == WHOLE
    }

    /// As many of `n` things as are no more than this share.
    pub fn at_most(self, n: usize) -> usize {
        (self.0 as u128 * n as u128 / u128::from(WHOLE)) as usize
    }

    /// As few of `n` things as are no less than this share.
    pub fn at_least(self, n: usize) -> usize {
        (self.0 as u128 * n as u128).div_ceil(u128::from(WHOLE)) as usize
    }

    /// As a number; its shortest decimal form is the one that was written.
    pub fn value(self) -> f64 {
        self.0 as f64 / WHOLE as f64
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(v) if (0.0..=1.0).contains(&v) => Ok(Self((v * WHOLE as f64).round() as u64)),
            _ => Err("expected a share from 0 to 1, such as 0.05".to_owned()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl serde::Serialize for Share {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    /// Python: `from fractions import Fraction as F; [(n, s, int(n * F(s)), math.ceil(n * F(s))) for …]`.
    #[test]
    fn shares_are_those_of_exact_fractions() {
        for (n, text, at_most, at_least) in [
            (20, "0.05", 1, 1),
            (30, "0.05", 1, 2),
            (40, "0.05", 2, 2),
            (160, "0.05", 8, 8),
            (10, "0.1", 1, 1),
            (5, ".2", 1, 1),
            (10, "0.9", 9, 9),
            (100, "0.29", 29, 29),
            (100, "1e-2", 1, 1),
            (7, "0", 0, 0),
            (7, "1", 7, 7),
        ] {
            let s = share(text);
            assert_eq!((s.at_most(n), s.at_least(n)), (at_most, at_least), "{text} of {n}");
        }
    }

    /// k / 1000 of n against whole numbers, every k and many n.
    #[test]
    fn every_thousandth_of_every_number_is_exact() {
        for k in 0..=1000usize {
            let s = share(&format!("{}.{:03}", k / 1000, k % 1000));
            assert_eq!(s, Share::of_parts(k as u32, 1000));
            assert_eq!(s, Share::written_as(s.value() as f32));
            for n in 0..=600 {
                assert_eq!(s.at_most(n), k * n / 1000, "{k}/1000 of {n}");
                assert_eq!(s.at_least(n), (k * n).div_ceil(1000), "{k}/1000 of {n}");
            }
        }
    }

    #[test]
    fn headers_say_what_was_written() {
        assert_eq!(serde_json_text(share("0.05")), "0.05");
        assert_eq!(share("0.123").to_string(), "0.123");
        for bad in ["-0.1", "1.1", "nan", "5%", ""] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    fn serde_json_text(share: Share) -> String {
        let settings = artifacts::Provenance::new("prune channels", &share).unwrap().settings;
        settings.to_string()
    }
}
