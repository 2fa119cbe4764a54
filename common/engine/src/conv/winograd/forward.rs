//! The convolution of a batch: tiles are transformed in groups of [`ROWS`], multiplied by panels of [`PANEL`]
//! output channels, and transformed back.

use super::kernel::{PANEL, Panel, ROWS, Rows, product};
use super::transforms::{both, input, output, weight};
use super::{Tile, Tiling};
use crate::parallel::{prelude::*, with_scratch};
use crate::simd::{LANES, dispatch, for_channels, store};
use graph::{Bounds, Geometry};

/// Floats of transformed inputs and products of a block: 512 KiB, half of one core's L2.
const BLOCK: usize = 128 * 1024;
/// Most input channels: pixels outside the picture read zeros from here.
static ZEROS: [f32; 4096] = [0.0; 4096];
/// Input channels whose weights are transformed together.
const STEP: usize = 16;

/// Floats of transformed weights, `[panels, points, in, 32]`.
pub(crate) fn packed_floats(g: &Geometry, tile: Tile) -> usize {
    g.output.div_ceil(PANEL) * tile.points() * g.input * PANEL
}

/// The weights `w` `[out, in, 3, 3]`, transformed.
pub(crate) fn pack(w: &[f32], g: &Geometry, tile: Tile, packed: &mut [f32]) {
    let input = g.input;
    transform_weights(packed, g, tile, |o, i, t| w[(o * input + i) * 9 + t]);
}

/// Those for `reversed`, the convolution that gives the input gradient of one with the weight `w`
/// `[out, in, 3, 3]` (see [`Geometry::reversed`]).
pub(crate) fn pack_reversed(w: &[f32], reversed: &Geometry, tile: Tile, packed: &mut [f32]) {
    let output = reversed.output;
    transform_weights(packed, reversed, tile, |o, i, t| w[(i * output + o) * 9 + 8 - t]);
}

/// `value(output, input, tap)` is a weight; channels beyond the last are zero.
fn transform_weights(
    packed: &mut [f32],
    g: &Geometry,
    tile: Tile,
    value: impl Fn(usize, usize, usize) -> f32 + Sync,
) {
    let n = tile.points() * g.input * PANEL;
    packed.par_chunks_mut(n).enumerate().for_each(|(p, panel)| {
        let width = PANEL.min(g.output - p * PANEL);
        let mut taps = [0.0; STEP * 9 * PANEL];
        for first in (0..g.input).step_by(STEP) {
            let n = STEP.min(g.input - first);
            for o in 0..width {
                for i in 0..n {
                    for t in 0..9 {
                        taps[(i * 9 + t) * PANEL + o] = value(p * PANEL + o, first + i, t);
                    }
                }
            }
            match tile {
                Tile::Two => weights2(&taps, first..first + n, g.input, panel),
                Tile::Four => weights4(&taps, first..first + n, g.input, panel),
            }
        }
    });
}

dispatch! {
    fn weights2(taps: &[f32], to: std::ops::Range<usize>, input: usize, panel: &mut [f32]) = weights2_body
}

dispatch! {
    /// `taps` `[to, 9, 32]` into the channels `to` of a panel `[points, in, 32]`.
    fn weights4(taps: &[f32], to: std::ops::Range<usize>, input: usize, panel: &mut [f32]) = weights4_body
}

#[inline(always)]
fn weights2_body<const FMA: bool>(
    taps: &[f32],
    to: std::ops::Range<usize>,
    input: usize,
    panel: &mut [f32],
) {
    weights::<FMA, 4>(taps, to, input, panel);
}

#[inline(always)]
fn weights4_body<const FMA: bool>(
    taps: &[f32],
    to: std::ops::Range<usize>,
    input: usize,
    panel: &mut [f32],
) {
    weights::<FMA, 6>(taps, to, input, panel);
}

#[inline(always)]
fn weights<const FMA: bool, const P: usize>(
    taps: &[f32],
    to: std::ops::Range<usize>,
    input: usize,
    panel: &mut [f32],
) {
    for (i, taps) in to.zip(taps.chunks_exact(9 * PANEL)) {
        for c in (0..PANEL).step_by(LANES) {
            let at = |y: usize, x: usize| &taps[(y * 3 + x) * PANEL + c..];
            both::<3, P, LANES>(at, weight::<FMA, P>, |y, x, v| {
                store(panel, ((y * P + x) * input + i) * PANEL + c, *v);
            });
        }
    }
}

/// A result that tasks write to in places of their own.
struct Shared(*mut f32);
// SAFETY: every task writes other elements, see `Convolution::write`.
unsafe impl Sync for Shared {}

/// What is the same for every tile.
struct Convolution<'a> {
    g: &'a Geometry,
    tile: Tile,
    tiling: Tiling,
    x: &'a [f32],
    panels: &'a [f32],
    bias: Option<&'a [f32]>,
    bounds: Bounds,
    y: Shared,
    /// Floats from one tile's transformed inputs to the next one's.
    stride: usize,
}

/// `x` `[b, h, w, in]` and transformed weights → `y` `[b, oh, ow, out]`, plus bias, clamped.
pub(crate) fn forward(
    x: &[f32],
    panels: &[f32],
    bias: Option<&[f32]>,
    bounds: Bounds,
    (g, tile): (&Geometry, Tile),
    y: &mut [f32],
) {
    assert_eq!(panels.len(), packed_floats(g, tile), "weights of {g:?}");
    assert_eq!(x.len(), g.batch * g.height * g.width * g.input, "input of {g:?}");
    assert_eq!(y.len(), g.rows() * g.output, "output of {g:?}");
    assert!(g.input <= ZEROS.len(), "channels of {g:?}");
    // An odd number of cache lines: rows of a product do not fall into the same places of L1.
    let stride = (g.input.div_ceil(LANES) | 1) * LANES;
    let tiling = Tiling::new(g, tile);
    let y = Shared(y.as_mut_ptr());
    let all = Convolution { g, tile, tiling, x, panels, bias, bounds, y, stride };
    let group = tile.points() * ROWS;
    let block = (BLOCK / (group * (stride + PANEL))).max(1);
    let groups = tiling.count.div_ceil(ROWS);
    (0..groups.div_ceil(block)).into_par_iter().for_each(|b| {
        let groups = b * block..((b + 1) * block).min(groups);
        with_scratch(groups.len() * group * stride, |v| {
            for (i, v) in groups.clone().zip(v.chunks_exact_mut(group * stride)) {
                all.transform(i, v);
            }
            for panel in 0..g.output.div_ceil(PANEL) {
                all.panel(panel, groups.clone(), v);
            }
        });
    });
}

impl Convolution<'_> {
    /// Tiles of a group.
    fn tiles(&self, group: usize) -> std::ops::Range<usize> {
        group * ROWS..((group + 1) * ROWS).min(self.tiling.count)
    }

    /// The inputs of a group, transformed, into `v` `[points, 12, stride]`.
    fn transform(&self, group: usize, v: &mut [f32]) {
        let g = self.g;
        let (side, padding) = (self.tile.side() + 2, g.window.padding);
        for (r, tile) in self.tiles(group).enumerate() {
            let (picture, y, x) = self.tiling.place(tile);
            let mut pixels = [&ZEROS[..g.input]; 36];
            for (i, pixel) in pixels.iter_mut().take(side * side).enumerate() {
                let iy = (y + i / side).checked_sub(padding).filter(|v| *v < g.height);
                let ix = (x + i % side).checked_sub(padding).filter(|v| *v < g.width);
                if let (Some(iy), Some(ix)) = (iy, ix) {
                    let at = ((picture * g.height + iy) * g.width + ix) * g.input;
                    *pixel = &self.x[at..at + g.input];
                }
            }
            let v = &mut v[r * self.stride..];
            match self.tile {
                Tile::Two => inputs2(&pixels, ROWS * self.stride, v),
                Tile::Four => inputs4(&pixels, ROWS * self.stride, v),
            }
        }
    }

    /// The outputs of a panel of channels from the transformed inputs of `groups`.
    fn panel(&self, panel: usize, groups: std::ops::Range<usize>, v: &[f32]) {
        let (points, input, stride) = (self.tile.points(), self.g.input, self.stride);
        let weights = &self.panels[panel * points * input * PANEL..][..points * input * PANEL];
        let (group, sums) = (points * ROWS * stride, points * ROWS * PANEL);
        with_scratch(groups.len() * sums, |m| {
            for point in 0..points {
                let data = &weights[point * input * PANEL..][..input * PANEL];
                let panel = Panel { data, terms: input, stride: PANEL };
                for (i, k) in groups.clone().enumerate() {
                    let data = &v[i * group + point * ROWS * stride..];
                    let rows = Rows { data, count: self.tiles(k).len(), row: stride, step: 1 };
                    let m = &mut m[i * sums + point * ROWS * PANEL..];
                    product(rows, panel, m, PANEL, false);
                }
            }
            for (k, m) in groups.clone().zip(m.chunks_exact(sums)) {
                for (r, tile) in self.tiles(k).enumerate() {
                    self.write(panel, tile, &m[r * PANEL..]);
                }
            }
        });
    }

    /// A tile of a panel from its sums, which lie `12 × 32` floats apart.
    fn write(&self, panel: usize, tile: usize, m: &[f32]) {
        let mut out = [0.0; 16 * PANEL];
        match self.tile {
            Tile::Two => outputs2(m, &mut out),
            Tile::Four => outputs4(m, &mut out),
        }
        let (g, side, first) = (self.g, self.tile.side(), panel * PANEL);
        let width = PANEL.min(g.output - first);
        let bias = self.bias.map(|b| &b[first..first + width]);
        super::super::rows::finish(&mut out, PANEL, bias, self.bounds);
        let (oh, ow) = (g.out_height(), g.out_width());
        let (picture, y, x) = self.tiling.place(tile);
        for (i, out) in out.chunks_exact(PANEL).take(side * side).enumerate() {
            let (y, x) = (y + i / side, x + i % side);
            if y < oh && x < ow {
                let at = ((picture * oh + y) * ow + x) * g.output + first;
                // SAFETY: this position and the channels first..first + width ≤ out lie inside the output;
                // no other task has this tile and this panel.
                unsafe {
                    std::ptr::copy_nonoverlapping(out.as_ptr(), self.y.0.add(at), width);
                }
            }
        }
    }
}

dispatch! {
    fn inputs2(pixels: &[&[f32]; 36], plane: usize, v: &mut [f32]) = inputs2_body
}

dispatch! {
    /// The pixels of a tile, row by row, into `v`, whose points lie `plane` floats apart.
    fn inputs4(pixels: &[&[f32]; 36], plane: usize, v: &mut [f32]) = inputs4_body
}

#[inline(always)]
fn inputs2_body<const FMA: bool>(pixels: &[&[f32]; 36], plane: usize, v: &mut [f32]) {
    inputs::<FMA, 4>(pixels, plane, v);
}

#[inline(always)]
fn inputs4_body<const FMA: bool>(pixels: &[&[f32]; 36], plane: usize, v: &mut [f32]) {
    inputs::<FMA, 6>(pixels, plane, v);
}

#[inline(always)]
fn inputs<const FMA: bool, const P: usize>(pixels: &[&[f32]; 36], plane: usize, v: &mut [f32]) {
    for_channels!(pixels[0].len(), |c0, N| {
        let at = |y: usize, x: usize| &pixels[y * P + x][c0..];
        both::<P, P, N>(at, input::<FMA, P>, |y, x, values| {
            store(v, (y * P + x) * plane + c0, *values);
        });
    });
}

dispatch! {
    fn outputs2(m: &[f32], out: &mut [f32]) = outputs2_body
}

dispatch! {
    /// Sums, whose points lie `12 × 32` floats apart, into a tile, row by row, of 32 channels.
    fn outputs4(m: &[f32], out: &mut [f32]) = outputs4_body
}

#[inline(always)]
fn outputs2_body<const FMA: bool>(m: &[f32], out: &mut [f32]) {
    outputs::<FMA, 4, 2>(m, out);
}

#[inline(always)]
fn outputs4_body<const FMA: bool>(m: &[f32], out: &mut [f32]) {
    outputs::<FMA, 6, 4>(m, out);
}

#[inline(always)]
fn outputs<const FMA: bool, const P: usize, const M: usize>(m: &[f32], out: &mut [f32]) {
    for c in (0..PANEL).step_by(LANES) {
        let at = |y: usize, x: usize| &m[(y * P + x) * ROWS * PANEL + c..];
        both::<P, M, LANES>(at, output::<FMA, P, M>, |y, x, v| {
            store(out, (y * M + x) * PANEL + c, *v);
        });
    }
}
