//! What surrounds a product: bias and activation behind it, sums over its rows.

use crate::parallel::{block_rows, sum_blocks};
use crate::simd::{dispatch, for_channels, load};
use graph::Bounds;

/// `sums[c]` = Σ over rows of `v` `[rows, channels]`.
pub(crate) fn column_sums(v: &[f32], sums: &mut [f32]) {
    let channels = sums.len();
    let rows = v.len() / channels.max(1);
    let total = sum_blocks(rows, block_rows(channels), channels, |r, partial| {
        column_sum(&v[r.start * channels..r.end * channels], partial);
    });
    for (s, t) in sums.iter_mut().zip(total) {
        *s = t as f32;
    }
}

dispatch! {
    /// `sums[c] += Σ_rows v[row, c]`.
    pub(super) fn column_sum(v: &[f32], sums: &mut [f32]) = column_sum_body
}

#[inline(always)]
fn column_sum_body<const FMA: bool>(v: &[f32], sums: &mut [f32]) {
    let channels = sums.len();
    for_channels!(channels, |c0, N| {
        let mut total = [0.0f32; N];
        for row in v.chunks_exact(channels) {
            let r = load::<N>(row, c0);
            for i in 0..N {
                total[i] += r[i];
            }
        }
        for i in 0..N {
            sums[c0 + i] += total[i];
        }
    });
}

dispatch! {
    /// Adds the bias, if any, to rows of `channels`, and clamps.
    pub(super) fn finish(y: &mut [f32], channels: usize, bias: Option<&[f32]>, bounds: Bounds)
        = finish_body
}

#[inline(always)]
fn finish_body<const FMA: bool>(
    y: &mut [f32],
    channels: usize,
    bias: Option<&[f32]>,
    bounds: Bounds,
) {
    match bias {
        Some(bias) => {
            for row in y.chunks_exact_mut(channels) {
                for (v, b) in row.iter_mut().zip(bias) {
                    *v = bounds.clamp(*v + b);
                }
            }
        }
        None if bounds != Bounds::NONE => y.iter_mut().for_each(|v| *v = bounds.clamp(*v)),
        None => {}
    }
}
