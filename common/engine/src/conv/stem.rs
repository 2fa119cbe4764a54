//! Plain convolutions of few input channels, as of a network's first layer: too few for the sums of
//! [`super::direct`], and gathering patches would take longer than the sums.
//!
//! Of one kernel row, taps and channels lie side by side in the picture, so a row of the product is read where it is;
//! for that the picture gets its margin of zeros.

use super::kernel::{Finish, PANEL, Panel, ROWS, Rows, groups, product};
use crate::maxima::max_picture;
use crate::parallel::{Bands, fill, with_scratch};
use graph::Bounds;
use graph::{Geometry, Window};
use std::ops::Range;

/// Floats of a band of results before the pool: 64 KiB.
const BAND: usize = 16 * 1024;

/// `x` `[b, h, w, in]` and weights as [`super::direct::pack`] packs them → `y` `[b, oh, ow, out]`, plus bias, clamped; with `pool`, the maxima of
/// its windows, which lie side by side.
pub(crate) fn forward(
    x: &[f32],
    packed: &[f32],
    (bias, bounds): (Option<&[f32]>, Bounds),
    g: &Geometry,
    pool: Option<Window>,
    y: &mut [f32],
) {
    let (line, picture) = (g.out_width() * g.output, g.height * g.width * g.input);
    let k = pool.map_or(1, |p| p.kernel);
    // Of the result: rows of a picture, floats of a row.
    let (rows, row) = (g.out_height() / k, g.out_width() / k * g.output);
    let bands = Bands::new(rows, BAND / (k * line));
    fill(y, bands.lengths(g.batch, row), |i, y| {
        let (b, Range { start: first, .. }) = bands.place(i);
        let x = &x[b * picture..(b + 1) * picture];
        // Input lines that the band sees, with the margin.
        let seen = (y.len() / row * k - 1) * g.window.stride + g.window.kernel;
        let padded = seen * wide(g) * g.input;
        with_scratch(padded + if pool.is_some() { k * line } else { 0 }, |scratch| {
            let (padded, lines) = scratch.split_at_mut(padded);
            pad(x, g, first * k * g.window.stride, padded);
            for (oy, y) in y.chunks_exact_mut(row).enumerate() {
                let Some(window) = pool else {
                    one_line(padded, packed, (bias, bounds), y, oy, g);
                    continue;
                };
                for (i, line) in lines.chunks_exact_mut(line).enumerate() {
                    one_line(padded, packed, (bias, bounds), line, oy * k + i, g);
                }
                max_picture(lines, y, &mut [], (k, g.out_width(), g.output), window);
            }
        });
    });
}

/// Pixels of a line of the picture with its margin.
fn wide(g: &Geometry) -> usize {
    g.before()[1] + g.width + g.window.behind(g.width)
}

/// Lines of the picture `x` `[h, w, in]` with its margin, from line `first` of the latter on.
fn pad(x: &[f32], g: &Geometry, first: usize, padded: &mut [f32]) {
    let ([above, left], c) = (g.before(), g.input);
    let (row, wide) = (g.width * c, wide(g) * c);
    for (i, to) in padded.chunks_exact_mut(wide).enumerate() {
        let (left, rest) = to.split_at_mut(left * c);
        let (middle, right) = rest.split_at_mut(row);
        left.fill(0.0);
        right.fill(0.0);
        match (first + i).checked_sub(above).filter(|y| *y < g.height) {
            Some(y) => middle.copy_from_slice(&x[y * row..(y + 1) * row]),
            None => middle.fill(0.0),
        }
    }
}

/// Line `oy` of the result of lines with their margin.
fn one_line(
    padded: &[f32],
    packed: &[f32],
    (bias, bounds): (Option<&[f32]>, Bounds),
    y: &mut [f32],
    oy: usize,
    g: &Geometry,
) {
    let Window { kernel, stride, .. } = g.window;
    let (c, out, ow) = (g.input, g.output, g.out_width());
    let (line, inner) = (wide(g) * c, kernel * kernel * c);
    for p in 0..out.div_ceil(PANEL) {
        let (first, width) = (p * PANEL, PANEL.min(out - p * PANEL));
        let finish = Finish::Store { bias, bounds }.columns(first..first + width);
        let panel = Panel { values: &packed[p * inner * PANEL..], step: PANEL, width };
        for group in groups(ow, ROWS) {
            let values = &padded[oy * stride * line + group.start * stride * c..];
            let rows = Rows { values, count: group.len(), row: stride * c, line, col: 1 };
            let y = &mut y[group.start * out + first..];
            product((kernel, kernel * c), rows, panel, finish, y, out);
        }
    }
}
