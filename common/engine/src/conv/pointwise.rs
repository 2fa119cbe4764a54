//! 1×1 convolutions fused with what stands around them: the batch norm and activation before, the max
//! pool behind. Neither the normalized input nor the unpooled output is ever stored; a tile of rows
//! passes through all of them while it is in cache, and once more on the way back.

use super::bf16;
use super::depthwise::Depthwise;
use super::gemm::{Matrix, multiply, multiply_packed, pack, packed_floats};
use super::kernel::Finish;
use super::rows::column_sum;
use crate::maxima::{max_picture, max_picture_gradient};
use crate::norm::Normalize;
use crate::parallel::{add_up, prelude::*, threads, with_scratch};
use executor::Precision;
use graph::{Bounds, Window};

/// Floats of a tile on its wider side: 256 KiB.
const TILE: usize = 64 * 1024;
/// The same where a depthwise convolution makes the input: 16 KiB, so that it is in L1 when it is read.
const DEPTHWISE_TILE: usize = 4 * 1024;
/// Floats of all partial weight gradients together, about.
const PARTIAL_FLOATS: usize = 1024 * 1024;

/// Sizes of a pointwise convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pointwise {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// Of the factors.
    pub(crate) precision: Precision,
    /// Of the max pool behind it, whose windows lie side by side.
    pub(crate) pool: Option<Window>,
}

/// An input, `[b, h, w, in]`, or what it is to be made from: normalized, or convolved.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) normalize: Option<&'a Normalize>,
    pub(crate) depthwise: Option<Depthwise<'a>>,
}

/// Pictures `first..first + pictures`, of each the rows `row..row + rows`.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    pictures: usize,
    row: usize,
    rows: usize,
}

impl Pointwise {
    fn tiles(&self, floats: usize) -> Vec<Tile> {
        let row = self.width * self.input.max(self.output);
        let step = self.pool.map_or(1, |p| p.kernel);
        let rows = (floats / row / step * step).clamp(step, self.height);
        let pictures = (floats / (row * self.height)).clamp(1, self.batch.max(1));
        let mut tiles = Vec::new();
        for first in (0..self.batch).step_by(pictures) {
            let pictures = pictures.min(self.batch - first);
            let mut row = 0;
            while row < self.height {
                // What no window covers goes with the last band.
                let left = self.height - row;
                let rows = if left < rows + step { left } else { rows };
                tiles.push(Tile { first, pictures, row, rows });
                row += rows;
            }
        }
        tiles
    }

    /// Whether factors are rounded. WebAssembly, which has no instruction for it, is spared the code.
    fn is_bf16(&self) -> bool {
        cfg!(not(target_arch = "wasm32")) && self.precision == Precision::Bf16
    }

    /// Rows and columns of output left of `rows` of convolution.
    fn pooled(&self, rows: usize) -> (usize, usize) {
        self.pool.map_or((rows, self.width), |p| (rows / p.kernel, self.width / p.kernel))
    }

    /// Floats of the output.
    fn out(&self, t: Tile) -> usize {
        let (rows, columns) = self.pooled(t.rows);
        t.pictures * rows * columns * self.output
    }

    fn input_range(&self, t: Tile) -> std::ops::Range<usize> {
        let row = self.width * self.input;
        let start = (t.first * self.height + t.row) * row;
        start..start + t.pictures * t.rows * row
    }

    /// Calls `f` with the input of a tile, `[pixels, in]`.
    fn with_input<R>(&self, x: Source, t: Tile, f: impl FnOnce(&[f32]) -> R) -> R {
        let range = self.input_range(t);
        match (x.normalize, x.depthwise) {
            (Some(normalize), _) => with_scratch(range.len(), |made| {
                normalize.rows(&x.values[range], made);
                f(made)
            }),
            (None, Some(depthwise)) => with_scratch(range.len(), |made| {
                let g = &depthwise.geometry;
                let picture = g.height * g.width * g.input;
                let pictures = made.chunks_exact_mut(range.len() / t.pictures);
                for (x, made) in x.values[t.first * picture..].chunks_exact(picture).zip(pictures) {
                    depthwise.rows(x, t.row..t.row + t.rows, made);
                }
                f(made)
            }),
            (None, None) => f(&x.values[range]),
        }
    }

    /// Floats of the weight as [`Pointwise::pack`] lays it out.
    pub(crate) fn packed_floats(&self) -> usize {
        if self.is_bf16() {
            return bf16::packed_floats(self.input, self.output);
        }
        packed_floats(self.input, self.output)
    }

    /// The weight `w` `[out, in]` in the order of the sums.
    pub(crate) fn pack(&self, w: &[f32], panels: &mut [f32]) {
        let w = Matrix::new(w, self.output, self.input, self.input).transposed();
        if self.is_bf16() {
            let pairs = bf16::packed(self.input, self.output);
            return bf16::pack(w, &mut bf16::aligned_mut(panels)[..pairs]);
        }
        pack(w, panels);
    }

    /// `y = finish(a · panels)` for `rows` of input.
    fn multiply(&self, y: &mut [f32], a: &[f32], rows: usize, panels: &[f32], finish: Finish) {
        let shape = (self.output, self.output);
        if !self.is_bf16() {
            let a = Matrix::new(a, rows, self.input, self.input);
            return multiply_packed(y, shape, a, panels, finish);
        }
        let half = self.input.div_ceil(2);
        bf16::with_pairs(rows * half, |pairs| {
            bf16::by_columns(a, self.input, pairs);
            let a = bf16::Left { values: pairs, rows, pairs: half, row: half, col: 1 };
            let panels = &bf16::aligned(panels)[..bf16::packed(self.input, self.output)];
            bf16::multiply(y, shape, a, panels, finish);
        });
    }

    /// `y = pool(x · wᵀ + bias)`, clamped, with `w` in `panels`. `places` as of a max pool, if they are wanted.
    pub(crate) fn forward(
        &self,
        x: Source,
        panels: &[f32],
        bias: Option<&[f32]>,
        bounds: Bounds,
        y: &mut [f32],
        places: &mut [u8],
    ) {
        // Each of the threads should have some of a single picture.
        let share = self.batch * self.height * self.width * self.input.max(self.output) / threads();
        let floats = if x.depthwise.is_some() { DEPTHWISE_TILE.min(share) } else { TILE };
        let (mut outs, mut rest, mut rest_places) = (Vec::new(), y, places);
        for t in self.tiles(floats) {
            let (out, tail) = rest.split_at_mut(self.out(t));
            let places = if rest_places.is_empty() { 0 } else { out.len() };
            let (place, tail_places) = rest_places.split_at_mut(places);
            outs.push((t, out, place));
            (rest, rest_places) = (tail, tail_places);
        }
        outs.into_par_iter().for_each(|(t, y, places)| {
            let rows = t.pictures * t.rows * self.width;
            self.with_input(x, t, |a| {
                let finish = Finish::Store { bias, bounds };
                let Some(window) = self.pool else {
                    return self.multiply(y, a, rows, panels, finish);
                };
                with_scratch(rows * self.output, |z| {
                    self.multiply(z, a, rows, panels, finish);
                    let size = (t.rows, self.width, self.output);
                    let n = y.len() / t.pictures;
                    let pictures = z.chunks_exact(z.len() / t.pictures).zip(y.chunks_exact_mut(n));
                    for (k, (z, y)) in pictures.enumerate() {
                        let none = places.is_empty();
                        let places = if none { &mut [] } else { &mut places[k * n..][..n] };
                        max_picture(z, y, places, size, window);
                    }
                });
            });
        });
    }

    /// Runs of tiles, each with a partial weight gradient of its own.
    fn runs(&self, tiles: usize) -> usize {
        let most = (PARTIAL_FLOATS / (self.input * self.output)).clamp(4, 16);
        tiles.div_ceil(tiles.div_ceil(most).max(1))
    }

    /// Gradients of [`Pointwise::forward`] without clamp: `grad` is that of `y`, with its `places`; `dx`
    /// that of the normalized input.
    pub(crate) fn backward(
        &self,
        x: Source,
        w: &[f32],
        (grad, places): (&[f32], &[u8]),
        dx: &mut [f32],
        dw: &mut [f32],
        db: Option<&mut [f32]>,
    ) {
        let tiles = self.tiles(TILE);
        let runs = self.runs(tiles.len());
        let per_run = tiles.len().div_ceil(runs.max(1)).max(1);
        let width = dw.len() + self.output;
        let (mut work, mut rest, mut start) = (Vec::new(), dx, 0);
        for run in tiles.chunks(per_run) {
            let mut pieces = Vec::new();
            for t in run {
                let (dx, tail) = rest.split_at_mut(self.input_range(*t).len());
                let out = start..start + self.out(*t);
                start = out.end;
                pieces.push((*t, dx, out));
                rest = tail;
            }
            work.push(pieces);
        }
        // The weight as pairs of outputs, for all tiles.
        let pairs = if self.is_bf16() { bf16::packed(self.output, self.input) } else { 0 };
        bf16::with_pairs(pairs, |panels| {
            let matrix = Matrix::new(w, self.output, self.input, self.input);
            if self.is_bf16() {
                bf16::pack(matrix, panels);
            }
            let w = (matrix, &*panels);
            with_scratch(work.len() * width, |partials| {
                work.into_par_iter().zip(partials.par_chunks_mut(width)).for_each(
                    |(run, partial)| {
                        partial.fill(0.0);
                        let (dw, db) = partial.split_at_mut(dw.len());
                        for (t, dx, out) in run {
                            let places = places.get(out.clone()).unwrap_or_default();
                            self.tile_backward(t, x, w, (&grad[out], places), dx, (dw, db));
                        }
                    },
                );
                let total = add_up(partials, width);
                let (weights, biases) = total.split_at(dw.len());
                dw.iter_mut().zip(weights).for_each(|(d, t)| *d = *t as f32);
                for (d, t) in db.into_iter().flatten().zip(biases) {
                    *d = *t as f32;
                }
            });
        });
    }

    fn tile_backward(
        &self,
        t: Tile,
        x: Source,
        w: (Matrix, &[u32]),
        (grad, places): (&[f32], &[u8]),
        dx: &mut [f32],
        (dw, db): (&mut [f32], &mut [f32]),
    ) {
        let range = self.input_range(t);
        let rows = range.len() / self.input;
        let unpooled = if self.pool.is_some() { rows * self.output } else { 0 };
        with_scratch(unpooled, |unpooled| {
            let grad = match self.pool {
                None => grad,
                Some(window) => {
                    let n = grad.len() / t.pictures;
                    let size = (t.rows, self.width, self.output);
                    let pictures = unpooled.chunks_exact_mut(rows / t.pictures * self.output);
                    let pieces = grad.chunks_exact(n).zip(places.chunks_exact(n));
                    for (dz, (grad, places)) in pictures.zip(pieces) {
                        max_picture_gradient(grad, places, dz, size, window);
                    }
                    &*unpooled
                }
            };
            column_sum(grad, db);
            self.with_input(x, t, |x| {
                if self.is_bf16() {
                    return self.gradients_bf16(rows, x, w.1, grad, dx, dw);
                }
                let g = Matrix::new(grad, rows, self.output, self.output);
                multiply(dx, self.input, false, g, w.0);
                let x = Matrix::new(x, rows, self.input, self.input);
                multiply(dw, self.input, true, g.transposed(), x);
            });
        });
    }

    /// Of `rows` of input and of output gradient, by products of bf16: `dx = grad · w`, `dw += gradᵀ · x`, where pairs
    /// are of outputs in the first and of rows in the second.
    fn gradients_bf16(
        &self,
        rows: usize,
        x: &[f32],
        w: &[u32],
        grad: &[f32],
        dx: &mut [f32],
        dw: &mut [f32],
    ) {
        let (input, output) = (self.input, self.output);
        let (half, lines) = (output.div_ceil(2), rows.div_ceil(2));
        bf16::with_pairs((rows * half).max(lines * output), |pairs| {
            let across = &mut pairs[..rows * half];
            bf16::by_columns(grad, output, across);
            let plain = Finish::Store { bias: None, bounds: Bounds::NONE };
            let a = bf16::Left { values: across, rows, pairs: half, row: half, col: 1 };
            bf16::multiply(dx, (input, input), a, w, plain);
            let down = &mut pairs[..lines * output];
            bf16::by_rows(grad, output, (0, output), down, output);
            bf16::with_pairs(bf16::packed(rows, input), |panels| {
                bf16::pack(Matrix::new(x, rows, input, input), panels);
                let a =
                    bf16::Left { values: down, rows: output, pairs: lines, row: 1, col: output };
                bf16::multiply(dw, (input, input), a, panels, Finish::Add);
            });
        });
    }
}
