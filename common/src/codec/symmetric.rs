//! Uniform grids about zero, one step per output channel: weight = step · q, `|q| ≤ 2^(bits−1) − 1`.

use crate::array::Array;
use anyhow::{Result, ensure};
use half::f16;

/// Largest magnitude at `bits` per weight.
pub(super) fn top(bits: u8) -> u32 {
    (1 << (bits - 1)) - 1
}

/// Steps tried per channel.
const CANDIDATES: u32 = 24;

/// The nearest grid point.
fn nearest(v: f32, step: f32, top: f32) -> f32 {
    if step > 0.0 { (v / step).round_ties_even().clamp(-top, top) } else { 0.0 }
}

/// The step with the smallest squared error: between covering the largest weight, which wastes the
/// grid on it, and clipping at a third of that.
fn best_step(channel: &[f32], top: f32) -> f16 {
    let largest = channel.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let mut best = (f64::INFINITY, f16::ZERO);
    for i in 0..CANDIDATES {
        let clip = 1.0 - 0.667 * i as f32 / (CANDIDATES - 1) as f32;
        let step = f16::from_f32(largest * clip / top);
        let s = step.to_f32();
        let error: f64 =
            channel.iter().map(|v| f64::from(v - s * nearest(*v, s, top)).powi(2)).sum();
        if error < best.0 {
            best = (error, step);
        }
    }
    best.1
}

/// The steps of all channels and the integers.
///
/// # Errors
/// Weights too large for half precision.
pub(super) fn quantize(array: &Array, bits: u8) -> Result<(Vec<f16>, Vec<i8>)> {
    let top = top(bits) as f32;
    let per_channel = array.values.len() / array.shape[0].max(1);
    let mut steps = Vec::with_capacity(array.shape[0]);
    let mut codes = Vec::with_capacity(array.values.len());
    for channel in array.values.chunks_exact(per_channel.max(1)) {
        let step = best_step(channel, top);
        ensure!(step.is_finite(), "weights too large for half precision");
        steps.push(step);
        codes.extend(channel.iter().map(|v| nearest(*v, step.to_f32(), top) as i8));
    }
    Ok((steps, codes))
}

/// Weights of `shape` from steps and integers.
pub(super) fn dequantize(shape: Vec<usize>, steps: &[f16], codes: &[i8]) -> Result<Array> {
    let per_channel = codes.len() / shape[0].max(1);
    let channels = codes.chunks_exact(per_channel.max(1)).zip(steps);
    let values = channels
        .flat_map(|(codes, step)| codes.iter().map(|q| step.to_f32() * f32::from(*q)))
        .collect();
    Array::new(shape, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: with one outlier of 8 among seven weights of ±1 and two bits (q in −1..=1), the
    /// covering step 8 loses all the ones (error 7); clipping loses (8 − s)² + 7 (1 − s)², least at
    /// the smallest step tried, 8 · 0.333 = 2.66: (5.34)² + 7 · 1 > 7. So 8 stays.
    /// Without the outlier 1 is exact.
    #[test]
    fn the_step_minimises_the_squared_error() {
        let ones = [1.0f32, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0];
        assert_eq!(best_step(&ones, 1.0).to_f32(), 1.0);
        let mut outlier = ones.to_vec();
        outlier.push(8.0);
        assert_eq!(best_step(&outlier, 1.0).to_f32(), 8.0);
        assert_eq!(best_step(&[0.0; 4], 7.0).to_f32(), 0.0);
    }

    #[test]
    fn weights_come_back_within_half_a_step_or_clipped() -> Result<()> {
        let values: Vec<f32> = (0..90).map(|i| ((i * 37) % 91) as f32 / 45.0 - 1.0).collect();
        let array = Array::new(vec![3, 30], values)?;
        for bits in 2..=7 {
            let (steps, codes) = quantize(&array, bits)?;
            let back = dequantize(array.shape.clone(), &steps, &codes)?;
            for (i, (a, b)) in array.values.iter().zip(&back.values).enumerate() {
                let step = steps[i / 30].to_f32();
                let clipped = u32::from(codes[i].unsigned_abs()) == top(bits);
                assert!(clipped || (a - b).abs() <= step * 0.5001, "{bits} bits: {a} {b}");
            }
        }
        Ok(())
    }

    /// Gaussian weights come back with the noise that the best uniform grid leaves, in dB
    /// (`tests/reference/gaussian_grid.py`).
    #[test]
    fn gaussian_weights_lose_what_the_best_grid_loses() -> Result<()> {
        let rng = &mut crate::rng::Rng::new(4, "gaussian", 0);
        let array = Array::new(vec![1, 50_000], (0..50_000).map(|_| rng.normal()).collect())?;
        for (bits, ideal) in [(2, 7.21), (3, 13.29), (4, 18.90), (5, 24.33), (6, 29.71), (7, 35.11)]
        {
            let (steps, codes) = quantize(&array, bits)?;
            let back = dequantize(array.shape.clone(), &steps, &codes)?;
            let pairs = array.values.iter().zip(&back.values);
            let noise: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let signal: f64 = array.values.iter().map(|v| f64::from(*v).powi(2)).sum();
            let sqnr = 10.0 * (signal / noise).log10();
            assert!((sqnr - ideal).abs() < 0.3, "{bits} bits: {sqnr} dB, ideal {ideal}");
        }
        Ok(())
    }
}
