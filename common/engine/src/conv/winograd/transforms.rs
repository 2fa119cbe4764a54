//! The transforms of minimal filtering, each along one line of a tile; twice, down the columns and along the
//! rows, they transform a tile.
//!
//! With the polynomials' points 0, ±a, ±b and ∞ (F(4×4, 3×3)) or 0, ±1 and ∞ (F(2×2, 3×3)) sums and differences
//! serve two points each, so that a line costs a dozen operations, not the 36 of a product with the matrix.

use crate::simd::mul_add;
use std::mem::MaybeUninit;

/// The points of F(4×4, 3×3), which f32 holds exactly, as it does what is computed from them below.
///
/// With 64 to 512 input channels the largest error, by the largest output, was 1.1 to 2.3e-6 (its mean square
/// 0.6 to 1.6e-6); the usual ±1, ±2 gave 6.8 to 8.2e-6 (1.3 to 3.4e-6), ±1, ±1/2 3.8 to 12e-6, ±5/8, ±3/2
/// 1.4 to 2.8e-6, ±1/√2, ±√2 1.0 to 2.3e-6; summed directly it is 0.6 to 1.7e-6 (0.3 to 0.8e-6).
const A: f32 = 0.75;
const B: f32 = 1.5;
/// Squares of the points.
const A2: f32 = A * A;
const B2: f32 = B * B;
/// What Lagrange's polynomials of the points are divided by, here within the weights.
const AT_0: f32 = A2 * B2;
const AT_A: f32 = 2.0 * A2 * (A2 - B2);
const AT_B: f32 = 2.0 * B2 * (B2 - A2);

/// A tile transformed along its columns. Its vectors lie within cache lines, and it is not filled before: either
/// took as long as the arithmetic.
#[repr(align(64))]
struct Half<const I: usize, const O: usize, const N: usize>([[[MaybeUninit<f32>; N]; I]; O]);

/// `line` down every column of a tile, then along every row, of the first `N` channels each of `pixel(row,
/// column)`; the results go to `put(row, column, values)`.
///
/// Channels are the innermost loop around a line of scalars: that is what the compiler makes vectors of. Given
/// lines of arrays it kept copying them (24 times the time).
#[inline(always)]
#[allow(clippy::needless_range_loop)] // the lane is the last index of arrays of arrays
pub(super) fn both<'a, const I: usize, const O: usize, const N: usize>(
    pixel: impl Fn(usize, usize) -> &'a [f32],
    line: impl Fn([f32; I]) -> [f32; O],
    mut put: impl FnMut(usize, usize, &[f32; N]),
) {
    let mut half = Half([[[MaybeUninit::uninit(); N]; I]; O]);
    for j in 0..I {
        let column: [&[f32; N]; I] =
            std::array::from_fn(|i| pixel(i, j).first_chunk().expect("a pixel has the channels"));
        for l in 0..N {
            let r = line(std::array::from_fn(|i| column[i][l]));
            for o in 0..O {
                half.0[o][j][l].write(r[o]);
            }
        }
    }
    for (y, row) in half.0.iter().enumerate() {
        let mut out = [[0.0; N]; O];
        for l in 0..N {
            // SAFETY: the loops above wrote all I columns of all O rows.
            let v = std::array::from_fn(|i| unsafe { row[i][l].assume_init() });
            let r = line(v);
            for o in 0..O {
                out[o][l] = r[o];
            }
        }
        for (x, out) in out.iter().enumerate() {
            put(y, x, out);
        }
    }
}

/// Bᵀ: inputs to what is multiplied.
#[inline(always)]
pub(super) fn input<const FMA: bool, const P: usize, const Q: usize>(d: [f32; P]) -> [f32; Q] {
    let m = mul_add::<FMA>;
    let mut out = [0.0; Q];
    if P == 4 {
        (out[0], out[1], out[2], out[3]) = (d[0] - d[2], d[2] + d[1], d[2] - d[1], d[3] - d[1]);
        return out;
    }
    let (even, odd) = (m(-B2, d[2], d[4]), m(-B2, d[1], d[3]));
    (out[1], out[2]) = (m(A, odd, even), m(-A, odd, even));
    let (even, odd) = (m(-A2, d[2], d[4]), m(-A2, d[1], d[3]));
    (out[3], out[4]) = (m(B, odd, even), m(-B, odd, even));
    out[0] = m(-B2, m(-A2, d[0], d[2]), even);
    out[5] = m(-B2, odd, m(-A2, d[3], d[5]));
    out
}

/// G: weights to what inputs are multiplied with.
#[inline(always)]
pub(super) fn weight<const FMA: bool, const K: usize, const P: usize>(g: [f32; K]) -> [f32; P] {
    let m = mul_add::<FMA>;
    let mut out = [0.0; P];
    out[P - 1] = g[2];
    if P == 4 {
        let (even, odd) = (0.5 * (g[0] + g[2]), 0.5 * g[1]);
        (out[0], out[1], out[2]) = (g[0], even + odd, even - odd);
        return out;
    }
    out[0] = 1.0 / AT_0 * g[0];
    let even = m(A2 / AT_A, g[2], 1.0 / AT_A * g[0]);
    (out[1], out[2]) = (m(A / AT_A, g[1], even), m(-A / AT_A, g[1], even));
    let even = m(B2 / AT_B, g[2], 1.0 / AT_B * g[0]);
    (out[3], out[4]) = (m(B / AT_B, g[1], even), m(-B / AT_B, g[1], even));
    out
}

/// Aᵀ: sums of products to outputs.
#[inline(always)]
pub(super) fn output<const FMA: bool, const P: usize, const M: usize>(v: [f32; P]) -> [f32; M] {
    let m = mul_add::<FMA>;
    let mut out = [0.0; M];
    let (even, odd) = (v[1] + v[2], v[1] - v[2]);
    if P == 4 {
        (out[0], out[1]) = (v[0] + even, odd + v[3]);
        return out;
    }
    let (even_b, odd_b) = (v[3] + v[4], v[3] - v[4]);
    out[0] = v[0] + (even + even_b);
    out[1] = m(B, odd_b, A * odd);
    out[2] = m(B2, even_b, A2 * even);
    out[3] = m(B2 * B, odd_b, m(A2 * A, odd, v[5]));
    out
}

/// A, the transpose of [`output`]: gradients of outputs to those of sums of products.
#[inline(always)]
pub(super) fn gradient<const FMA: bool, const M: usize, const P: usize>(d: [f32; M]) -> [f32; P] {
    let m = mul_add::<FMA>;
    let mut out = [0.0; P];
    (out[0], out[P - 1]) = (d[0], d[M - 1]);
    if P == 4 {
        (out[1], out[2]) = (d[0] + d[1], d[0] - d[1]);
        return out;
    }
    let (even, odd) = (m(A2, d[2], d[0]), m(A2 * A, d[3], A * d[1]));
    (out[1], out[2]) = (even + odd, even - odd);
    let (even, odd) = (m(B2, d[2], d[0]), m(B2 * B, d[3], B * d[1]));
    (out[3], out[4]) = (even + odd, even - odd);
    out
}

/// Gᵀ, the transpose of [`weight`]: gradients of transformed weights to those of weights.
#[inline(always)]
pub(super) fn weight_gradient<const FMA: bool, const P: usize, const K: usize>(
    v: [f32; P],
) -> [f32; K] {
    let m = mul_add::<FMA>;
    let mut out = [0.0; K];
    let (even, odd) = (v[1] + v[2], v[1] - v[2]);
    if P == 4 {
        (out[0], out[1], out[2]) = (m(0.5, even, v[0]), 0.5 * odd, m(0.5, even, v[3]));
        return out;
    }
    let (even_b, odd_b) = (v[3] + v[4], v[3] - v[4]);
    out[0] = m(1.0 / AT_B, even_b, m(1.0 / AT_A, even, 1.0 / AT_0 * v[0]));
    out[1] = m(B / AT_B, odd_b, A / AT_A * odd);
    out[2] = m(B2 / AT_B, even_b, m(A2 / AT_A, even, v[5]));
    out
}
