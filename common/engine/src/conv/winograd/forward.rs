//! The convolution of a batch: tiles are transformed in groups of [`ROWS`], multiplied by panels of [`PANEL`]
//! output channels, and transformed back.
//!
//! Many tiles are cut into blocks whose transformed inputs stay in L2 while all weights pass by. Of few tiles
//! (small maps, which have many channels) the weights are the larger part: there every panel of output channels
//! is a task, and weights that are not at hand in transformed form are transformed in pieces that never leave L2.
//! Every sum runs over the input channels in their order, so that the ways give the same bits.

use super::super::kernel::{Finish, PANEL, Panel, ROWS, Rows, product};
use super::super::rows::finish;
use super::Tile;
use super::panels::{Weights, packed_floats, panel_floats};
use super::tiles::{Maps, Tiling};
use super::transforms::{both, output};
use crate::parallel::{Shared, prelude::*, with_aligned};
use crate::simd::{LANES, dispatch, store};
use graph::{Bounds, Geometry};
use std::ops::Range;

/// Floats of transformed inputs and products of a block: 512 KiB, half of one core's L2.
const BLOCK: usize = 128 * 1024;
/// Most tiles that are computed panel by panel: their products with one are 576 KiB.
const FEW_TILES: usize = 128;
/// Input channels whose weights of a panel are transformed in one piece: 288 KiB.
const PIECE: usize = 64;

/// What is the same for every tile.
struct Convolution<'a> {
    g: &'a Geometry,
    tiling: Tiling,
    inputs: Maps<'a>,
    bias: Option<&'a [f32]>,
    bounds: Bounds,
    y: Shared,
}

/// `x` `[b, h, w, in]` and weights → `y` `[b, oh, ow, out]`, plus bias, clamped.
pub(crate) fn forward(
    x: &[f32],
    weights: Weights,
    bias: Option<&[f32]>,
    bounds: Bounds,
    (g, tile): (&Geometry, Tile),
    y: &mut [f32],
) {
    assert_eq!(y.len(), g.rows() * g.output, "output of {g:?}");
    let tiling = Tiling::new(g, tile);
    let inputs = Maps::input(x, g, tiling);
    let all = Convolution { g, tiling, inputs, bias, bounds, y: Shared(y.as_mut_ptr()) };
    match weights {
        _ if tiling.count <= FEW_TILES => all.by_panels(weights),
        Weights::Packed(packed) => all.by_blocks(packed),
        Weights::Plain(_) | Weights::Reversed(_) => {
            with_aligned(packed_floats(g, tile), |packed| {
                weights.pack(g, tile, packed);
                all.by_blocks(packed);
            });
        }
    }
}

impl Convolution<'_> {
    fn by_blocks(&self, packed: &[f32]) {
        let (g, tile) = (self.g, self.tiling.tile);
        assert_eq!(packed.len(), packed_floats(g, tile), "weights of {g:?}");
        let (v, m) = self.floats();
        let block = (BLOCK / (v + m)).max(1);
        let groups = self.tiling.count.div_ceil(ROWS);
        (0..groups.div_ceil(block)).into_par_iter().for_each(|b| {
            let groups = b * block..((b + 1) * block).min(groups);
            with_aligned(groups.len() * (v + m), |scratch| {
                let (inputs, sums) = scratch.split_at_mut(groups.len() * v);
                for (i, v) in groups.clone().zip(inputs.chunks_exact_mut(v)) {
                    self.inputs.transform(self.tiling.group(i, ROWS), ROWS, v);
                }
                for (p, panel) in packed.chunks_exact(panel_floats(g, tile)).enumerate() {
                    self.multiply(inputs, 0..g.input, panel, groups.clone(), sums);
                    self.write(p, groups.clone(), sums);
                }
            });
        });
    }

    fn by_panels(&self, weights: Weights) {
        let (g, tile) = (self.g, self.tiling.tile);
        let (v, m) = self.floats();
        let groups = 0..self.tiling.count.div_ceil(ROWS);
        with_aligned(groups.len() * v, |inputs| {
            inputs.par_chunks_mut(v).enumerate().for_each(|(i, v)| {
                self.inputs.transform(self.tiling.group(i, ROWS), ROWS, v);
            });
            let inputs = &*inputs;
            (0..g.output.div_ceil(PANEL)).into_par_iter().for_each(|p| {
                with_aligned(groups.len() * m, |sums| {
                    if let Weights::Packed(packed) = weights {
                        let panel = &packed[p * panel_floats(g, tile)..][..panel_floats(g, tile)];
                        self.multiply(inputs, 0..g.input, panel, groups.clone(), sums);
                    } else {
                        with_aligned(tile.points() * PIECE.min(g.input) * PANEL, |piece| {
                            for from in (0..g.input).step_by(PIECE) {
                                let channels = from..(from + PIECE).min(g.input);
                                weights.transform(g, tile, (p, channels.clone()), piece);
                                self.multiply(inputs, channels, piece, groups.clone(), sums);
                            }
                        });
                    }
                    self.write(p, groups.clone(), sums);
                });
            });
        });
    }

    /// Floats of a group's transformed inputs, `[points, 12, stride]`, and of its sums, `[points, 12, 32]`.
    fn floats(&self) -> (usize, usize) {
        let n = self.tiling.tile.points() * ROWS;
        (n * self.inputs.stride, n * PANEL)
    }

    /// `sums` of `groups` = the products of transformed `inputs` with `weights` `[points, channels, 32]`, or += for
    /// all but the first channels.
    fn multiply(
        &self,
        inputs: &[f32],
        channels: Range<usize>,
        weights: &[f32],
        groups: Range<usize>,
        sums: &mut [f32],
    ) {
        let (v, m) = self.floats();
        let (terms, row) = (channels.len(), self.inputs.stride);
        for point in 0..self.tiling.tile.points() {
            let values = &weights[point * terms * PANEL..][..terms * PANEL];
            let panel = Panel { values, step: PANEL, width: PANEL };
            for (i, k) in groups.clone().enumerate() {
                let values = &inputs[i * v + point * ROWS * row + channels.start..];
                let count = self.tiling.group(k, ROWS).len();
                let sums = &mut sums[i * m + point * ROWS * PANEL..];
                let rows = Rows { values, count, row, line: 0, col: 1 };
                let finish = if channels.start > 0 { Finish::Add } else { Finish::PLAIN };
                product((1, terms), rows, panel, finish, sums, PANEL);
            }
        }
    }

    /// A panel of the outputs of `groups` from their `sums`.
    fn write(&self, panel: usize, groups: Range<usize>, sums: &[f32]) {
        let (_, m) = self.floats();
        for (k, sums) in groups.zip(sums.chunks_exact(m)) {
            for (r, tile) in self.tiling.group(k, ROWS).enumerate() {
                self.write_tile(panel, tile, &sums[r * PANEL..]);
            }
        }
    }

    /// A tile of a panel from its sums, which lie `12 × 32` floats apart.
    fn write_tile(&self, panel: usize, tile: usize, m: &[f32]) {
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
