//! Plain convolutions without a matrix of patches: sums over taps and channels straight from the
//! picture.
//!
//! A group of [`ROWS`] output positions and a panel of [`PANEL`] output channels are summed in
//! registers over all taps and input channels; the panel's weights lie in the order they are read.
//! Where maps are small a group takes one position of several pictures, so that taps that fall outside
//! are left out instead of adding zeros (of a 3×3 kernel on a 2×2 map, five of nine). The order of
//! each sum is tap by tap, channel by channel, whatever the grouping.

use super::bf16;
use super::kernel::{Finish, PANEL, ROWS};
use super::rows::finish;
use crate::parallel::{Shared, block_rows, prelude::*, with_scratch};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::simd::{dispatch, load, mul_add};
use graph::Bounds;
use graph::Geometry;

/// Output positions per task, about.
const TASK_ROWS: usize = 16 * ROWS;
/// Below this many columns, groups go over pictures.
const SMALL_MAP: usize = 8;
/// Fewest input channels: below, finding the taps takes longer than the sums.
const FEWEST_CHANNELS: usize = 16;

/// Whether this convolution is summed directly.
pub(crate) fn is_direct(g: &Geometry) -> bool {
    g.groups == 1 && g.input >= FEWEST_CHANNELS && !g.is_depthwise()
}

/// Floats of the weights of a convolution in the order of the sums, `[panels, taps, in, 32]`.
pub(crate) fn packed_floats(g: &Geometry) -> usize {
    g.output.div_ceil(PANEL) * g.window.taps() * g.input * PANEL
}

/// Into that order, from `w` `[out, in, k, k]`.
pub(crate) fn pack(w: &[f32], g: &Geometry, packed: &mut [f32]) {
    let (input, taps) = (g.input, g.window.taps());
    reorder(w, g, packed, |o, i, t| (o * input + i) * taps + t);
}

/// Into that order for `reversed`, the convolution that gives the input gradient of one with the weight
/// `w` `[out, in, k, k]` (see [`Geometry::reversed`]).
pub(crate) fn pack_reversed(w: &[f32], reversed: &Geometry, packed: &mut [f32]) {
    let (output, taps) = (reversed.output, reversed.window.kernel * reversed.window.kernel);
    reorder(w, reversed, packed, |o, i, t| (i * output + o) * taps + taps - 1 - t);
}

/// `place(output, input, tap)` says where a weight is; channels beyond the last are zero.
fn reorder(
    w: &[f32],
    g: &Geometry,
    packed: &mut [f32],
    place: impl Fn(usize, usize, usize) -> usize + Sync,
) {
    let taps = g.window.taps();
    let n = taps * g.input * PANEL;
    packed.par_chunks_mut(n).enumerate().for_each(|(p, panel)| {
        let width = PANEL.min(g.output - p * PANEL);
        if width < PANEL {
            panel.fill(0.0);
        }
        for i in 0..g.input {
            for t in 0..taps {
                let at = (t * g.input + i) * PANEL;
                for (o, v) in panel[at..at + width].iter_mut().enumerate() {
                    *v = w[place(p * PANEL + o, i, t)];
                }
            }
        }
    });
}

/// `x` `[b, h, w, in]` and packed weights → `y` `[b, oh, ow, out]`, plus bias, clamped.
pub(crate) fn forward(
    x: &[f32],
    panels: &[f32],
    bias: Option<&[f32]>,
    bounds: Bounds,
    g: &Geometry,
    y: &mut [f32],
) {
    let panel = g.window.taps() * g.input * PANEL;
    assert_eq!(panels.len(), packed_floats(g), "weights of {g:?}");
    assert_eq!(x.len(), g.batch * g.height * g.width * g.input, "input of {g:?}");
    by_groups(bias, bounds, g, y, |group, p, sums| {
        sum(group, x, &panels[p * panel..(p + 1) * panel], sums);
    });
}

/// [`forward`] by products of bf16, with the weights of [`pack_bf16`].
pub(crate) fn forward_bf16(
    x: &[f32],
    panels: &[f32],
    bias: Option<&[f32]>,
    bounds: Bounds,
    g: &Geometry,
    y: &mut [f32],
) {
    assert_eq!(x.len(), g.batch * g.height * g.width * g.input, "input of {g:?}");
    let (half, pixels) = (g.input.div_ceil(2), g.batch * g.height * g.width);
    let panel = half * PANEL;
    let panels = &bf16::aligned(panels)[..pairs(g)];
    bf16::with_pairs((pixels + 1) * half, |values| {
        let (inside, outside) = values.split_at_mut(pixels * half);
        outside.fill(0);
        let rows = block_rows(g.input);
        let x = x.par_chunks(rows * g.input);
        let pieces = inside.par_chunks_mut(rows * half).zip(x);
        pieces.for_each(|(pairs, x)| bf16::by_columns(x, g.input, pairs));
        let values = &*values;
        by_groups(bias, bounds, g, y, |group, p, sums| {
            sums.fill(0.0);
            for (tap, starts) in &group.taps {
                let starts = starts.map(|s| s.map_or(pixels, |at| at / g.input) * half);
                let rows = bf16::Rows { values, count: ROWS, starts, col: 1 };
                let panel = &panels[(p * g.window.taps() + tap) * panel..][..panel];
                bf16::product(rows, (panel, PANEL), Finish::Add, sums, PANEL);
            }
        });
    });
}

/// Pairs of the weights for [`forward_bf16`], `[panels, taps, in / 2, 32]`.
fn pairs(g: &Geometry) -> usize {
    g.window.taps() * bf16::packed(g.input, g.output)
}

/// Floats that hold them.
pub(crate) fn packed_bf16_floats(g: &Geometry) -> usize {
    g.window.taps() * bf16::packed_floats(g.input, g.output)
}

/// Into that order, from `w` `[out, in, k, k]`.
pub(crate) fn pack_bf16(w: &[f32], g: &Geometry, packed: &mut [f32]) {
    let (taps, lines) = (g.window.taps(), g.input.div_ceil(2));
    let panels = bf16::aligned_mut(packed)[..pairs(g)].par_chunks_mut(taps * lines * PANEL);
    panels.enumerate().for_each(|(p, panel)| {
        let (first, width) = (p * PANEL, PANEL.min(g.output - p * PANEL));
        if width < PANEL {
            panel.fill(0);
        }
        let outputs = w.chunks_exact(g.input * taps).skip(first).take(width);
        bf16::with_pairs(taps * lines, |pairs| {
            for (o, w) in outputs.enumerate() {
                // Of neighbouring inputs, tap by tap.
                bf16::by_rows(w, taps, (0, taps), pairs, taps);
                for (j, pairs) in pairs.chunks_exact(taps).enumerate() {
                    for (tap, pair) in pairs.iter().enumerate() {
                        panel[(tap * lines + j) * PANEL + o] = *pair;
                    }
                }
            }
        });
    });
}

/// Fills `y` group by group: `sum(group, p, sums)` gives the sums `[ROWS, PANEL]` of panel `p`.
fn by_groups(
    bias: Option<&[f32]>,
    bounds: Bounds,
    g: &Geometry,
    y: &mut [f32],
    sum: impl Fn(&Group, usize, &mut [f32]) + Sync,
) {
    let rows = g.rows();
    assert_eq!(y.len(), rows * g.output, "output of {g:?}");
    let chunks = rows.div_ceil(TASK_ROWS);
    let out = Shared(y.as_mut_ptr());
    let tasks = chunks * g.output.div_ceil(PANEL);
    (0..tasks).into_par_iter().for_each(|task| {
        let (p, chunk) = (task / chunks, task % chunks);
        let first = p * PANEL;
        let width = PANEL.min(g.output - first);
        let bias = bias.map(|b| &b[first..first + width]);
        let end = ((chunk + 1) * TASK_ROWS).min(rows);
        with_scratch(ROWS * PANEL, |sums| {
            let mut group = Group::new(g);
            for start in (chunk * TASK_ROWS..end).step_by(ROWS) {
                let n = ROWS.min(end - start);
                group.find(start, n);
                sum(&group, p, sums);
                for (r, sums) in sums.chunks_exact_mut(PANEL).take(n).enumerate() {
                    let sums = &mut sums[..width];
                    finish(sums, width, bias, bounds);
                    let at = group.outputs[r] * g.output + first;
                    let out = &out;
                    // SAFETY: row `outputs[r]` < rows and channels first..first + width ≤ out lie
                    // inside `y`; no other task has this panel and this row.
                    unsafe {
                        std::ptr::copy_nonoverlapping(sums.as_ptr(), out.0.add(at), width);
                    }
                }
            }
        });
    });
}

/// Where a group of rows reads: for every tap that any of them has, its place in the kernel and the
/// pixel of each row, or none.
struct Group<'a> {
    g: &'a Geometry,
    outputs: [usize; ROWS],
    taps: Vec<(usize, [Option<usize>; ROWS])>,
}

impl<'a> Group<'a> {
    fn new(g: &'a Geometry) -> Self {
        let taps = Vec::with_capacity(g.window.taps());
        Self { g, outputs: [0; ROWS], taps }
    }

    /// Rows `start..start + n`; the last one stands for those beyond.
    fn find(&mut self, start: usize, n: usize) {
        let g = self.g;
        let (oh, ow) = (g.out_height(), g.out_width());
        let (k, s, [above, left]) = (g.window.kernel, g.window.stride, g.before());
        let mut corners = [(0, 0, 0); ROWS];
        for (r, (corner, output)) in corners.iter_mut().zip(&mut self.outputs).enumerate() {
            let i = start + r.min(n - 1);
            let (b, at) = if ow < SMALL_MAP {
                (i % g.batch, i / g.batch)
            } else {
                (i / (oh * ow), i % (oh * ow))
            };
            *output = b * oh * ow + at;
            *corner = (b * g.height * g.width, at / ow * s, at % ow * s);
        }
        self.taps.clear();
        for ky in 0..k {
            for kx in 0..k {
                let pixel = |(picture, y, x): (usize, usize, usize)| {
                    let iy = (y + ky).checked_sub(above).filter(|v| *v < g.height)?;
                    let ix = (x + kx).checked_sub(left).filter(|v| *v < g.width)?;
                    Some((picture + iy * g.width + ix) * g.input)
                };
                let pixels = corners.map(pixel);
                if pixels.iter().any(Option::is_some) {
                    self.taps.push((ky * k + kx, pixels));
                }
            }
        }
    }
}

/// Longest run of input channels summed in one call: rows outside the picture read zeros from here.
static ZEROS: [f32; 4096] = [0.0; 4096];

/// `sums` `[ROWS, PANEL]` of a group.
fn sum(group: &Group, x: &[f32], weights: &[f32], sums: &mut [f32]) {
    let n = group.g.input;
    sums.fill(0.0);
    for from in (0..n).step_by(ZEROS.len()) {
        let run = ZEROS.len().min(n - from);
        for (tap, pixels) in &group.taps {
            let rows = pixels.map(|p| match p {
                Some(at) => &x[at + from..at + from + run],
                None => &ZEROS[..run],
            });
            let panel = &weights[(tap * n + from) * PANEL..(tap * n + from + run) * PANEL];
            #[cfg(target_arch = "x86_64")]
            if level() == Level::Avx512 {
                // SAFETY: the CPU has AVX-512.
                unsafe { accumulate_avx512(&rows, panel, sums) };
                continue;
            }
            accumulate(&rows, panel, sums);
        }
    }
}

dispatch! {
    /// `sums[r, o] += Σ_i rows[r][i] · panel[i, o]`.
    fn accumulate(rows: &[&[f32]; ROWS], panel: &[f32], sums: &mut [f32]) = accumulate_body
}

#[inline(always)]
fn accumulate_body<const FMA: bool>(rows: &[&[f32]; ROWS], panel: &[f32], sums: &mut [f32]) {
    /// What fits the sixteen registers of AVX2.
    const R: usize = 4;
    const C: usize = 16;
    for (first, rows) in rows.chunks_exact(R).enumerate() {
        for c in (0..PANEL).step_by(C) {
            let place = |r: usize| (first * R + r) * PANEL + c;
            let mut total = [[0.0f32; C]; R];
            for (r, t) in total.iter_mut().enumerate() {
                *t = load(sums, place(r));
            }
            for (i, w) in panel.chunks_exact(PANEL).enumerate() {
                let w = load::<C>(w, c);
                for (r, t) in total.iter_mut().enumerate() {
                    let v = rows[r][i];
                    for o in 0..C {
                        t[o] = mul_add::<FMA>(v, w[o], t[o]);
                    }
                }
            }
            for (r, t) in total.iter().enumerate() {
                sums[place(r)..place(r) + C].copy_from_slice(t);
            }
        }
    }
}

/// [`accumulate`] with all sums in registers, which the compiler does not manage by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn accumulate_avx512(rows: &[&[f32]; ROWS], panel: &[f32], sums: &mut [f32]) {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps};
    let n = panel.len() / PANEL;
    assert!(sums.len() >= ROWS * PANEL && rows.iter().all(|r| r.len() >= n), "shapes");
    let pointers = rows.map(<[f32]>::as_ptr);
    // SAFETY: loads and stores stay below the lengths asserted above.
    unsafe {
        let at = |r: usize, half: usize| sums.as_ptr().add(r * PANEL + 16 * half);
        let mut total: [[_; 2]; ROWS] =
            std::array::from_fn(|r| [_mm512_loadu_ps(at(r, 0)), _mm512_loadu_ps(at(r, 1))]);
        for i in 0..n {
            let w = panel.as_ptr().add(i * PANEL);
            let (w0, w1) = (_mm512_loadu_ps(w), _mm512_loadu_ps(w.add(16)));
            for r in 0..ROWS {
                let v = _mm512_set1_ps(*pointers[r].add(i));
                total[r][0] = _mm512_fmadd_ps(v, w0, total[r][0]);
                total[r][1] = _mm512_fmadd_ps(v, w1, total[r][1]);
            }
        }
        for (r, t) in total.iter().enumerate() {
            _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL), t[0]);
            _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL + 16), t[1]);
        }
    }
}
