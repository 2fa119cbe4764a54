//! Uniform grids between two ends, one per output channel, in a fixed number of bits.
//!
//! Channel `c` covers `low_c ..= low_c + (2^bits − 1) · scale_c`, the smallest such range that holds
//! its weights with `low` and `scale` in half precision. At 8 bits this is the course tutorial's
//! min-max coding (its one range per tensor widened the scale of every channel to that of the widest).

use anyhow::{Context, Result, ensure};
use graph::Array;
use half::f16;

/// Bytes of a channel's grid: low and scale.
pub(crate) const GRID_BYTES: usize = 4;

/// Bytes that `n` codes take.
pub(crate) fn code_bytes(n: usize, bits: u8) -> usize {
    n.saturating_mul(usize::from(bits)).div_ceil(8)
}

/// The half-precision number next to `h` in the given direction.
fn neighbour(h: f16, up: bool) -> f16 {
    let bits = h.to_bits();
    if bits & 0x7fff == 0 {
        return f16::from_bits(if up { 0x0001 } else { 0x8001 });
    }
    let away = h.is_sign_negative() != up;
    f16::from_bits(if away { bits + 1 } else { bits - 1 })
}

/// `low` rounded down and `scale` rounded up, so that the grid covers `min..=max`.
fn cover(min: f32, max: f32, top: f32) -> (f16, f16) {
    let mut low = f16::from_f32(min);
    if low.to_f32() > min {
        low = neighbour(low, false);
    }
    let mut scale = f16::from_f32((max - low.to_f32()) / top);
    while low.to_f32() + scale.to_f32() * top < max {
        scale = neighbour(scale, true);
    }
    (low, scale)
}

/// Append the grids `[channels × (low, scale)]`, then the codes, `bits` each, low bits first.
pub(crate) fn encode(array: &Array, bits: u8, out: &mut Vec<u8>) -> Result<()> {
    let top = f32::from(u8::MAX >> (8 - bits));
    let channels = array.shape[0];
    let per_channel = array.values.len() / channels.max(1);
    let mut codes = Vec::with_capacity(array.values.len());
    for channel in array.values.chunks_exact(per_channel.max(1)) {
        let min = channel.iter().copied().fold(f32::INFINITY, f32::min);
        let max = channel.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = f16::MAX.to_f32();
        ensure!(min > -largest && max < largest, "{min}..{max} is beyond half precision");
        let (low, scale) = cover(min, max, top);
        out.extend(low.to_le_bytes());
        out.extend(scale.to_le_bytes());
        let (low, scale) = (low.to_f32(), scale.to_f32());
        codes.extend(channel.iter().map(|v| {
            let q = if scale > 0.0 { (v - low) / scale } else { 0.0 };
            q.round_ties_even().clamp(0.0, top) as u8
        }));
    }
    pack(&codes, bits, out);
    Ok(())
}

/// Append `codes`, `bits` each, low bits first.
fn pack(codes: &[u8], bits: u8, out: &mut Vec<u8>) {
    let (mut pending, mut n) = (0u32, 0);
    for q in codes {
        pending |= u32::from(*q) << n;
        n += u32::from(bits);
        while n >= 8 {
            out.push((pending & 0xff) as u8);
            pending >>= 8;
            n -= 8;
        }
    }
    if n > 0 {
        out.push((pending & 0xff) as u8);
    }
}

/// The inverse of [`pack`]: `n` codes; bytes that are missing read as 0.
fn unpack(bytes: &[u8], bits: u8, n: usize) -> Vec<u8> {
    let byte = |i: usize| u16::from(bytes.get(i).copied().unwrap_or(0));
    let code = |i: usize| {
        let at = i * usize::from(bits);
        let pair = byte(at / 8) | byte(at / 8 + 1) << 8;
        ((pair >> (at % 8)) & (0xff >> (8 - bits))) as u8
    };
    (0..n).map(code).collect()
}

/// Weights of `shape` from its grids and codes.
pub(crate) fn decode(shape: Vec<usize>, bits: u8, grids: &[u8], codes: &[u8]) -> Result<Array> {
    let n: usize = shape.iter().product();
    let codes = unpack(codes, bits, n);
    let per_channel = n / shape[0].max(1);
    let mut values = Vec::with_capacity(n);
    let channels = codes.chunks_exact(per_channel.max(1));
    for ([l0, l1, s0, s1], codes) in grids.as_chunks().0.iter().zip(channels) {
        let low = f16::from_le_bytes([*l0, *l1]).to_f32();
        let scale = f16::from_le_bytes([*s0, *s1]).to_f32();
        values.extend(codes.iter().map(|q| low + scale * f32::from(*q)));
    }
    Array::new(shape, values).context("codes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::rng::Rng;

    #[test]
    fn every_weight_is_within_half_a_step() -> Result<()> {
        let rng = &mut Rng::new(1, "grid", 0);
        let mut values: Vec<f32> = (0..396).map(|_| rng.normal()).collect();
        values[99..198].fill(0.25); // a channel of equal weights
        values[198..297].fill(0.0); // and one of none
        values[297..].iter_mut().for_each(|v| *v *= 1e-6); // subnormal halves
        let array = Array::new(vec![4, 99, 1, 1], values)?;
        for bits in 2..=8 {
            let mut out = Vec::new();
            encode(&array, bits, &mut out)?;
            let (grids, codes) = out.split_at(4 * GRID_BYTES);
            assert_eq!(codes.len(), code_bytes(396, bits));
            let back = decode(array.shape.clone(), bits, grids, codes)?;
            for (c, (a, b)) in array.values.chunks(99).zip(back.values.chunks(99)).enumerate() {
                let scale = f16::from_le_bytes([grids[4 * c + 2], grids[4 * c + 3]]).to_f32();
                for (x, y) in a.iter().zip(b) {
                    let close = (x - y).abs() <= scale * 0.5001;
                    assert!(close, "{bits} bits, channel {c}: {x} became {y}, scale {scale}");
                }
            }
            assert_eq!(back.values[150], 0.25);
            assert_eq!(back.values[250], 0.0);
        }
        Ok(())
    }

    /// Worked by hand: −1, 0, 1.55 → low −1, scale 0.01 → the next half above 2.55 / 255.
    #[test]
    fn a_worked_channel() -> Result<()> {
        let mut out = Vec::new();
        encode(&Array::new(vec![1, 3, 1, 1], vec![-1.0, 0.0, 1.55])?, 8, &mut out)?;
        // −1 = 0xbc00; 0.01 lies between 0x211e = 0.0099945 and 0x211f = 0.0100021.
        assert_eq!(out, [0x00, 0xbc, 0x1f, 0x21, 0, 100, 255]);
        Ok(())
    }

    /// By hand: 1, 2, 3, 4, 5 in 3 bits, low bits first: 0b11_010_001, 0b0_101_100_0.
    #[test]
    fn worked_bits() {
        let mut out = Vec::new();
        pack(&[1, 2, 3, 4, 5], 3, &mut out);
        assert_eq!(out, [0b1101_0001, 0b0101_1000]);
        assert_eq!(unpack(&out, 3, 5), [1, 2, 3, 4, 5]);
    }
}
