//! Patches of a picture as rows of a matrix, and back.
//!
//! Row `r` of the matrix holds the `k·k·n` inputs that output position `r` of one channel group
//! sees, tap by tap: `[ky][kx][channel]`. Weights are packed the same way ([`pack_weights`]).

use graph::Geometry;
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
    let (k, s, [above, left]) = (g.window.kernel, g.window.stride, g.before());
    let skip = left.saturating_sub(ox * s);
    let first = (ox * s + skip).saturating_sub(left);
    let taps = (k - skip.min(k)).min(g.width.saturating_sub(first));
    if taps == 0 {
        return;
    }
    for ky in 0..k {
        let y = oy * s + ky;
        if y >= above && y - above < g.height {
            f(ky * k + skip, (y - above) * g.width + first, taps);
        }
    }
}

/// Gather the patches of output positions `rows` of one picture `x` `[h, w, in]`.
pub(super) fn gather(x: &[f32], out: &mut [f32], g: &Geometry, c: Channels, rows: Range<usize>) {
    let patch = g.window.taps() * c.count;
    if c.count == g.input {
        // Line by line of the output; the copies of stems are of a few floats, for which a call would
        // take longer than the copy, so their lengths are known to the compiler.
        let mut rest = out;
        let mut start = rows.start;
        while start < rows.end {
            let oy = start / g.out_width();
            let end = ((oy + 1) * g.out_width()).min(rows.end);
            let (line, tail) = rest.split_at_mut((end - start) * patch);
            let columns = start - oy * g.out_width()..end - oy * g.out_width();
            match g.window.kernel * g.input {
                9 => gather_line::<9>(x, line, g, oy, columns),
                21 => gather_line::<21>(x, line, g, oy, columns),
                _ => gather_line::<0>(x, line, g, oy, columns),
            }
            (rest, start) = (tail, end);
        }
        return;
    }
    for (row, position) in out.chunks_exact_mut(patch).zip(rows) {
        row.fill(0.0);
        let (oy, ox) = (position / g.out_width(), position % g.out_width());
        covered(g, oy, ox, |tap, pixel, taps| {
            for t in 0..taps {
                let from = (pixel + t) * g.input + c.first;
                row[(tap + t) * c.count..(tap + t + 1) * c.count]
                    .copy_from_slice(&x[from..from + c.count]);
            }
        });
    }
}

/// The patches of output positions `columns` of line `oy`, all channels. `N` = kernel · channels, or 0
/// where the compiler does not know.
#[inline]
fn gather_line<const N: usize>(
    x: &[f32],
    out: &mut [f32],
    g: &Geometry,
    oy: usize,
    columns: Range<usize>,
) {
    let (k, s, c, [above, left]) = (g.window.kernel, g.window.stride, g.input, g.before());
    let n = k * c;
    for ky in 0..k {
        let y = oy * s + ky;
        let line = if y >= above && y - above < g.height {
            &x[(y - above) * g.width * c..(y - above + 1) * g.width * c]
        } else {
            &[]
        };
        for (patch, ox) in out.chunks_exact_mut(k * n).zip(columns.clone()) {
            let to = &mut patch[ky * n..(ky + 1) * n];
            if line.is_empty() {
                to.fill(0.0);
                continue;
            }
            let inside = ox * s >= left && ox * s - left + k <= g.width;
            if inside {
                let from = &line[(ox * s - left) * c..];
                match (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
                    (Some(from), Some(to)) if N > 0 => *to = *from,
                    _ => to.copy_from_slice(&from[..n]),
                }
                continue;
            }
            for (kx, to) in to.chunks_exact_mut(c).enumerate() {
                match (ox * s + kx).checked_sub(left) {
                    Some(ix) if ix < g.width => to.copy_from_slice(&line[ix * c..(ix + 1) * c]),
                    _ => to.fill(0.0),
                }
            }
        }
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
    let patch = g.window.taps() * c.count;
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
