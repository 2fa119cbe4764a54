//! Matrix products on row-major views, on the calling thread.

use gemm::Parallelism;

/// A row-major matrix view: `rows × cols`, element `(r, c)` at `data[r * row + c * col]`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row: usize,
    col: usize,
}

impl<'a> View<'a> {
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
pub(super) fn multiply(out: &mut [f32], stride: usize, add: bool, a: View, b: View) {
    assert_eq!(a.cols, b.rows, "inner dimensions");
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if m == 0 || n == 0 {
        return;
    }
    a.check();
    b.check();
    assert!((m - 1) * stride + n <= out.len(), "product larger than its destination");
    // SAFETY: the three assertions above keep every access inside its slice; strides are positive.
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
            Parallelism::None,
        );
    }
}
