//! Patches of a picture as rows of a matrix, and back.
//!
//! Row `r` of the matrix holds the `k·k·n` inputs that output position `r` of one channel group
//! sees, tap by tap: `[ky][kx][channel]`. Weights are packed the same way ([`pack_weights`]).

use super::Geometry;
use std::ops::Range;

/// Channels `first..first + count` of the input: one group.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// For each kernel row of output position `(oy, ox)`: its offset in a patch and the input pixels it
/// covers, as `(patch offset in taps, first pixel, number of pixels)`; taps outside are left out.
#[inline]
fn covered(g: &Geometry, oy: usize, ox: usize, mut f: impl FnMut(usize, usize, usize)) {
    let (k, s, p) = (g.window.kernel, g.window.stride, g.window.padding);
    let skip = p.saturating_sub(ox * s);
    let left = (ox * s + skip).saturating_sub(p);
    let taps = (k - skip.min(k)).min(g.width.saturating_sub(left));
    if taps == 0 {
        return;
    }
    for ky in 0..k {
        let y = oy * s + ky;
        if y >= p && y - p < g.height {
            f(ky * k + skip, (y - p) * g.width + left, taps);
        }
    }
}

/// Gather the patches of output positions `rows` of one picture `x` `[h, w, in]`.
pub(super) fn gather(x: &[f32], out: &mut [f32], g: &Geometry, c: Channels, rows: Range<usize>) {
    let patch = g.window.kernel * g.window.kernel * c.count;
    let inside = g.window.padding == 0;
    for (row, position) in out.chunks_exact_mut(patch).zip(rows) {
        if !inside {
            row.fill(0.0);
        }
        let (oy, ox) = (position / g.out_width(), position % g.out_width());
        covered(g, oy, ox, |tap, pixel, taps| {
            if c.count == g.input {
                row[tap * c.count..(tap + taps) * c.count]
                    .copy_from_slice(&x[pixel * g.input..(pixel + taps) * g.input]);
                return;
            }
            for t in 0..taps {
                let from = (pixel + t) * g.input + c.first;
                row[(tap + t) * c.count..(tap + t + 1) * c.count]
                    .copy_from_slice(&x[from..from + c.count]);
            }
        });
    }
}

/// Add patches back to the picture they came from: the adjoint of [`gather`].
pub(super) fn scatter_add(
    patches: &[f32],
    x: &mut [f32],
    g: &Geometry,
    c: Channels,
    rows: Range<usize>,
) {
    let patch = g.window.kernel * g.window.kernel * c.count;
    for (row, position) in patches.chunks_exact(patch).zip(rows) {
        let (oy, ox) = (position / g.out_width(), position % g.out_width());
        covered(g, oy, ox, |tap, pixel, taps| {
            for t in 0..taps {
                let to = (pixel + t) * g.input + c.first;
                let from = (tap + t) * c.count;
                let source = &row[from..from + c.count];
                for (d, s) in x[to..to + c.count].iter_mut().zip(source) {
                    *d += s;
                }
            }
        });
    }
}

/// `[out, n, k, k]` → `[out, k·k, n]`, the order of a patch.
pub(super) fn pack_weights(w: &[f32], taps: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; w.len()];
    reorder(w, n, taps, &mut out);
    out
}

/// `[out, k·k, n]` → `[out, n, k, k]`.
pub(super) fn unpack_weights(w: &[f32], taps: usize, n: usize, out: &mut [f32]) {
    reorder(w, taps, n, out);
}

/// `[.., a, b]` → `[.., b, a]`.
fn reorder(w: &[f32], a: usize, b: usize, out: &mut [f32]) {
    if a == 1 || b == 1 {
        return out.copy_from_slice(w);
    }
    for (from, to) in w.chunks_exact(a * b).zip(out.chunks_exact_mut(a * b)) {
        for (i, line) in from.chunks_exact(b).enumerate() {
            for (j, v) in line.iter().enumerate() {
                to[j * a + i] = *v;
            }
        }
    }
}
