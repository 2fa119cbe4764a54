//! Convolution as matrix products over tiles of gathered patches.
//!
//! The weight gradient, a sum over all output positions, is either summed from a fixed number of
//! partial results (small weights) or computed block by block of the weight with the positions in
//! order (large weights): both give the same bits for any number of threads.

use super::gemm::{Matrix, multiply};
use super::patches::{Channels, gather, pack_weights, scatter_add};
use super::rows::finish;
use crate::parallel::{fill, fill_blocks, prelude::*, sum_blocks, with_scratch};
use graph::Bounds;
use graph::Geometry;
use std::borrow::Cow;

/// Floats of patches gathered at a time: 512 KiB, about one core's L2.
const TILE: usize = 128 * 1024;
/// Fewest rows of a product: below this, packing the weights dominates.
const MIN_ROWS: usize = 192;
/// Weights up to this many floats get partial gradients.
pub(super) const SMALL_WEIGHT: usize = 64 * 1024;
/// Number of partial weight gradients.
const PARTIALS: usize = 16;
/// Floats of patches gathered together for a large weight gradient: 4 MiB.
const LARGE_TILE: usize = 1024 * 1024;
/// Output channels per task of a large weight gradient.
const CHANNEL_BLOCK: usize = 64;

/// Sizes of the matrix product of one group.
pub(super) struct Product {
    /// Output positions per picture.
    positions: usize,
    /// Length of a patch: `k · k · in / groups`.
    patch: usize,
    /// Output channels per group.
    out: usize,
    /// Pictures handled together, where they are small.
    pictures: usize,
    /// Output positions of a picture handled together.
    rows: usize,
}

impl Product {
    pub(super) fn new(g: &Geometry) -> Self {
        let positions = g.out_height() * g.out_width();
        let taps = g.window.taps();
        let patch = taps * g.input / g.groups;
        let rows = (TILE / patch.max(g.output)).max(MIN_ROWS);
        let pictures = (rows / positions).clamp(1, g.batch.max(1));
        Self { positions, patch, out: g.output / g.groups, pictures, rows: rows.min(positions) }
    }

    /// Floats of the patches of a tile.
    fn tile(&self, g: &Geometry) -> usize {
        if g.is_pointwise() { 0 } else { self.pictures * self.rows * self.patch }
    }

    /// Tiles `(first picture, pictures, first position, positions)` that cover `pictures`.
    fn tiles(&self, pictures: std::ops::Range<usize>) -> Vec<(usize, usize, usize, usize)> {
        let mut tiles = Vec::new();
        for first in pictures.clone().step_by(self.pictures) {
            let n = self.pictures.min(pictures.end - first);
            for start in (0..self.positions).step_by(self.rows) {
                tiles.push((first, n, start, self.rows.min(self.positions - start)));
            }
        }
        tiles
    }
}

/// Patches of a tile, one group: gathered, or the input itself where it is the matrix already.
fn patches<'a>(
    x: &'a [f32],
    buffer: &'a mut [f32],
    g: &Geometry,
    p: &Product,
    group: usize,
    (first, n, start, rows): (usize, usize, usize, usize),
) -> Matrix<'a> {
    let count = g.input / g.groups;
    let channels = Channels { first: group * count, count };
    let picture = g.height * g.width * g.input;
    if g.is_pointwise() {
        let from = (first * p.positions + start) * g.input + channels.first;
        return Matrix::new(&x[from..], n * rows, count, g.input);
    }
    let buffer = &mut buffer[..n * rows * p.patch];
    for (i, out) in buffer.chunks_exact_mut(rows * p.patch).enumerate() {
        let x = &x[(first + i) * picture..(first + i + 1) * picture];
        gather(x, out, g, channels, start..start + rows);
    }
    Matrix::new(buffer, n * rows, p.patch, p.patch)
}

/// Weights in patch order, and group `i` of them as a matrix `[out / groups, patch]`.
fn packed<'a>(w: &'a [f32], g: &Geometry) -> Cow<'a, [f32]> {
    let taps = g.window.taps();
    if taps == 1 {
        return Cow::Borrowed(w);
    }
    Cow::Owned(pack_weights(w, taps, g.input / g.groups))
}

fn group_weights<'a>(packed: &'a [f32], p: &Product, group: usize) -> Matrix<'a> {
    let n = p.out * p.patch;
    Matrix::new(&packed[group * n..(group + 1) * n], p.out, p.patch, p.patch)
}

/// See [`super::forward`].
pub(crate) fn forward(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    bounds: Bounds,
    g: &Geometry,
    y: &mut [f32],
) {
    let p = Product::new(g);
    let w = packed(w, g);
    let tiles = p.tiles(0..g.batch);
    fill(y, tiles.iter().map(|(_, n, _, rows)| n * rows * g.output), |i, y| {
        with_scratch(p.tile(g), |buffer| {
            for group in 0..g.groups {
                let a = patches(x, buffer, g, &p, group, tiles[i]);
                let b = group_weights(&w, &p, group).transposed();
                multiply(&mut y[group * p.out..], g.output, false, a, b);
            }
        });
        finish(y, g.output, bias, bounds);
    });
}

/// Output gradients of a tile, one group.
fn grads<'a>(
    grad: &'a [f32],
    g: &Geometry,
    p: &Product,
    group: usize,
    (first, n, start, rows): (usize, usize, usize, usize),
) -> Matrix<'a> {
    let from = (first * p.positions + start) * g.output + group * p.out;
    Matrix::new(&grad[from..], n * rows, p.out, g.output)
}

/// Into `dx` `[b, h, w, in]`, by products scattered back from patches.
pub(super) fn input_gradient(w: &[f32], grad: &[f32], g: &Geometry, p: &Product, dx: &mut [f32]) {
    let w = &*packed(w, g);
    let picture = g.height * g.width * g.input;
    let count = g.input / g.groups;
    fill_blocks(dx, p.pictures * picture, |i, dx| {
        let pictures = i * p.pictures..((i + 1) * p.pictures).min(g.batch);
        if !g.is_pointwise() {
            dx.fill(0.0);
        }
        with_scratch(p.tile(g), |buffer| {
            for tile in p.tiles(pictures) {
                let (_, n, start, rows) = tile;
                for group in 0..g.groups {
                    let a = grads(grad, g, p, group, tile);
                    let b = group_weights(w, p, group);
                    if g.is_pointwise() {
                        let dx = &mut dx[start * g.input + group * count..];
                        multiply(dx, g.input, false, a, b);
                        continue;
                    }
                    let buffer = &mut buffer[..n * rows * p.patch];
                    multiply(buffer, p.patch, false, a, b);
                    let c = Channels { first: group * count, count };
                    let pieces =
                        buffer.chunks_exact(rows * p.patch).zip(dx.chunks_exact_mut(picture));
                    for (patches, dx) in pieces {
                        scatter_add(patches, dx, g, c, start..start + rows);
                    }
                }
            }
        });
    });
}

/// The weight gradient as a sum of [`PARTIALS`] partial ones, each over a run of tiles.
pub(super) fn weight_gradient_by_rows(
    x: &[f32],
    grad: &[f32],
    g: &Geometry,
    p: &Product,
    dw: &mut [f32],
) {
    let tiles = p.tiles(0..g.batch);
    let width = g.output * p.patch;
    let total = sum_blocks(tiles.len(), tiles.len().div_ceil(PARTIALS), width, |range, partial| {
        with_scratch(p.tile(g), |buffer| {
            for &tile in &tiles[range] {
                for group in 0..g.groups {
                    let a = grads(grad, g, p, group, tile).transposed();
                    let b = patches(x, buffer, g, p, group, tile);
                    multiply(&mut partial[group * p.out * p.patch..], p.patch, true, a, b);
                }
            }
        });
    });
    for (d, t) in dw.iter_mut().zip(total) {
        *d = t as f32;
    }
}

/// The weight gradient of a plain convolution, each block of output channels on its own.
pub(super) fn weight_gradient_by_channels(
    x: &[f32],
    grad: &[f32],
    g: &Geometry,
    p: &Product,
    dw: &mut [f32],
) {
    let picture = g.height * g.width * g.input;
    let together = (LARGE_TILE / (p.positions * p.patch)).clamp(1, g.batch.max(1));
    let floats = if g.is_pointwise() { 0 } else { together * p.positions * p.patch };
    with_scratch(floats, |buffer| {
        for first in (0..g.batch).step_by(together) {
            let n = together.min(g.batch - first);
            let rows = n * p.positions;
            let b = if g.is_pointwise() {
                Matrix::new(&x[first * picture..], rows, p.patch, p.patch)
            } else {
                let buffer = &mut buffer[..rows * p.patch];
                let all = Channels { first: 0, count: g.input };
                buffer.par_chunks_mut(p.positions * p.patch).enumerate().for_each(|(i, out)| {
                    let x = &x[(first + i) * picture..(first + i + 1) * picture];
                    gather(x, out, g, all, 0..p.positions);
                });
                Matrix::new(buffer, rows, p.patch, p.patch)
            };
            dw.par_chunks_mut(CHANNEL_BLOCK * p.patch).enumerate().for_each(|(i, dw)| {
                let from = first * p.positions * g.output + i * CHANNEL_BLOCK;
                let a = Matrix::new(&grad[from..], rows, dw.len() / p.patch, g.output).transposed();
                multiply(dw, p.patch, first > 0, a, b);
            });
        }
    });
}
