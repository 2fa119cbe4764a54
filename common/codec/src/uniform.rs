//! Rounding to uniform grids about zero ([`graph::grid`]): weight = scale · q, one scale per row.
//!
//! A row is an output channel, or a whole tensor. Because the integers are entropy-coded, `bits` only
//! bounds them; what decides size and loss is the scale. [`round`] spends less than the nearest
//! integers do, where it costs little (rate–distortion, as in Wiedemann et al. 2020, "DeepCABAC",
//! section 3.3).

use anyhow::{Result, ensure};
use graph::grid::{Scale, top};

/// The nearest integer, the even one of two, clipped at `top`.
#[inline(always)]
pub(crate) fn nearest(v: f32, scale: f32, top: i16) -> i16 {
    integer(v, scale, f32::from(top)) as i16
}

/// [`nearest`] as a float. Where whole numbers are all that floats can tell apart, an addition rounds to them: that
/// is a few instructions everywhere, rounding by name a call where the processor is not known when this is compiled.
#[inline(always)]
fn integer(v: f32, scale: f32, top: f32) -> f32 {
    const WHOLE: f32 = 1.5 * (1 << 23) as f32;
    ((v / scale).clamp(-top, top) + WHOLE) - WHOLE
}

/// Scales tried per row: two octaves.
const CANDIDATES: i16 = 34;

/// The scale with the smallest squared error: between covering the largest weight, which wastes the
/// grid on it, and clipping at a quarter of that.
///
/// # Errors
/// Weights beyond what scales can reach.
pub(crate) fn best_scale(row: &[f32], bits: u8) -> Result<Scale> {
    let top = top(bits);
    let largest = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let covering = Scale::nearest(largest / f32::from(top)).coarser(1);
    ensure!(covering.code() < *Scale::RANGE.end(), "a weight of {largest:e}: was training stable?");
    let mut best = (f64::INFINITY, covering);
    // Several at a time: each sum waits for its last addition.
    const TOGETHER: usize = 8;
    for first in (0..CANDIDATES).step_by(TOGETHER) {
        let scales: [Scale; TOGETHER] =
            std::array::from_fn(|i| covering.coarser(-(first + i as i16).min(CANDIDATES - 1)));
        let values = scales.map(Scale::value);
        let mut errors = [0.0f64; TOGETHER];
        for v in row {
            for (error, s) in errors.iter_mut().zip(values) {
                *error += f64::from(v - s * integer(*v, s, f32::from(top))).powi(2);
            }
        }
        for (error, scale) in errors.into_iter().zip(scales) {
            if error < best.0 {
                best = (error, scale);
            }
        }
    }
    Ok(best.1)
}

/// Integers for `values`, rows of equal length: those with the least
/// `error² / scale² + lambda · bits`, where bits are the ideal ones for the frequencies of the nearest
/// integers. With `lambda` 0, the nearest.
pub(crate) fn round(values: &[f32], scales: &[Scale], bits: u8, lambda: f32) -> Vec<i16> {
    let top = top(bits);
    let columns = (values.len() / scales.len().max(1)).max(1);
    let rows = || values.chunks(columns).zip(scales);
    let mut codes: Vec<i16> =
        rows().flat_map(|(row, s)| row.iter().map(move |v| nearest(*v, s.value(), top))).collect();
    if lambda <= 0.0 {
        return codes;
    }
    // Twice: rounding changes the frequencies it is decided by.
    for _ in 0..2 {
        let price = prices(&codes, top);
        codes = rows()
            .flat_map(|(row, s)| {
                let (price, s) = (&price, s.value());
                row.iter().map(move |v| cheapest(v / s, top, price, lambda))
            })
            .collect();
    }
    codes
}

/// Bits of each integer from −top to top at the frequencies of `codes`.
fn prices(codes: &[i16], top: i16) -> Vec<f32> {
    let mut counts = vec![0.5f32; 2 * top as usize + 1];
    for q in codes {
        counts[(q + top) as usize] += 1.0;
    }
    let total: f32 = counts.iter().sum();
    counts.iter().map(|c| (total / c).log2()).collect()
}

/// Among the nearest integer and those between it and zero that could pay.
fn cheapest(v: f32, top: i16, price: &[f32], lambda: f32) -> i16 {
    let first = nearest(v, 1.0, top);
    let cost = |q: i16| (v - f32::from(q)).powi(2) + lambda * price[(q + top) as usize];
    let towards_zero = [first, first - first.signum(), first - 2 * first.signum(), 0];
    let mut best = (cost(first), first);
    for q in towards_zero {
        if q.signum() * first.signum() >= 0 && cost(q) < best.0 {
            best = (cost(q), q);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the library, at the ends of every step and beyond the grid.
    #[test]
    fn integers_are_the_nearest() {
        for i in -2000..2000i16 {
            for v in [f32::from(i) / 8.0, f32::from(i) / 8.0 + 1e-4, f32::from(i) * 1e6] {
                for top in [1i16, 3, 127] {
                    let t = f32::from(top);
                    let expected = (v / 0.5).round_ties_even().clamp(-t, t) as i16;
                    assert_eq!(nearest(v, 0.5, top), expected, "{v} of {top}");
                }
            }
        }
        assert_eq!(nearest(f32::NAN, 1.0, 7), 0);
    }

    /// By hand: with one outlier of 8 among seven weights of ±1 and two bits (q in −1..=1), the
    /// covering scale 8 loses all the ones (error 7); clipping loses (8 − s)² + 7 (1 − s)² for
    /// s < 2 and (8 − s)² + 7 above, more for every scale down to a quarter of 8. So 8 stays.
    /// Without the outlier 1 is exact.
    #[test]
    fn the_scale_minimises_the_squared_error() -> Result<()> {
        let ones = [1.0f32, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0];
        assert_eq!(best_scale(&ones, 2)?.value(), 1.0);
        let mut outlier = ones.to_vec();
        outlier.push(8.0);
        assert_eq!(best_scale(&outlier, 2)?.value(), 8.0);
        assert!(best_scale(&[1e38], 2).is_err());
        Ok(())
    }

    /// Gaussian weights come back with the noise that the best uniform grid leaves, in dB
    /// (`tests/reference/gaussian_grid.py`).
    #[test]
    fn gaussian_weights_lose_what_the_best_grid_loses() -> Result<()> {
        let rng = &mut graph::rng::Rng::new(4, "gaussian", 0);
        let values: Vec<f32> = (0..50_000).map(|_| rng.normal()).collect();
        for (bits, ideal) in [(2, 7.21), (3, 13.29), (4, 18.90), (5, 24.33), (6, 29.71), (7, 35.11)]
        {
            let scale = best_scale(&values, bits)?;
            let codes = round(&values, &[scale], bits, 0.0);
            let back = codes.iter().map(|q| scale.value() * f32::from(*q));
            let noise: f64 = values.iter().zip(back).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let signal: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            let sqnr = 10.0 * (signal / noise).log10();
            assert!((sqnr - ideal).abs() < 0.3, "{bits} bits: {sqnr} dB, ideal {ideal}");
        }
        Ok(())
    }

    /// By hand: of 0.6 and 0.4 at a price of 2 bits for ±1 and 0.5 for 0 (λ = 0.2), 0.6 costs
    /// 0.16 + 0.4 as 1 and 0.36 + 0.1 as 0: it becomes 0. At λ = 0.05 0.26 against 0.385: it stays.
    #[test]
    fn rounding_weighs_error_against_bits() {
        let price = [2.0, 0.5, 2.0];
        assert_eq!(cheapest(0.6, 1, &price, 0.2), 0);
        assert_eq!(cheapest(0.6, 1, &price, 0.05), 1);
        assert_eq!(cheapest(-0.6, 1, &price, 0.05), -1);
        assert_eq!(cheapest(0.4, 1, &price, 0.05), 0);
        // A cheap integer never lets a weight change its sign.
        assert_eq!(cheapest(-0.6, 1, &[9.0, 9.0, 0.0], 0.2), -1);
    }
}
