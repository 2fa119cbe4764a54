//! The values that quantized weights may have: uniform grids about zero.
//!
//! A weight is `scale · q` with a whole number `|q| ≤ 2^(bits − 1) − 1`; a grid has a scale per output
//! channel, or one for the tensor.

use crate::error::{Error, Result, ensure};
use crate::network::Graph;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A scale: `(16 + m) · 2^(e − 4)`, kept as the code `16 e + m`.
///
/// Sixteen scales per octave, at most 6 % apart: choosing among these instead of all numbers costs
/// less than the noise of 8-bit weights, and a code takes about 5 bits instead of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scale(i16);

impl Scale {
    /// Smallest and largest code: from 2⁻⁶⁴ up to below 2⁶⁴.
    pub const RANGE: RangeInclusive<i16> = -1024..=1023;

    /// The scale with this code, or the nearest that exists.
    pub fn from_code(code: i16) -> Self {
        Self(code.clamp(*Self::RANGE.start(), *Self::RANGE.end()))
    }

    /// Its code.
    pub fn code(self) -> i16 {
        self.0
    }

    /// The scale nearest to `v`; the smallest one for numbers that are not above zero.
    pub fn nearest(v: f32) -> Self {
        if v <= 0.0 || v.is_nan() {
            return Self(*Self::RANGE.start());
        }
        // Exponent and the first four bits of the fraction, rounded: read off the number itself,
        // so that every machine finds the same.
        let rounded = v.min(f32::MAX / 2.0).to_bits() + (1 << 18);
        let code = (rounded >> 19) as i32 - (127 << 4);
        Self::from_code(code.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16)
    }

    /// Its value, exact.
    pub fn value(self) -> f32 {
        f32::from_bits(((i32::from(self.0) + (127 << 4)) as u32) << 19)
    }

    /// This scale times about 2^(sixteenths / 16).
    pub fn coarser(self, sixteenths: i16) -> Self {
        Self::from_code(self.0.saturating_add(sixteenths))
    }
}

/// The grid of one tensor, without its integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Bits that bound the integers: 2 to [`MOST_BITS`].
    pub bits: u8,
    /// A scale per output channel, or one for the tensor.
    pub scales: Vec<Scale>,
}

/// Grids by tensor.
pub type Grids = BTreeMap<String, Grid>;

/// Most bits of an integer.
pub const MOST_BITS: u8 = 12;

/// Largest magnitude at `bits` per weight.
pub fn top(bits: u8) -> i16 {
    (1 << (bits - 1)) - 1
}

/// Checks that every grid is of a trained tensor of `graph` that its rows divide.
///
/// # Errors
/// The tensor that does not fit.
pub fn check(grids: &Grids, graph: &Graph) -> Result<()> {
    let parameters: BTreeMap<_, _> = graph.parameters().map(|p| (p.name.clone(), p)).collect();
    for (name, Grid { bits, scales }) in grids {
        let nowhere = || Error::new(format!("a grid for {name}, which the network does not have"));
        let parameter = parameters.get(name).ok_or_else(nowhere)?;
        ensure!(parameter.role.is_trained(), "a grid for the statistics {name}");
        let rows = [1, parameter.shape.first().copied().unwrap_or(1)];
        ensure!(
            rows.contains(&scales.len())
                && (2..=MOST_BITS).contains(bits)
                && scales.iter().all(|s| Scale::RANGE.contains(&s.code())),
            "{name}: a grid of {} scales and {bits} bits",
            scales.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_their_nearest() {
        for code in Scale::RANGE {
            let scale = Scale::from_code(code);
            assert_eq!(Scale::nearest(scale.value()), scale);
            assert_eq!(Scale::nearest(scale.value() * 1.014), scale, "{code}");
            // By definition: (16 + m) · 2^(e − 4).
            let (e, m) = (code.div_euclid(16), code.rem_euclid(16));
            let exact = (16.0 + f64::from(m)) * 2f64.powi(i32::from(e) - 4);
            assert_eq!(f64::from(scale.value()), exact);
        }
        assert_eq!(Scale::nearest(0.0), Scale::from_code(-1024));
        assert_eq!(Scale::nearest(f32::INFINITY), Scale::from_code(1023));
        assert_eq!(Scale::nearest(1.99), Scale::nearest(2.0));
    }

    /// Statistics of the pictures are no weights: a grid for them would round and average them.
    #[test]
    fn statistics_have_no_grid() -> Result<()> {
        let graph: Graph = "input 3;n:bn 3;gap;f:linear 3>2".parse()?;
        let grid = |scales| Grid { bits: 4, scales: vec![Scale::from_code(0); scales] };
        let check =
            |name: &str, scales| check(&Grids::from([(name.to_owned(), grid(scales))]), &graph);
        assert!(check("n.weight", 1).is_ok() && check("f.weight", 2).is_ok());
        assert!(check("n.running_var", 1).unwrap_err().to_string().contains("statistics"));
        assert!(check("f.weight", 3).is_err() && check("f.bias", 1).is_err());
        Ok(())
    }
}
