//! Batch norm on slices.

use super::Moments;
use crate::parallel::{block_rows, collect_blocks, sum_blocks};
use crate::simd::{dispatch, for_channels, load, mul_add};

/// `y = x · scale + shift` per channel.
#[derive(Clone, Debug)]
pub struct Affine {
    /// `[c]`
    pub scale: Vec<f32>,
    /// `[c]`
    pub shift: Vec<f32>,
}

impl Affine {
    /// Batch norm with the given statistics.
    pub fn new(gamma: &[f32], beta: &[f32], moments: &Moments, epsilon: f32) -> Self {
        let scale: Vec<f32> =
            gamma.iter().zip(&moments.variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift = beta
            .iter()
            .zip(&moments.mean)
            .zip(&scale)
            .map(|((b, m), s)| m.mul_add(-s, *b))
            .collect();
        Self { scale, shift }
    }
}

/// Mean and variance of each channel of `x` `[rows, channels]`.
///
/// Sums are taken of `x − x[0]`: with the first row as a pivot, a mean that is large against the
/// deviation does not cancel the variance away.
pub fn moments(x: &[f32], channels: usize) -> Moments {
    let rows = x.len() / channels.max(1);
    let pivot = x.get(..channels).unwrap_or_default();
    let sums = sum_blocks(rows, block_rows(channels), 2 * channels, |r, partial| {
        pivoted_sums(&x[r.start * channels..r.end * channels], pivot, partial);
    });
    let n = rows.max(1) as f64;
    let (first, second) = sums.split_at(channels);
    let mean = first.iter().zip(pivot).map(|(s, p)| (s / n + f64::from(*p)) as f32).collect();
    let variance =
        first.iter().zip(second).map(|(s, q)| (q / n - (s / n).powi(2)).max(0.0) as f32).collect();
    Moments { mean, variance, count: rows }
}

dispatch! {
    /// `sums[0..c] += Σ d`, `sums[c..2c] += Σ d²` with `d = x − pivot`.
    fn pivoted_sums(x: &[f32], pivot: &[f32], sums: &mut [f32]) = pivoted_sums_body
}

#[inline(always)]
fn pivoted_sums_body<const FMA: bool>(x: &[f32], pivot: &[f32], sums: &mut [f32]) {
    let c = pivot.len();
    for_channels!(c, |c0, N| {
        let p = load::<N>(pivot, c0);
        let (mut s, mut q) = ([[0.0f32; N]; 2], [[0.0f32; N]; 2]);
        for (r, row) in x.chunks_exact(c).enumerate() {
            let v = load::<N>(row, c0);
            let (s, q) = (&mut s[r & 1], &mut q[r & 1]);
            for i in 0..N {
                let d = v[i] - p[i];
                s[i] += d;
                q[i] = mul_add::<FMA>(d, d, q[i]);
            }
        }
        for i in 0..N {
            sums[c0 + i] += s[0][i] + s[1][i];
            sums[c + c0 + i] += q[0][i] + q[1][i];
        }
    });
}

/// Repeats a per-channel vector so that loops over few channels are long enough to vectorise.
fn repeated(v: &[f32]) -> Vec<f32> {
    v.repeat((256 / v.len().max(1)).max(1))
}

/// `clamp(x · scale + shift, lo, hi)` per channel of `x` `[rows, channels]`.
pub fn scale(x: &[f32], affine: &Affine, lo: f32, hi: f32) -> Vec<f32> {
    let (a, b) = (repeated(&affine.scale), repeated(&affine.shift));
    let block = a.len() * block_rows(a.len());
    collect_blocks(x.len(), block, |i, y| {
        scale_block(&x[i * block..i * block + y.len()], &a, &b, y, lo, hi);
    })
}

dispatch! {
    fn scale_block(x: &[f32], a: &[f32], b: &[f32], y: &mut [f32], lo: f32, hi: f32)
        = scale_block_body
}

#[inline(always)]
fn scale_block_body<const FMA: bool>(
    x: &[f32],
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    lo: f32,
    hi: f32,
) {
    for (x, y) in x.chunks(a.len()).zip(y.chunks_mut(a.len())) {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(a).zip(b) {
            *y = mul_add::<FMA>(*x, *a, *b).max(lo).min(hi);
        }
    }
}

/// Gradients `(dx, dγ, dβ)` for input `x`, output `y` and output gradient `grad`, all
/// `[rows, channels]`; `bounds` = (ε, lo, hi). At the bounds the gradient is zero, as in PyTorch.
pub fn backward(
    x: &[f32],
    y: &[f32],
    grad: &[f32],
    gamma: &[f32],
    moments: &Moments,
    (epsilon, lo, hi): (f32, f32, f32),
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let c = gamma.len();
    let rows = moments.count;
    let sums = sum_blocks(rows, block_rows(c), 2 * c, |r, partial| {
        let range = r.start * c..r.end * c;
        let (x, y, grad) = (&x[range.clone()], &y[range.clone()], &grad[range]);
        masked_sums(x, y, grad, &moments.mean, partial, lo, hi);
    });
    let inverse: Vec<f32> = moments.variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let n = rows.max(1) as f32;
    let mut dgamma = vec![0.0; c];
    let mut dbeta = vec![0.0; c];
    // dx = kg · m + kx · x + k1, m the masked gradient
    let mut coefficients = [vec![0.0; c], vec![0.0; c], vec![0.0; c]];
    for i in 0..c {
        dbeta[i] = sums[i] as f32;
        dgamma[i] = (sums[c + i] * f64::from(inverse[i])) as f32;
        let k = gamma[i] * inverse[i];
        let slope = -k * inverse[i] * dgamma[i] / n;
        coefficients[0][i] = k;
        coefficients[1][i] = slope;
        coefficients[2][i] = -k * dbeta[i] / n - slope * moments.mean[i];
    }
    let [kg, kx, k1] = coefficients.map(|v| repeated(&v));
    let block = kg.len() * block_rows(kg.len());
    let dx = collect_blocks(x.len(), block, |i, dx| {
        let range = i * block..i * block + dx.len();
        let (x, y, grad) = (&x[range.clone()], &y[range.clone()], &grad[range]);
        input_gradient(x, y, grad, [&kg, &kx, &k1], dx, lo, hi);
    });
    (dx, dgamma, dbeta)
}

dispatch! {
    /// `sums[0..c] += Σ m`, `sums[c..2c] += Σ m · (x − mean)`, `m` = `grad` where `lo < y < hi`.
    fn masked_sums(
        x: &[f32], y: &[f32], grad: &[f32], mean: &[f32], sums: &mut [f32], lo: f32, hi: f32,
    ) = masked_sums_body
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn masked_sums_body<const FMA: bool>(
    x: &[f32],
    y: &[f32],
    grad: &[f32],
    mean: &[f32],
    sums: &mut [f32],
    lo: f32,
    hi: f32,
) {
    let c = mean.len();
    for_channels!(c, |c0, N| {
        let mu = load::<N>(mean, c0);
        let (mut s, mut q) = ([[0.0f32; N]; 2], [[0.0f32; N]; 2]);
        let rows = x.chunks_exact(c).zip(y.chunks_exact(c)).zip(grad.chunks_exact(c));
        for (r, ((x, y), g)) in rows.enumerate() {
            let (x, y, g) = (load::<N>(x, c0), load::<N>(y, c0), load::<N>(g, c0));
            let (s, q) = (&mut s[r & 1], &mut q[r & 1]);
            for i in 0..N {
                let m = if (y[i] > lo) & (y[i] < hi) { g[i] } else { 0.0 };
                s[i] += m;
                q[i] = mul_add::<FMA>(m, x[i] - mu[i], q[i]);
            }
        }
        for i in 0..N {
            sums[c0 + i] += s[0][i] + s[1][i];
            sums[c + c0 + i] += q[0][i] + q[1][i];
        }
    });
}

dispatch! {
    fn input_gradient(
        x: &[f32], y: &[f32], grad: &[f32], k: [&[f32]; 3], dx: &mut [f32], lo: f32, hi: f32,
    ) = input_gradient_body
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn input_gradient_body<const FMA: bool>(
    x: &[f32],
    y: &[f32],
    grad: &[f32],
    [kg, kx, k1]: [&[f32]; 3],
    dx: &mut [f32],
    lo: f32,
    hi: f32,
) {
    let n = kg.len();
    let blocks = dx.chunks_mut(n).zip(x.chunks(n)).zip(y.chunks(n)).zip(grad.chunks(n));
    for (((dx, x), y), grad) in blocks {
        let values = dx.iter_mut().zip(x).zip(y).zip(grad).zip(kg).zip(kx).zip(k1);
        for ((((((dx, x), y), g), kg), kx), k1) in values {
            let m = if (*y > lo) & (*y < hi) { *g } else { 0.0 };
            *dx = mul_add::<FMA>(*kg, m, mul_add::<FMA>(*kx, *x, *k1));
        }
    }
}
