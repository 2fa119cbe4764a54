//! The gradient of the weight: dW = Gᵀ [Σ over tiles of (Bᵀ d B) ⊙ (A dY Aᵀ)] G, for every point a product of
//! [in × tiles] with [tiles × out], summed over the tiles in their order.

use super::kernel::{PANEL, Panel, ROWS, Rows, product};
use super::tiles::{Maps, Tiling};
use super::transforms::{both, weight_gradient};
use super::{STEP, Tile};
use crate::parallel::{prelude::*, with_scratch};
use crate::simd::{LANES, dispatch, store};
use graph::Geometry;
use std::ops::Range;

/// Tiles that are transformed in one task and summed in registers in one go.
const GROUP: usize = 64;
/// Floats of transformed inputs and gradients held at a time, of all threads together: 8 MiB.
const HELD: usize = 2 * 1024 * 1024;

/// Into `dw` `[out, in, 3, 3]`, from the input `x` and the gradient `grad` of the output.
pub(crate) fn gradient(x: &[f32], grad: &[f32], (g, tile): (&Geometry, Tile), dw: &mut [f32]) {
    assert_eq!(dw.len(), g.output * g.input * 9, "weight gradient of {g:?}");
    let tiling = Tiling::new(g, tile);
    let n = GROUP.min(tiling.count.max(1));
    let inputs = Maps::input(x, g, tiling);
    let outputs = Maps::gradient(grad, g, tiling, PANEL);
    let v = tile.points() * n * inputs.stride;
    let group = v + tile.points() * n * outputs.stride;
    let together = (HELD / group).max(1);
    let groups = tiling.count.div_ceil(n);
    let plane = g.input * PANEL;
    let panel = tile.points() * plane;
    with_scratch(g.output.div_ceil(PANEL) * panel, |sums| {
        if groups == 0 {
            sums.fill(0.0);
        }
        with_scratch(together.min(groups) * group, |held| {
            for first in (0..groups).step_by(together) {
                let held = &mut held[..together.min(groups - first) * group];
                held.par_chunks_mut(group).enumerate().for_each(|(i, held)| {
                    let (v, y) = held.split_at_mut(v);
                    inputs.transform(tiling.group(first + i, n), n, v);
                    outputs.transform(tiling.group(first + i, n), n, y);
                });
                sums.par_chunks_mut(plane).enumerate().for_each(|(i, sums)| {
                    let (p, point) = (i / tile.points(), i % tile.points());
                    for (i, held) in held.chunks_exact(group).enumerate() {
                        let (v, y) = held.split_at(v);
                        let v = &v[point * n * inputs.stride..];
                        let y = &y[point * n * outputs.stride + p * PANEL..];
                        let terms = tiling.group(first + i, n).len();
                        let y = Panel { data: y, terms, stride: outputs.stride };
                        add(sums, v, inputs.stride, y, first + i > 0);
                    }
                });
            }
        });
        finish(sums, (g, tile), dw);
    });
}

/// `sums` `[in, 32]` = or += the products of the tiles of a group at one point.
fn add(sums: &mut [f32], v: &[f32], stride: usize, y: Panel, add: bool) {
    for (i, sums) in sums.chunks_mut(ROWS * PANEL).enumerate() {
        let rows = Rows { data: &v[i * ROWS..], count: sums.len() / PANEL, row: 1, step: stride };
        product(rows, y, sums, PANEL, add);
    }
}

/// Sums `[panels, points, in, 32]` → `dw` `[out, in, 3, 3]`.
fn finish(sums: &[f32], (g, tile): (&Geometry, Tile), dw: &mut [f32]) {
    let input = g.input;
    dw.par_chunks_mut(PANEL * input * 9).enumerate().for_each(|(p, dw)| {
        let n = tile.points() * input * PANEL;
        let sums = &sums[p * n..(p + 1) * n];
        let mut taps = [0.0; STEP * 9 * PANEL];
        for first in (0..input).step_by(STEP) {
            let n = STEP.min(input - first);
            match tile {
                Tile::Two => taps2(sums, first..first + n, input, &mut taps),
                Tile::Four => taps4(sums, first..first + n, input, &mut taps),
            }
            for (o, dw) in dw.chunks_exact_mut(input * 9).enumerate() {
                for (i, d) in dw[first * 9..(first + n) * 9].iter_mut().enumerate() {
                    *d = taps[i * PANEL + o];
                }
            }
        }
    });
}

/// Defines the transform of the channels `from` of a panel `[points, in, 32]` into `taps` `[from, 9, 32]`.
macro_rules! transform {
    ($name:ident, $body:ident, $points:literal) => {
        dispatch! {
            fn $name(sums: &[f32], from: Range<usize>, input: usize, taps: &mut [f32]) = $body
        }

        #[inline(always)]
        fn $body<const FMA: bool>(
            sums: &[f32],
            from: Range<usize>,
            input: usize,
            taps: &mut [f32],
        ) {
            for (i, taps) in from.zip(taps.chunks_exact_mut(9 * PANEL)) {
                for c in (0..PANEL).step_by(LANES) {
                    let at =
                        |y: usize, x: usize| &sums[((y * $points + x) * input + i) * PANEL + c..];
                    both::<$points, 3, LANES>(at, weight_gradient::<FMA, $points, 3>, |y, x, v| {
                        store(taps, (y * 3 + x) * PANEL + c, *v);
                    });
                }
            }
        }
    };
}
transform!(taps2, taps2_body, 4);
transform!(taps4, taps4_body, 6);
