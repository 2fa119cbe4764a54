//! Products of matrices in f64.

use candle_core::{Device, Result, Tensor};

/// A matrix.
pub struct Matrix(Tensor);

impl Matrix {
    /// Of `values`, row after row of `columns` numbers.
    ///
    /// # Errors
    /// Values that are not whole rows.
    pub fn new(values: &[f64], columns: usize) -> Result<Self> {
        let rows = values.len() / columns.max(1);
        Tensor::from_slice(values, (rows, columns), &Device::Cpu).map(Self)
    }

    /// Its transpose; nothing is copied.
    ///
    /// # Errors
    /// None that candle knows.
    pub fn transposed(&self) -> Result<Self> {
        self.0.t().map(Self)
    }

    /// The product with `right`, row after row; on one machine the same bits for any number of threads.
    ///
    /// # Errors
    /// A `right` of other rows than this one's columns.
    pub fn times(&self, right: &Self) -> Result<Vec<f64>> {
        self.0.matmul(&right.0)?.flatten_all()?.to_vec1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: (1 2; 3 4; 5 6) and (7 8; 9 10).
    #[test]
    fn products_are_those_of_rows_with_columns() {
        let a = Matrix::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2).unwrap();
        let b = Matrix::new(&[7.0, 8.0, 9.0, 10.0], 2).unwrap();
        assert_eq!(a.times(&b).unwrap(), [25.0, 28.0, 57.0, 64.0, 89.0, 100.0]);
        let turned = a.times(&b.transposed().unwrap()).unwrap();
        assert_eq!(turned, [23.0, 29.0, 53.0, 67.0, 83.0, 105.0]);
        let own = a.transposed().unwrap().times(&a).unwrap();
        assert_eq!(own, [35.0, 44.0, 44.0, 56.0]);
        assert!(b.times(&a).is_err() && Matrix::new(&[1.0; 3], 2).is_err());
    }
}
