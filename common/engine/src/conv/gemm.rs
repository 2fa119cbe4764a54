//! Matrix products on row-major views, on the calling thread.

/// A row-major matrix view: `rows × cols`, element `(r, c)` at `data[r * row + c * col]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row: usize,
    col: usize,
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

    fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row + (self.cols - 1) * self.col;
            assert!(last < self.data.len(), "matrix view beyond its data");
        }
    }
}

/// `out = a · b`, or `out += a · b`; rows of `out` lie `stride` floats apart.
pub(super) fn multiply(out: &mut [f32], stride: usize, add: bool, a: Matrix, b: Matrix) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    let (m, n) = (a.rows, b.cols);
    if m == 0 || n == 0 {
        return;
    }
    a.check();
    b.check();
    assert!((m - 1) * stride + n <= out.len(), "product larger than its destination");
    #[cfg(not(target_arch = "wasm32"))]
    by_gemm(out, stride, add, a, b);
    #[cfg(target_arch = "wasm32")]
    by_tiles(out, stride, add, a, b);
}

/// [`multiply`] of views that were checked.
#[cfg(not(target_arch = "wasm32"))]
fn by_gemm(out: &mut [f32], stride: usize, add: bool, a: Matrix, b: Matrix) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    // SAFETY: the assertions of `multiply` keep every access inside its slice; strides are positive.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Rows and columns of `out` that are added up in registers: eight of WebAssembly's, which hold four each.
#[cfg(any(test, target_arch = "wasm32"))]
const TILE: (usize, usize) = (4, 8);

/// [`multiply`] where the library is too large: a web page should be small.
#[cfg(any(test, target_arch = "wasm32"))]
fn by_tiles(out: &mut [f32], stride: usize, add: bool, a: Matrix, b: Matrix) {
    const N: usize = TILE.1;
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let mut panel = vec![[0.0f32; N]; k];
    for c0 in (0..n).step_by(N) {
        let width = N.min(n - c0);
        for (i, line) in panel.iter_mut().enumerate() {
            let at = |c: usize| b.data[i * b.row + (c0 + c) * b.col];
            *line = std::array::from_fn(|c| if c < width { at(c) } else { 0.0 });
        }
        for r0 in (0..m).step_by(TILE.0) {
            let rows: [usize; TILE.0] = std::array::from_fn(|r| (r0 + r).min(m - 1) * a.row);
            let mut sums = [[0.0f32; N]; TILE.0];
            for (i, line) in panel.iter().enumerate() {
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let v = a.data[row + i * a.col];
                    sum.iter_mut().zip(line).for_each(|(s, w)| *s += v * w);
                }
            }
            for (r, sum) in sums.iter().enumerate().take(m - r0) {
                let to = &mut out[(r0 + r) * stride + c0..][..width];
                for (t, s) in to.iter_mut().zip(sum) {
                    *t = if add { *t + s } else { *s };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes below, at and above the tile's, both operands as rows and as columns.
    #[test]
    fn tiles_equal_the_library() {
        let values = |n: usize, seed: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 37 + seed) % 101) as f32 / 50.0 - 1.0).collect()
        };
        for (m, n, k) in [(1, 1, 1), (3, 7, 5), (4, 8, 16), (9, 17, 33), (13, 24, 40)] {
            let (x, w) = (values(m * k, 1), values(k * n, 5));
            for (a, b) in [
                (Matrix::new(&x, m, k, k), Matrix::new(&w, k, n, n)),
                (Matrix::new(&x, k, m, m).transposed(), Matrix::new(&w, n, k, k).transposed()),
            ] {
                for add in [false, true] {
                    let stride = n + 3;
                    let (mut ours, mut theirs) = (values(m * stride, 9), values(m * stride, 9));
                    by_tiles(&mut ours, stride, add, a, b);
                    by_gemm(&mut theirs, stride, add, a, b);
                    for (o, t) in ours.iter().zip(&theirs) {
                        assert!((o - t).abs() < 1e-4, "{m} {n} {k} {add}: {o} {t}");
                    }
                }
            }
        }
    }
}
