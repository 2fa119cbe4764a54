//! Channels of one map into channels of another; one block of rows per task.
//!
//! Activations are rows of channels, `[rows, channels]`: each row is a pixel.

use crate::parallel::{block_rows, prelude::*};

/// Channels `from..from + n` of `x` `[rows, from_width]` → channels `to..to + n` of `y`
/// `[rows, to_width]`; with `add`, added to what is there.
fn transfer(
    x: &[f32],
    (from, from_width): (usize, usize),
    y: &mut [f32],
    (to, to_width): (usize, usize),
    n: usize,
    add: bool,
) {
    let rows = block_rows(from_width.max(to_width));
    let blocks = y.par_chunks_mut(rows * to_width).zip(x.par_chunks(rows * from_width));
    blocks.for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(to_width).zip(x.chunks_exact(from_width)) {
            let (y, x) = (&mut y[to..to + n], &x[from..from + n]);
            if add {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            } else {
                y.copy_from_slice(x);
            }
        }
    });
}

/// `x` `[rows, n]` → channels `at..at + n` of `y` `[rows, width]`: one input of a concatenation.
pub(crate) fn put(x: &[f32], n: usize, y: &mut [f32], (at, width): (usize, usize)) {
    transfer(x, (0, n), y, (at, width), n, false);
}

/// Channels `at..at + n` of `x` `[rows, width]` → `y` `[rows, n]`: a split.
pub(crate) fn take(x: &[f32], (at, width): (usize, usize), n: usize, y: &mut [f32]) {
    transfer(x, (at, width), y, (0, n), n, false);
}

/// Adds `x` `[rows, n]` to channels `at..at + n` of `y` `[rows, width]`: the gradient of a split.
pub(crate) fn put_more(x: &[f32], n: usize, y: &mut [f32], (at, width): (usize, usize)) {
    transfer(x, (0, n), y, (at, width), n, true);
}
