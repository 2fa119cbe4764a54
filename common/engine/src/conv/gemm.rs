//! Matrix products on row-major views, on the calling thread.

use super::kernel::{Finish, PANEL, Panel, ROWS, Rows, groups, product};
use crate::parallel::with_scratch;

/// A row-major matrix view: `rows × cols`, element `(r, c)` at `data[r * row + c * col]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row: usize,
    pub(super) col: usize,
}

impl<'a> Matrix<'a> {
    /// `rows × cols` with `stride` floats from row to row.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, row: stride, col: 1 }
    }

    /// The same floats read as columns.
    pub(super) fn transposed(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row: self.col, col: self.row, ..self }
    }

    pub(super) fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row + (self.cols - 1) * self.col;
            assert!(last < self.data.len(), "matrix view beyond its data");
        }
    }
}

/// Floats of the panels of `columns` columns of `inner` floats.
pub(super) fn packed_floats(inner: usize, columns: usize) -> usize {
    columns.div_ceil(PANEL) * inner * PANEL
}

/// `b` as panels of [`PANEL`] columns, `[panels, rows, 32]`, zeros beyond the last column: the order in which
/// [`product`] reads it.
pub(super) fn pack(b: Matrix, packed: &mut [f32]) {
    b.check();
    assert_eq!(packed.len(), packed_floats(b.rows, b.cols), "panels of {} × {}", b.rows, b.cols);
    for (p, panel) in packed.chunks_exact_mut((b.rows * PANEL).max(1)).enumerate() {
        let (first, width) = (p * PANEL, PANEL.min(b.cols - p * PANEL));
        if width < PANEL {
            panel.fill(0.0);
        }
        if b.col == 1 {
            for (i, line) in panel.chunks_exact_mut(PANEL).enumerate() {
                line[..width].copy_from_slice(&b.data[i * b.row + first..][..width]);
            }
        } else {
            for c in 0..width {
                let column = b.data[(first + c) * b.col..].iter().step_by(b.row);
                for (line, v) in panel.chunks_exact_mut(PANEL).zip(column) {
                    line[c] = *v;
                }
            }
        }
    }
}

/// `out = finish(a · b)` for `b` `[.., columns]` in panels ([`pack`]), where rows of `out` lie `stride` floats apart.
pub(super) fn multiply_packed(
    out: &mut [f32],
    (stride, columns): (usize, usize),
    a: Matrix,
    panels: &[f32],
    finish: Finish,
) {
    assert_eq!(panels.len(), packed_floats(a.cols, columns), "inner dimensions");
    let panel = |p: usize| (&panels[p * a.cols * PANEL..], PANEL);
    by_panels(out, (stride, columns), a, panel, finish);
}

/// `panel(p)` gives the values of the right factor from column `p` · [`PANEL`] on and how far its lines lie apart.
fn by_panels<'a>(
    out: &mut [f32],
    (stride, columns): (usize, usize),
    a: Matrix,
    panel: impl Fn(usize) -> (&'a [f32], usize),
    finish: Finish,
) {
    a.check();
    for p in 0..columns.div_ceil(PANEL) {
        let (first, width) = (p * PANEL, PANEL.min(columns - p * PANEL));
        let finish = finish.columns(first..first + width);
        let (values, step) = panel(p);
        for group in groups(a.rows, ROWS) {
            let left = a.data.get(group.start * a.row..).unwrap_or_default();
            let rows = Rows { values: left, count: group.len(), row: a.row, line: 0, col: a.col };
            let out = &mut out[group.start * stride + first..];
            product((1, a.cols), rows, Panel { values, step, width }, finish, out, stride);
        }
    }
}

/// `out = a · b`, or `out += a · b`; rows of `out` lie `stride` floats apart.
pub(super) fn multiply(out: &mut [f32], stride: usize, add: bool, a: Matrix, b: Matrix) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    b.check();
    let finish = if add { Finish::Add } else { Finish::PLAIN };
    if b.col == 1 {
        let panel = |p: usize| (b.data.get(p * PANEL..).unwrap_or_default(), b.row);
        return by_panels(out, (stride, b.cols), a, panel, finish);
    }
    with_scratch(packed_floats(b.rows, b.cols), |panels| {
        pack(b, panels);
        multiply_packed(out, (stride, b.cols), a, panels, finish);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, limit};
    use graph::Bounds;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn element(m: Matrix, r: usize, c: usize) -> f64 {
        f64::from(m.data[r * m.row + c * m.col])
    }

    /// Sizes below, at and above a tile's, both operands as rows and as columns, every instruction set, against sums
    /// in f64.
    #[test]
    fn products_are_those_of_the_definition() {
        let _turn = crate::simd::turn();
        let sizes = [(1, 1, 1), (3, 7, 5), (12, 32, 16), (16, 33, 40), (25, 70, 33), (13, 16, 0)];
        for level in [Level::Avx512, Level::Avx2, Level::Baseline] {
            limit(level);
            for (m, n, k) in sizes {
                let (x, w, bias) = (values(m * k, 1), values(k * n, 5), values(n, 3));
                for (a, b) in [
                    (Matrix::new(&x, m, k, k), Matrix::new(&w, k, n, n)),
                    (Matrix::new(&x, k, m, m).transposed(), Matrix::new(&w, n, k, k).transposed()),
                ] {
                    let stride = n + 3;
                    let before = values(m * stride, 9);
                    let mut panels = vec![0.0; packed_floats(k, n)];
                    pack(b, &mut panels);
                    let store = Finish::Store { bias: Some(&bias), bounds: Bounds::RELU };
                    let mut results = [(); 3].map(|()| before.clone());
                    multiply(&mut results[0], stride, false, a, b);
                    multiply(&mut results[1], stride, true, a, b);
                    multiply_packed(&mut results[2], (stride, n), a, &panels, store);
                    for (i, v) in before.iter().enumerate() {
                        let (r, c) = (i / stride, i % stride);
                        let found = [0, 1, 2].map(|j| f64::from(results[j][i]));
                        if c >= n {
                            assert_eq!(found, [f64::from(*v); 3], "the gap at {r}, {c}");
                            continue;
                        }
                        let sum: f64 = (0..k).map(|i| element(a, r, i) * element(b, i, c)).sum();
                        let biased = (sum + f64::from(bias[c])).max(0.0);
                        for (f, e) in found.iter().zip([sum, sum + f64::from(*v), biased]) {
                            assert!((f - e).abs() < 1e-5, "{level:?} {m} {n} {k}: {f} {e}");
                        }
                    }
                }
            }
        }
        limit(Level::Avx512);
    }
}
