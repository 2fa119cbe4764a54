//! Batch norm, and factors and summands per channel, fused with an activation that clamps.
//!
//! `y = clamp(γ · (x − mean) / √(var + ε) + β)` per channel; mean and (biased) variance over batch,
//! height and width in training (Ioffe & Szegedy 2015, algorithm 1). Activations are rows of channels.

use crate::parallel::{block_rows, fill_blocks, sum_blocks, with_scratch};
use crate::simd::{dispatch, for_channels, load, mul_add};
use graph::Bounds;

/// Mean and biased variance of each channel of a batch.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// Σ x / n.
    pub mean: Vec<f32>,
    /// Σ (x − mean)² / n.
    pub variance: Vec<f32>,
    /// Values each moment is taken over: batch · height · width.
    pub count: usize,
    /// Whether they are not those of these values but stored ones, which no value moves.
    pub is_stored: bool,
}

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
    pub fn new(gamma: &[f32], beta: &[f32], batch_stats: &BatchStats, epsilon: f32) -> Self {
        let scale: Vec<f32> = gamma
            .iter()
            .zip(&batch_stats.variance)
            .map(|(g, v)| g / (v + epsilon).sqrt())
            .collect();
        let shift = beta
            .iter()
            .zip(&batch_stats.mean)
            .zip(&scale)
            .map(|((b, m), s)| m.mul_add(-s, *b))
            .collect();
        Self { scale, shift }
    }
}

/// Mean and variance of each channel of `x` `[rows, channels]`.
pub fn batch_stats(x: &[f32], channels: usize) -> BatchStats {
    let rows = x.len() / channels.max(1);
    let rows_per_block = block_rows(channels);
    let blocks = rows.div_ceil(rows_per_block);
    with_scratch(blocks * 3 * channels, |partials| {
        fill_blocks(partials, 3 * channels, |i, partial| {
            let start = i * rows_per_block;
            let end = (start + rows_per_block).min(rows);
            partial_stats(&x[start * channels..end * channels], partial);
        });
        let count = |i: usize| rows_per_block.min(rows - i * rows_per_block);
        combine(partials, channels, count)
    })
}

/// Sums over rows `x` `[rows, channels]` of `1`, `d` and `d²`, `d = x − pivot`, as `[pivot, Σd, Σd²]`.
///
/// With the first row as the pivot, a mean that is large against the deviation does not cancel the
/// variance away.
pub(crate) fn partial_stats(x: &[f32], partial: &mut [f32]) {
    let channels = partial.len() / 3;
    let (pivot, sums) = partial.split_at_mut(channels);
    pivot.copy_from_slice(&x[..channels]);
    sums.fill(0.0);
    pivoted_sums(x, pivot, sums);
}

/// The statistics of all rows from those of blocks of `count(i)` rows, in their order (Chan, Golub &
/// LeVeque 1983, "Algorithms for computing the sample variance").
pub(crate) fn combine(
    partials: &[f32],
    channels: usize,
    count: impl Fn(usize) -> usize,
) -> BatchStats {
    let mut mean = vec![0.0f64; channels];
    let mut squares = vec![0.0f64; channels];
    let mut rows = 0;
    for (i, partial) in partials.chunks_exact((3 * channels).max(1)).enumerate() {
        let n = count(i);
        let (before, now) = (rows as f64, n as f64);
        rows += n;
        for c in 0..channels {
            let [pivot, s, q] = [0, 1, 2].map(|k| f64::from(partial[k * channels + c]));
            let delta = pivot + s / now - mean[c];
            mean[c] += delta * now / rows as f64;
            squares[c] += (q - s * s / now) + delta * delta * before * now / rows as f64;
        }
    }
    let variance = squares.iter().map(|m| (m / rows.max(1) as f64).max(0.0) as f32).collect();
    BatchStats {
        mean: mean.iter().map(|m| *m as f32).collect(),
        variance,
        count: rows,
        is_stored: false,
    }
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
        // Two rows at a time, so that which sums a row goes to is known when this is compiled: with an index
        // that is not, whether they stay in registers is luck, and without it takes twice as long.
        for rows in x.chunks(2 * c) {
            for (k, row) in rows.chunks_exact(c).enumerate().take(2) {
                let v = load::<N>(row, c0);
                for i in 0..N {
                    let d = v[i] - p[i];
                    s[k][i] += d;
                    q[k][i] = mul_add::<FMA>(d, d, q[k][i]);
                }
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

/// Batch norm with known statistics, then a clamp: `y = clamp(x · scale + shift)`.
#[derive(Clone, Debug)]
pub struct Normalize {
    channels: usize,
    /// Scale and shift, repeated.
    scale: Vec<f32>,
    shift: Vec<f32>,
    bounds: Bounds,
}

impl Normalize {
    /// Per channel `affine`, then a clamp.
    pub fn new(affine: &Affine, bounds: Bounds) -> Self {
        let channels = affine.scale.len();
        let (scale, shift) = (repeated(&affine.scale), repeated(&affine.shift));
        Self { channels, scale, shift, bounds }
    }

    /// Rows `x` `[rows, channels]` → `y`, on this thread.
    pub fn rows(&self, x: &[f32], y: &mut [f32]) {
        scale_block(x, &self.scale, &self.shift, y, self.bounds);
    }

    /// [`Normalize::rows`] on all threads.
    pub fn all(&self, x: &[f32], y: &mut [f32]) {
        let n = self.scale.len();
        let block = n * block_rows(n);
        fill_blocks(y, block, |i, y| self.rows(&x[i * block..i * block + y.len()], y));
    }
}

dispatch! {
    fn scale_block(x: &[f32], a: &[f32], b: &[f32], y: &mut [f32], bounds: Bounds)
        = scale_block_body
}

#[inline(always)]
fn scale_block_body<const FMA: bool>(
    x: &[f32],
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
    bounds: Bounds,
) {
    for (x, y) in x.chunks(a.len()).zip(y.chunks_mut(a.len())) {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(a).zip(b) {
            *y = bounds.clamp(mul_add::<FMA>(*x, *a, *b));
        }
    }
}

/// Turns the gradient of a [`Normalize`] into that of its input: the second half of the backward pass,
/// `dx = kg · m + kx · x + k1` with `m` = `grad` where `y` is inside the bounds, as in PyTorch zero at the bounds.
#[derive(Clone, Debug)]
pub struct InputGradient {
    forward: Normalize,
    coefficients: [Vec<f32>; 3],
}

impl InputGradient {
    /// Of a batch norm with these statistics. Gradients of γ and β for input `x` and output
    /// gradient `grad`, both `[rows, channels]`, go into `dgamma` and `dbeta`.
    pub fn of_norm(
        x: &[f32],
        grad: &[f32],
        gamma: &[f32],
        batch_stats: &BatchStats,
        epsilon: f32,
        forward: Normalize,
        [dgamma, dbeta]: [&mut [f32]; 2],
    ) -> Self {
        let c = gamma.len();
        let sums = sum_blocks(batch_stats.count, block_rows(c), 2 * c, |r, partial| {
            let range = r.start * c..r.end * c;
            masked_sums(&x[range.clone()], &grad[range], &batch_stats.mean, &forward, partial);
        });
        // A value's share in what it is normalized by.
        let n = if batch_stats.is_stored { f32::INFINITY } else { batch_stats.count.max(1) as f32 };
        let mut coefficients = [vec![0.0; c], vec![0.0; c], vec![0.0; c]];
        for i in 0..c {
            let inverse = 1.0 / (batch_stats.variance[i] + epsilon).sqrt();
            dbeta[i] = sums[i] as f32;
            dgamma[i] = (sums[c + i] * f64::from(inverse)) as f32;
            let k = gamma[i] * inverse;
            let slope = -k * inverse * dgamma[i] / n;
            coefficients[0][i] = k;
            coefficients[1][i] = slope;
            coefficients[2][i] = -k * dbeta[i] / n - slope * batch_stats.mean[i];
        }
        Self { forward, coefficients: coefficients.map(|v| repeated(&v)) }
    }

    /// Of fixed factors and summands, those of `forward`. Gradients of the two for input `x` and output
    /// gradient `grad`, both `[rows, channels]`, go into `dscale` and `dshift`.
    pub fn of_scale(
        x: &[f32],
        grad: &[f32],
        forward: Normalize,
        [dscale, dshift]: [&mut [f32]; 2],
    ) -> Self {
        let c = forward.channels;
        let zero = vec![0.0; c];
        let sums = sum_blocks(x.len() / c.max(1), block_rows(c), 2 * c, |r, partial| {
            let range = r.start * c..r.end * c;
            masked_sums(&x[range.clone()], &grad[range], &zero, &forward, partial);
        });
        for i in 0..c {
            (dshift[i], dscale[i]) = (sums[i] as f32, sums[c + i] as f32);
        }
        let coefficients = [forward.scale.clone(), repeated(&zero), repeated(&zero)];
        Self { forward, coefficients }
    }

    /// Rows of `x` and the gradient there, which becomes that of the input, on this thread.
    pub fn rows(&self, x: &[f32], grad: &mut [f32]) {
        let [kg, kx, k1] = &self.coefficients;
        input_gradient(x, grad, [kg, kx, k1], &self.forward);
    }

    /// [`InputGradient::rows`] on all threads.
    pub fn all(&self, x: &[f32], grad: &mut [f32]) {
        let n = self.forward.scale.len();
        let block = n * block_rows(n);
        fill_blocks(grad, block, |i, grad| self.rows(&x[i * block..i * block + grad.len()], grad));
    }
}

dispatch! {
    /// `sums[0..c] += Σ m`, `sums[c..2c] += Σ m · (x − mean)`, `m` = `grad` where `y` is inside the bounds.
    fn masked_sums(x: &[f32], grad: &[f32], mean: &[f32], forward: &Normalize, sums: &mut [f32])
        = masked_sums_body
}

#[inline(always)]
fn masked_sums_body<const FMA: bool>(
    x: &[f32],
    grad: &[f32],
    mean: &[f32],
    forward: &Normalize,
    sums: &mut [f32],
) {
    let c = forward.channels;
    let bounds = forward.bounds;
    for_channels!(c, |c0, N| {
        let mu = load::<N>(mean, c0);
        let (a, b) = (load::<N>(&forward.scale, c0), load::<N>(&forward.shift, c0));
        let (mut s, mut q) = ([[0.0f32; N]; 2], [[0.0f32; N]; 2]);
        // As in `pivoted_sums`.
        for (x, g) in x.chunks(2 * c).zip(grad.chunks(2 * c)) {
            for (k, (x, g)) in x.chunks_exact(c).zip(g.chunks_exact(c)).enumerate().take(2) {
                let (x, g) = (load::<N>(x, c0), load::<N>(g, c0));
                for i in 0..N {
                    let y = mul_add::<FMA>(x[i], a[i], b[i]);
                    let m = if bounds.passes(y) { g[i] } else { 0.0 };
                    s[k][i] += m;
                    q[k][i] = mul_add::<FMA>(m, x[i] - mu[i], q[k][i]);
                }
            }
        }
        for i in 0..N {
            sums[c0 + i] += s[0][i] + s[1][i];
            sums[c + c0 + i] += q[0][i] + q[1][i];
        }
    });
}

dispatch! {
    fn input_gradient(x: &[f32], grad: &mut [f32], k: [&[f32]; 3], forward: &Normalize)
        = input_gradient_body
}

#[inline(always)]
fn input_gradient_body<const FMA: bool>(
    x: &[f32],
    grad: &mut [f32],
    [kg, kx, k1]: [&[f32]; 3],
    forward: &Normalize,
) {
    let n = kg.len();
    let (a, b, bounds) = (&forward.scale[..n], &forward.shift[..n], forward.bounds);
    for (grad, x) in grad.chunks_mut(n).zip(x.chunks(n)) {
        let values = grad.iter_mut().zip(x).zip(a).zip(b).zip(kg).zip(kx).zip(k1);
        for ((((((g, x), a), b), kg), kx), k1) in values {
            let y = mul_add::<FMA>(*x, *a, *b);
            let m = if bounds.passes(y) { *g } else { 0.0 };
            *g = mul_add::<FMA>(*kg, m, mul_add::<FMA>(*kx, *x, *k1));
        }
    }
}
