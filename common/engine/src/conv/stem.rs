//! Plain convolutions of few input channels, the first layer of a network: too few for the sums of
//! [`super::direct`], and gathering patches would take longer than the sums.
//!
//! Neighbouring output positions share their weights; of one kernel row, taps and channels lie side by
//! side in the picture.

use super::rows::finish;
use crate::maxima::max_picture;
use crate::parallel::{fill_blocks, with_scratch};
use crate::simd::{dispatch, for_channels, load, mul_add, store};
use graph::Bounds;
use graph::{Geometry, Window};

/// Output positions summed together.
const RUN: usize = 8;

/// Into the order of the sums, `[taps, in, out]`, from `w` `[out, in, k, k]`.
pub(crate) fn pack(w: &[f32], g: &Geometry, packed: &mut [f32]) {
    let taps = g.window.taps();
    for (o, filter) in w.chunks_exact(g.input * taps).enumerate() {
        for (i, plane) in filter.chunks_exact(taps).enumerate() {
            for (t, v) in plane.iter().enumerate() {
                packed[(t * g.input + i) * g.output + o] = *v;
            }
        }
    }
}

/// `x` `[b, h, w, in]` and packed weights → `y` `[b, oh, ow, out]`, plus bias, clamped; with `pool`, the maxima of
/// its windows, which lie side by side.
pub(crate) fn forward(
    x: &[f32],
    packed: &[f32],
    bias: Option<&[f32]>,
    bounds: Bounds,
    g: &Geometry,
    pool: Option<Window>,
    y: &mut [f32],
) {
    let (line, picture) = (g.out_width() * g.output, g.height * g.width * g.input);
    let k = pool.map_or(1, |p| p.kernel);
    // Of the result: rows of a picture, floats of a row.
    let (rows, row) = (g.out_height() / k, g.out_width() / k * g.output);
    fill_blocks(y, rows * row, |b, y| {
        let x = &x[b * picture..(b + 1) * picture];
        let Some(window) = pool else {
            for (oy, y) in y.chunks_exact_mut(line).enumerate() {
                one_line(x, packed, y, oy, g);
                finish(y, g.output, bias, bounds);
            }
            return;
        };
        with_scratch(k * line, |lines| {
            for (oy, y) in y.chunks_exact_mut(row).enumerate() {
                for (i, line) in lines.chunks_exact_mut(line).enumerate() {
                    one_line(x, packed, line, oy * k + i, g);
                }
                finish(lines, g.output, bias, bounds);
                max_picture(lines, y, &mut [], (k, g.out_width(), g.output), window);
            }
        });
    });
}

dispatch! {
    /// Line `oy` of one picture.
    fn one_line(x: &[f32], packed: &[f32], y: &mut [f32], oy: usize, g: &Geometry) = one_line_body
}

#[inline(always)]
fn one_line_body<const FMA: bool>(
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    oy: usize,
    g: &Geometry,
) {
    let (k, s, p) = (g.window.kernel, g.window.stride, g.window.padding);
    let (c, out, ow) = (g.input, g.output, g.out_width());
    let mut ox = 0;
    while ox < ow {
        let inside = ox * s >= p && (ox + RUN - 1) * s + k <= g.width + p;
        let run = if inside && ox + RUN <= ow { RUN } else { 1 };
        // Taps of the run that are inside the picture: all of them, or those of its one position.
        let first = p.saturating_sub(ox * s).min(k);
        let last = (g.width + p).saturating_sub(ox * s).min(k).max(first);
        for_channels!(out, |c0, N| {
            let mut total = [[0.0f32; N]; RUN];
            for ky in 0..k {
                let iy = oy * s + ky;
                if iy < p || iy - p >= g.height || first == last {
                    continue;
                }
                let line = &x[(iy - p) * g.width * c..(iy - p + 1) * g.width * c];
                let at = (ox * s + first - p) * c;
                let weights = &packed[(ky * k + first) * c * out..(ky * k + last) * c * out];
                for (j, w) in weights.chunks_exact(out).enumerate() {
                    let w = load::<N>(w, c0);
                    if run == RUN {
                        for (q, t) in total.iter_mut().enumerate() {
                            let v = line[at + q * s * c + j];
                            for i in 0..N {
                                t[i] = mul_add::<FMA>(v, w[i], t[i]);
                            }
                        }
                    } else {
                        let v = line[at + j];
                        for i in 0..N {
                            total[0][i] = mul_add::<FMA>(v, w[i], total[0][i]);
                        }
                    }
                }
            }
            for (q, t) in total.iter().take(run).enumerate() {
                store(y, (ox + q) * out + c0, *t);
            }
        });
        ox += run;
    }
}
