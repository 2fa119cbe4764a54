//! The gradient of the weight: dW = Gᵀ [Σ over tiles of (Bᵀ d B) ⊙ (A dY Aᵀ)] G, for every point a product of
//! [in × tiles] with [tiles × out], summed over the tiles in their order.

use super::super::kernel::{Finish, PANEL, Panel, ROWS, Rows, product};
use super::tiles::{Maps, Tiling};
use super::transforms::{both, weight_gradient};
use super::{STEP, Tile};
use crate::parallel::{Shared, prelude::*, with_aligned};
use crate::simd::{LANES, dispatch, store};
use graph::Geometry;
use std::ops::Range;

/// Tiles that are transformed in one task and summed in registers in one go.
const GROUP: usize = 64;
/// Input channels of a block of sums: 216 KiB.
const ROWS_TOGETHER: usize = 4 * ROWS;
/// Blocks of sums that are tasks by themselves; of fewer every point is one.
const FEWEST_TASKS: usize = 8;
/// Floats of transformed inputs and gradients held at a time, of all threads together: 8 MiB.
const HELD: usize = 2 * 1024 * 1024;

/// What is the same for every block of the weight.
struct Sums<'a> {
    g: &'a Geometry,
    tiling: Tiling,
    inputs: Maps<'a>,
    outputs: Maps<'a>,
    /// Tiles of a group.
    tiles: usize,
    /// Input channels of a block.
    rows: usize,
}

/// Into `dw` `[out, in, 3, 3]`, from the input `x` and the gradient `grad` of the output.
///
/// A block of the sums is [`ROWS_TOGETHER`] input channels and [`PANEL`] output channels at all points. Where the
/// tiles can be held all at once, a block is summed and transformed back while it stays in L2: those of 512 by 512
/// channels together are 38 MB.
pub(crate) fn gradient(x: &[f32], grad: &[f32], (g, tile): (&Geometry, Tile), dw: &mut [f32]) {
    assert_eq!(dw.len(), g.output * g.input * 9, "weight gradient of {g:?}");
    let tiling = Tiling::new(g, tile);
    if tiling.count == 0 {
        return dw.fill(0.0);
    }
    let sums = Sums {
        g,
        tiling,
        inputs: Maps::input(x, g, tiling),
        outputs: Maps::gradient(grad, g, tiling, PANEL),
        tiles: GROUP.min(tiling.count),
        rows: ROWS_TOGETHER.min(g.input),
    };
    let groups = tiling.count.div_ceil(sums.tiles);
    let blocks = g.input.div_ceil(sums.rows) * g.output.div_ceil(PANEL);
    let plane = sums.rows * PANEL;
    let block = tile.points() * plane;
    let together = (HELD.max(blocks * block) / sums.group()).max(1);
    let dw = Shared(dw.as_mut_ptr());
    with_aligned(together.min(groups) * sums.group(), |held| {
        if groups <= together && blocks >= FEWEST_TASKS {
            sums.transform(0, held);
            (0..blocks).into_par_iter().for_each(|b| {
                with_aligned(block, |total| {
                    for (point, total) in total.chunks_exact_mut(plane).enumerate() {
                        sums.add(b, point, held, 0, total);
                    }
                    sums.finish(b, total, &dw);
                });
            });
            return;
        }
        with_aligned(blocks * block, |total| {
            for first in (0..groups).step_by(together) {
                let held = &mut held[..together.min(groups - first) * sums.group()];
                sums.transform(first, held);
                total.par_chunks_mut(plane).enumerate().for_each(|(i, total)| {
                    sums.add(i / tile.points(), i % tile.points(), held, first, total);
                });
            }
            total.par_chunks_mut(block).enumerate().for_each(|(b, total)| {
                sums.finish(b, total, &dw);
            });
        });
    });
}

impl Sums<'_> {
    /// Floats of a group's transformed inputs, and of these and its gradients.
    fn split(&self) -> (usize, usize) {
        let v = self.tiling.tile.points() * self.tiles * self.inputs.stride;
        (v, v + self.tiling.tile.points() * self.tiles * self.outputs.stride)
    }

    fn group(&self) -> usize {
        self.split().1
    }

    /// The groups from `first` on, transformed, into `held`.
    fn transform(&self, first: usize, held: &mut [f32]) {
        let (v, group) = self.split();
        held.par_chunks_mut(group).enumerate().for_each(|(i, held)| {
            let tiles = self.tiling.group(first + i, self.tiles);
            let (v, y) = held.split_at_mut(v);
            self.inputs.transform(tiles.clone(), self.tiles, v);
            self.outputs.transform(tiles, self.tiles, y);
        });
    }

    /// Panel and input channels of a block.
    fn block(&self, b: usize) -> (usize, Range<usize>) {
        let blocks = self.g.input.div_ceil(self.rows);
        let from = b % blocks * self.rows;
        (b / blocks, from..(from + self.rows).min(self.g.input))
    }

    /// One point of a block, `total` `[rows, 32]`, = or += the products of the groups from `first` on.
    fn add(&self, b: usize, point: usize, held: &[f32], first: usize, total: &mut [f32]) {
        let (v, group) = self.split();
        let (panel, channels) = self.block(b);
        for (i, held) in held.chunks_exact(group).enumerate() {
            let terms = self.tiling.group(first + i, self.tiles).len();
            let (v, y) = held.split_at(v);
            let v = &v[point * self.tiles * self.inputs.stride..];
            let y = &y[point * self.tiles * self.outputs.stride + panel * PANEL..];
            let y = Panel { values: y, step: self.outputs.stride, width: PANEL };
            let finish = if first + i > 0 { Finish::Add } else { Finish::PLAIN };
            for (from, total) in channels.clone().step_by(ROWS).zip(total.chunks_mut(ROWS * PANEL))
            {
                let count = ROWS.min(channels.end - from);
                let col = self.inputs.stride;
                let rows = Rows { values: &v[from..], count, row: 1, line: 0, col };
                product((1, terms), rows, y, finish, total, PANEL);
            }
        }
    }

    /// The sums of a block, `[points, rows, 32]`, transformed back, into its part of `dw` `[out, in, 3, 3]`.
    fn finish(&self, b: usize, total: &[f32], dw: &Shared) {
        let (panel, channels) = self.block(b);
        let first = panel * PANEL;
        let mut taps = [0.0; STEP * 9 * PANEL];
        let mut run = [0.0; STEP * 9];
        for from in channels.clone().step_by(STEP) {
            let n = STEP.min(channels.end - from);
            let rows = from - channels.start..from - channels.start + n;
            match self.tiling.tile {
                Tile::Two => taps2(total, rows, self.rows, &mut taps),
                Tile::Four => taps4(total, rows, self.rows, &mut taps),
            }
            for o in 0..PANEL.min(self.g.output - first) {
                for (i, v) in run[..n * 9].iter_mut().enumerate() {
                    *v = taps[i * PANEL + o];
                }
                let at = ((first + o) * self.g.input + from) * 9;
                // SAFETY: output channel first + o < out and the input channels from..from + n ≤ in lie inside
                // `dw`; no other task has this block.
                unsafe {
                    std::ptr::copy_nonoverlapping(run.as_ptr(), dw.0.add(at), n * 9);
                }
            }
        }
    }
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
