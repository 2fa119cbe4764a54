//! The convolution of a batch: tiles are transformed in groups of [`ROWS`], multiplied by panels of [`PANEL`]
//! output channels, and transformed back.

use super::super::rows::finish;
use super::kernel::{PANEL, Panel, ROWS, Rows, product};
use super::tiles::{Maps, Tiling};
use super::transforms::{both, output, weight};
use super::{STEP, Shared, Tile};
use crate::parallel::{prelude::*, with_scratch};
use crate::simd::{LANES, dispatch, store};
use graph::{Bounds, Geometry};
use std::ops::Range;

/// Floats of transformed inputs and products of a block: 512 KiB, half of one core's L2.
const BLOCK: usize = 128 * 1024;
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

/// Defines the transform of `taps` `[to, 9, 32]` into the channels `to` of a panel `[points, in, 32]`.
macro_rules! transform_taps {
    ($name:ident, $body:ident, $points:literal) => {
        dispatch! {
            fn $name(taps: &[f32], to: Range<usize>, input: usize, panel: &mut [f32]) = $body
        }

        #[inline(always)]
        fn $body<const FMA: bool>(taps: &[f32], to: Range<usize>, input: usize, panel: &mut [f32]) {
            for (i, taps) in to.zip(taps.chunks_exact(9 * PANEL)) {
                for c in (0..PANEL).step_by(LANES) {
                    let at = |y: usize, x: usize| &taps[(y * 3 + x) * PANEL + c..];
                    both::<3, $points, LANES>(at, weight::<FMA, 3, $points>, |y, x, v| {
                        store(panel, ((y * $points + x) * input + i) * PANEL + c, *v);
                    });
                }
            }
        }
    };
}
transform_taps!(weights2, weights2_body, 4);
transform_taps!(weights4, weights4_body, 6);

/// What is the same for every tile.
struct Convolution<'a> {
    g: &'a Geometry,
    tiling: Tiling,
    panels: &'a [f32],
    bias: Option<&'a [f32]>,
    bounds: Bounds,
    y: Shared,
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
    assert_eq!(y.len(), g.rows() * g.output, "output of {g:?}");
    let tiling = Tiling::new(g, tile);
    let inputs = Maps::input(x, g, tiling);
    let stride = inputs.stride;
    let all = Convolution { g, tiling, panels, bias, bounds, y: Shared(y.as_mut_ptr()) };
    let group = tile.points() * ROWS;
    let block = (BLOCK / (group * (stride + PANEL))).max(1);
    let groups = tiling.count.div_ceil(ROWS);
    (0..groups.div_ceil(block)).into_par_iter().for_each(|b| {
        let groups = b * block..((b + 1) * block).min(groups);
        with_scratch(groups.len() * group * stride, |v| {
            for (i, v) in groups.clone().zip(v.chunks_exact_mut(group * stride)) {
                inputs.transform(tiling.group(i, ROWS), ROWS, v);
            }
            for panel in 0..g.output.div_ceil(PANEL) {
                all.panel(panel, groups.clone(), v, stride);
            }
        });
    });
}

impl Convolution<'_> {
    /// The outputs of a panel of channels from the transformed inputs of `groups`.
    fn panel(&self, panel: usize, groups: Range<usize>, v: &[f32], stride: usize) {
        let (points, input) = (self.tiling.tile.points(), self.g.input);
        let weights = &self.panels[panel * points * input * PANEL..][..points * input * PANEL];
        let (group, sums) = (points * ROWS * stride, points * ROWS * PANEL);
        with_scratch(groups.len() * sums, |m| {
            for point in 0..points {
                let data = &weights[point * input * PANEL..][..input * PANEL];
                let panel = Panel { data, terms: input, stride: PANEL };
                for (i, k) in groups.clone().enumerate() {
                    let data = &v[i * group + point * ROWS * stride..];
                    let rows = Rows {
                        data,
                        count: self.tiling.group(k, ROWS).len(),
                        row: stride,
                        step: 1,
                    };
                    let m = &mut m[i * sums + point * ROWS * PANEL..];
                    product(rows, panel, m, PANEL, false);
                }
            }
            for (k, m) in groups.clone().zip(m.chunks_exact(sums)) {
                for (r, tile) in self.tiling.group(k, ROWS).enumerate() {
                    self.write(panel, tile, &m[r * PANEL..]);
                }
            }
        });
    }

    /// A tile of a panel from its sums, which lie `12 × 32` floats apart.
    fn write(&self, panel: usize, tile: usize, m: &[f32]) {
        let mut out = [0.0; 16 * PANEL];
        match self.tiling.tile {
            Tile::Two => outputs2(m, &mut out),
            Tile::Four => outputs4(m, &mut out),
        }
        let (g, side, first) = (self.g, self.tiling.tile.side(), panel * PANEL);
        let width = PANEL.min(g.output - first);
        let bias = self.bias.map(|b| &b[first..first + width]);
        finish(&mut out, PANEL, bias, self.bounds);
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

/// Defines the transform of sums, whose points lie `12 × 32` floats apart, into a tile of 32 channels, row by row.
macro_rules! transform_sums {
    ($name:ident, $body:ident, $points:literal, $side:literal) => {
        dispatch! {
            fn $name(m: &[f32], out: &mut [f32]) = $body
        }

        #[inline(always)]
        fn $body<const FMA: bool>(m: &[f32], out: &mut [f32]) {
            for c in (0..PANEL).step_by(LANES) {
                let at = |y: usize, x: usize| &m[(y * $points + x) * ROWS * PANEL + c..];
                both::<$points, $side, LANES>(at, output::<FMA, $points, $side>, |y, x, v| {
                    store(out, (y * $side + x) * PANEL + c, *v);
                });
            }
        }
    };
}
transform_sums!(outputs2, outputs2_body, 4, 2);
transform_sums!(outputs4, outputs4_body, 6, 4);
