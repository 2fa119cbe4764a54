//! The best product of two thin matrices for a wide one.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Singular values and vectors of a matrix, by the eigenvectors of its smaller Gram matrix: half of
/// f64's digits are lost on the smallest values, and f32 holds fewer than are left.
pub(crate) struct Svd {
    /// Descending.
    values: Vec<f64>,
    /// Left vectors times values, column by column, and right vectors, row by row: their product is
    /// the matrix.
    left: DMatrix<f64>,
    right: DMatrix<f64>,
}

impl Svd {
    /// Of a matrix given row by row; as many values as the shorter side is long.
    pub(crate) fn new(rows: usize, columns: usize, row_major: &[f64]) -> Self {
        let matrix = DMatrix::from_row_slice(rows, columns, row_major);
        let is_wide = rows <= columns;
        let gram = if is_wide { &matrix * matrix.transpose() } else { matrix.tr_mul(&matrix) };
        let eigen = SymmetricEigen::new(gram);
        let n = eigen.eigenvalues.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let columns: Vec<DVector<f64>> =
            order.iter().map(|i| eigen.eigenvectors.column(*i).into_owned()).collect();
        let vectors = DMatrix::from_columns(&columns);
        let values = order.iter().map(|i| eigen.eigenvalues[*i].max(0.0).sqrt()).collect();
        if is_wide {
            let right = vectors.tr_mul(&matrix);
            Self { values, left: vectors, right }
        } else {
            let left = &matrix * &vectors;
            Self { values, left, right: vectors.transpose() }
        }
    }

    /// Singular values, descending.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The least rank that keeps `energy`, a share of the sum of squared values; 1 at least.
    pub(crate) fn rank(&self, energy: f64) -> usize {
        let total: f64 = self.values.iter().map(|v| v * v).sum();
        let mut kept = 0.0;
        for (i, v) in self.values.iter().enumerate() {
            if kept >= energy * total && i > 0 {
                return i;
            }
            kept += v * v;
        }
        self.values.len()
    }

    /// `[rows, rank]` and `[rank, columns]`, row by row: their product is the best there is of this
    /// rank (Eckart & Young 1936). Each takes the square root of every singular value, so that neither
    /// is much larger than the other.
    pub(crate) fn factors(&self, rank: usize) -> (Vec<f32>, Vec<f32>) {
        let share = |k: usize, has_values: bool| -> f64 {
            let root = self.values[k].sqrt();
            match (has_values, root > 0.0) {
                (true, true) => 1.0 / root,
                (true, false) => 0.0,
                (false, _) => root,
            }
        };
        // The side that was multiplied by the matrix holds the values.
        let left_has = self.left.nrows() > self.right.ncols();
        let (rows, columns) = (self.left.nrows(), self.right.ncols());
        let mut left = Vec::with_capacity(rows * rank);
        for i in 0..rows {
            left.extend((0..rank).map(|k| (self.left[(i, k)] * share(k, left_has)) as f32));
        }
        let mut right = Vec::with_capacity(rank * columns);
        for k in 0..rank {
            let by = share(k, !left_has);
            right.extend((0..columns).map(|j| (self.right[(k, j)] * by) as f32));
        }
        (left, right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::rng::Rng;

    fn product((left, right): &(Vec<f32>, Vec<f32>), rows: usize, rank: usize) -> Vec<f64> {
        let columns = right.len() / rank;
        let at = |i: usize, j: usize| -> f64 {
            let term = |k: usize| f64::from(left[i * rank + k]) * f64::from(right[k * columns + j]);
            (0..rank).map(term).sum()
        };
        (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect()
    }

    /// `numpy.linalg.svd([[3, 1, 1], [-1, 3, 1]])`: √12 and √10 (a textbook's example).
    #[test]
    fn values_are_the_textbooks() {
        let tall = [3.0, -1.0, 1.0, 3.0, 1.0, 1.0];
        for (rows, columns, m) in [(2, 3, [3.0, 1.0, 1.0, -1.0, 3.0, 1.0]), (3, 2, tall)] {
            let svd = Svd::new(rows, columns, &m);
            for (found, expected) in svd.values().iter().zip([12f64.sqrt(), 10f64.sqrt()]) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
            let whole = product(&svd.factors(2), rows, 2);
            assert!(whole.iter().zip(m).all(|(a, b)| (a - b).abs() < 1e-6), "{whole:?}");
            assert_eq!([0.5, 0.54, 0.55, 1.0].map(|e| svd.rank(e)), [1, 1, 2, 2]);
        }
    }

    /// What rank r leaves over has the energy of the values that are cut off.
    #[test]
    fn the_rest_is_what_the_values_say() {
        for (rows, columns) in [(7, 40), (40, 7), (12, 12)] {
            let rng = &mut Rng::new(1, "matrix", rows as u64);
            let m: Vec<f64> = (0..rows * columns).map(|_| f64::from(rng.normal())).collect();
            let svd = Svd::new(rows, columns, &m);
            assert!(svd.values().windows(2).all(|v| v[0] >= v[1]));
            for rank in 1..=7 {
                let found = product(&svd.factors(rank), rows, rank);
                let off: f64 = found.iter().zip(&m).map(|(a, b)| (a - b).powi(2)).sum();
                let rest: f64 = svd.values()[rank..].iter().map(|v| v * v).sum();
                assert!((off - rest).abs() < 1e-4, "{rows} × {columns}, rank {rank}: {off} {rest}");
            }
        }
    }
}
