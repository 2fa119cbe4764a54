//! Depthwise convolution: channel `c` of the output sees channel `c` of the input alone.
//!
//! All loops run over channels in the innermost dimension. The 3×3 kernel with stride 1 and
//! padding 1, which is nearly every depthwise layer in use, keeps its nine taps in registers and
//! produces two or four pixels at a time; its input gradient is the same loop with the taps mirrored.

mod same3;

use super::rows::finish;
use crate::norm::{BatchStats, combine, partial_stats};
use crate::parallel::{Bands, add_up, fill, prelude::*, with_scratch};
use crate::simd::{dispatch, for_channels, load, mul_add};
use graph::Bounds;
use graph::Geometry;
use same3::same3;
use std::ops::Range;

/// `[c, 1, k, k]` → `[k·k, c]`: taps of neighbouring channels side by side.
fn pack(w: &[f32], channels: usize, mirrored: bool) -> Vec<f32> {
    let taps = w.len() / channels;
    let mut out = vec![0.0; w.len()];
    for (c, filter) in w.chunks_exact(taps).enumerate() {
        for (t, v) in filter.iter().enumerate() {
            let t = if mirrored { taps - 1 - t } else { t };
            out[t * channels + c] = *v;
        }
    }
    out
}

/// 3×3, stride 1, padding 1.
fn is_same3(g: &Geometry) -> bool {
    g.window.kernel == 3 && g.window.stride == 1 && g.before() == [1; 2]
}

/// Floats of taps and summands together.
pub(crate) fn packed_floats(g: &Geometry) -> usize {
    (g.window.taps() + 1) * g.input
}

/// Taps `[k·k, c]` and summands `[c]`, zeros without `bias`, of the weight `w` `[c, 1, k, k]`.
pub(crate) fn pack_with_bias(w: &[f32], bias: Option<&[f32]>, packed: &mut [f32]) {
    let (taps, summands) = packed.split_at_mut(w.len());
    taps.copy_from_slice(&pack(w, summands.len(), false));
    match bias {
        Some(bias) => summands.copy_from_slice(bias),
        None => summands.fill(0.0),
    }
}

/// Floats of a task's result: 64 KiB.
const BAND: usize = 16 * 1024;

/// A depthwise convolution with its weights as [`pack_with_bias`] gives them.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise<'a> {
    pub(crate) geometry: Geometry,
    pub(crate) packed: &'a [f32],
    pub(crate) bounds: Bounds,
}

impl Depthwise<'_> {
    /// Rows of the result of one picture `x` `[h, w, c]` → `y` `[rows, ow, c]`, on this thread.
    pub(crate) fn rows(&self, x: &[f32], rows: Range<usize>, y: &mut [f32]) {
        let g = &self.geometry;
        let (taps, bias) = self.packed.split_at(g.window.taps() * g.input);
        if is_same3(g) {
            same3(x, taps, (bias, self.bounds), y, [g.height, g.width], rows);
        } else {
            any(x, taps, bias, y, g, rows);
            finish(y, g.input, None, self.bounds);
        }
    }

    /// `x` `[b, h, w, c]` → `y` `[b, oh, ow, c]`, bands of rows of one picture per task.
    pub(crate) fn all(&self, x: &[f32], y: &mut [f32]) {
        let g = &self.geometry;
        let (picture, row) = (g.height * g.width * g.input, g.out_width() * g.input);
        let bands = Bands::new(g.out_height(), BAND / row.max(1));
        fill(y, bands.lengths(g.batch, row), |i, y| {
            let (b, rows) = bands.place(i);
            self.rows(&x[b * picture..][..picture], rows, y);
        });
    }
}

/// Forward pass without bias and the statistics of its result, each picture's while it is in cache.
pub(crate) fn forward_with_stats(x: &[f32], w: &[f32], g: &Geometry, y: &mut [f32]) -> BatchStats {
    let taps = pack(w, g.input, false);
    let zero = vec![0.0; g.input];
    let (picture, out) = (g.height * g.width * g.input, g.out_height() * g.out_width() * g.input);
    with_scratch(g.batch * 3 * g.input, |partials| {
        let pieces = y.par_chunks_mut(out).zip(partials.par_chunks_mut(3 * g.input));
        pieces.zip(x.par_chunks(picture)).for_each(|((y, partial), x)| {
            if is_same3(g) {
                same3(x, &taps, (&zero, Bounds::NONE), y, [g.height, g.width], 0..g.height);
            } else {
                any(x, &taps, &zero, y, g, 0..g.out_height());
            }
            partial_stats(y, partial);
        });
        combine(partials, g.input, |_| g.out_height() * g.out_width())
    })
}

/// Both gradients at once. `finish(picture, gradient)` completes each picture's output gradient
/// before it is used.
pub(crate) fn backward(
    x: &[f32],
    w: &[f32],
    grad: &mut [f32],
    g: &Geometry,
    finish: impl Fn(usize, &mut [f32]) + Sync,
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
) {
    let (picture, out) = (g.height * g.width * g.input, g.out_height() * g.out_width() * g.input);
    let (taps, zero) = (pack(w, g.input, is_same3(g)), vec![0.0; g.input]);
    let dx: Vec<Option<&mut [f32]>> = match dx {
        Some(dx) => dx.chunks_mut(picture).map(Some).collect(),
        None => (0..g.batch).map(|_| None).collect(),
    };
    with_scratch(g.batch * dw.len(), |partials| {
        let pieces = grad.par_chunks_mut(out).zip(partials.par_chunks_mut(dw.len()));
        pieces.zip(x.par_chunks(picture)).zip(dx.into_par_iter()).enumerate().for_each(
            |(i, (((grad, partial), x), dx))| {
                finish(i, grad);
                partial.fill(0.0);
                if is_same3(g) {
                    same3_weight(x, grad, partial, g.height, g.width);
                } else {
                    any_weight(x, grad, partial, g);
                }
                match dx {
                    Some(dx) if is_same3(g) => {
                        same3(
                            grad,
                            &taps,
                            (&zero, Bounds::NONE),
                            dx,
                            [g.height, g.width],
                            0..g.height,
                        );
                    }
                    Some(dx) => {
                        dx.fill(0.0);
                        any_input(grad, &taps, dx, g);
                    }
                    None => {}
                }
            },
        );
        unpack(&add_up(partials, dw.len()), dw, g.input);
    });
}

/// `[k·k, c]` → `[c, 1, k, k]`.
fn unpack(total: &[f64], dw: &mut [f32], channels: usize) {
    let taps = dw.len() / channels;
    for (t, line) in total.chunks_exact(channels).enumerate() {
        for (c, v) in line.iter().enumerate() {
            dw[c * taps + t] = *v as f32;
        }
    }
}

dispatch! {
    /// `dw[t, c] += Σ x · grad` of one picture.
    fn same3_weight(x: &[f32], grad: &[f32], dw: &mut [f32], h: usize, w: usize) = same3_weight_body
}

#[inline(always)]
fn same3_weight_body<const FMA: bool>(x: &[f32], grad: &[f32], dw: &mut [f32], h: usize, w: usize) {
    let c = dw.len() / 9;
    assert!(x.len() == h * w * c && grad.len() == h * w * c, "shapes");
    for_channels!(c, |c0, N| {
        let mut sum = [[0.0f32; N]; 9];
        for oy in 0..h {
            for ox in 0..w {
                let g = load::<N>(grad, (oy * w + ox) * c + c0);
                let inside = oy > 0 && oy + 1 < h && ox > 0 && ox + 1 < w;
                for ky in 0..3 {
                    for kx in 0..3 {
                        if !inside && (oy + ky < 1 || oy + ky > h || ox + kx < 1 || ox + kx > w) {
                            continue;
                        }
                        let v = load::<N>(x, ((oy + ky - 1) * w + ox + kx - 1) * c + c0);
                        let s = &mut sum[ky * 3 + kx];
                        for i in 0..N {
                            s[i] = mul_add::<FMA>(v[i], g[i], s[i]);
                        }
                    }
                }
            }
        }
        for (t, s) in sum.iter().enumerate() {
            for i in 0..N {
                dw[t * c + c0 + i] += s[i];
            }
        }
    });
}

/// Calls `f(output position, input position, tap)` for every tap of output rows that falls inside the picture.
#[inline(always)]
fn for_taps(g: &Geometry, rows: Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
    let (k, s, [above, left]) = (g.window.kernel, g.window.stride, g.before());
    for oy in rows {
        for ox in 0..g.out_width() {
            for ky in 0..k {
                let iy = oy * s + ky;
                if iy < above || iy - above >= g.height {
                    continue;
                }
                for kx in 0..k {
                    let ix = ox * s + kx;
                    if ix >= left && ix - left < g.width {
                        let from = (iy - above) * g.width + ix - left;
                        f(oy * g.out_width() + ox, from, ky * k + kx);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// Any kernel, stride and padding; rows of one picture.
    fn any(
        x: &[f32], taps: &[f32], bias: &[f32], y: &mut [f32], g: &Geometry, rows: Range<usize>,
    ) = any_body
}

#[inline(always)]
fn any_body<const FMA: bool>(
    x: &[f32],
    taps: &[f32],
    bias: &[f32],
    y: &mut [f32],
    g: &Geometry,
    rows: Range<usize>,
) {
    let c = g.input;
    for row in y.chunks_exact_mut(c) {
        row.copy_from_slice(bias);
    }
    let first = rows.start * g.out_width();
    for_taps(g, rows, |to, from, tap| {
        let (x, k) = (&x[from * c..(from + 1) * c], &taps[tap * c..(tap + 1) * c]);
        let to = to - first;
        for ((y, x), k) in y[to * c..(to + 1) * c].iter_mut().zip(x).zip(k) {
            *y = mul_add::<FMA>(*x, *k, *y);
        }
    });
}

dispatch! {
    /// Input gradient of [`any`].
    fn any_input(grad: &[f32], taps: &[f32], dx: &mut [f32], g: &Geometry) = any_input_body
}

#[inline(always)]
fn any_input_body<const FMA: bool>(grad: &[f32], taps: &[f32], dx: &mut [f32], g: &Geometry) {
    let c = g.input;
    for_taps(g, 0..g.out_height(), |to, from, tap| {
        let (grad, k) = (&grad[to * c..(to + 1) * c], &taps[tap * c..(tap + 1) * c]);
        for ((dx, grad), k) in dx[from * c..(from + 1) * c].iter_mut().zip(grad).zip(k) {
            *dx = mul_add::<FMA>(*grad, *k, *dx);
        }
    });
}

dispatch! {
    /// Weight gradient of [`any`].
    fn any_weight(x: &[f32], grad: &[f32], dw: &mut [f32], g: &Geometry) = any_weight_body
}

#[inline(always)]
fn any_weight_body<const FMA: bool>(x: &[f32], grad: &[f32], dw: &mut [f32], g: &Geometry) {
    let c = g.input;
    for_taps(g, 0..g.out_height(), |to, from, tap| {
        let (grad, x) = (&grad[to * c..(to + 1) * c], &x[from * c..(from + 1) * c]);
        for ((dw, grad), x) in dw[tap * c..(tap + 1) * c].iter_mut().zip(grad).zip(x) {
            *dw = mul_add::<FMA>(*grad, *x, *dw);
        }
    });
}
