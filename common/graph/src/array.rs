//! A dense f32 tensor outside any framework: what files hold and what stages cut, fold and code.

use crate::error::{Error, Result, ensure};

/// A dense f32 tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The product of `shape` values.
    pub values: Vec<f32>,
}

impl Array {
    /// An array of the given shape.
    ///
    /// # Errors
    /// When the number of values is not the product of the sizes.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Result<Self> {
        let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        ensure!(n == Some(values.len()), "shape {shape:?} does not hold {} values", values.len());
        Ok(Self { shape, values })
    }

    /// The same value everywhere.
    pub fn filled(shape: &[usize], value: f32) -> Self {
        Self { shape: shape.to_vec(), values: vec![value; shape.iter().product()] }
    }

    /// Keep only `indices` of dimension `dim`, in that order.
    ///
    /// # Errors
    /// A dimension or an index that does not exist.
    pub fn select(&self, dim: usize, indices: &[usize]) -> Result<Self> {
        let n = *self.shape.get(dim).ok_or_else(|| Error::new(format!("no dimension {dim}")))?;
        ensure!(indices.iter().all(|i| *i < n), "index beyond dimension {dim} of {:?}", self.shape);
        let inner: usize = self.shape[dim + 1..].iter().product();
        let mut values = Vec::with_capacity(self.values.len() / n.max(1) * indices.len());
        for block in self.values.chunks_exact((n * inner).max(1)) {
            for i in indices {
                values.extend_from_slice(&block[i * inner..(i + 1) * inner]);
            }
        }
        let mut shape = self.shape.clone();
        shape[dim] = indices.len();
        Ok(Self { shape, values })
    }
}
