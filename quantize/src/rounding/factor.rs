//! The triangular factors by which an error is fed forward.

use anyhow::Result;
use rayon::prelude::*;
use reference::Matrix;
use std::ops::Range;

/// Share of the mean of the diagonal that is added to it: pictures are few, and what they do not show is not free.
const DAMPING: f64 = 0.05;

/// Least of a diagonal, so that inputs which are always zero divide nothing by zero.
const LEAST: f64 = 1e-30;

/// Rows that one thread takes at least.
const ROWS: usize = 64;

/// Columns that are gone through one by one: what all others do to them is a product of matrices.
const PANEL: usize = 64;

/// H + δ = U·D·Uᵀ of a symmetric H, U with ones on its diagonal and zeros below. Then
/// e·H·e = Σⱼ dⱼ (eⱼ + Σ_{i<j} Uᵢⱼ eᵢ)²: what is left of the error in column j once those before it are decided, so
/// that each can make up for them (Frantar et al. 2022, "GPTQ", section 3; in this form Chee et al. 2023, "QuIP",
/// section 3.1).
pub(super) struct Factor {
    n: usize,
    /// U, row-major, its upper half alone.
    pub(super) upper: Vec<f64>,
    /// D.
    pub(super) pivots: Vec<f64>,
}

/// Panels of `n` columns.
fn panels(n: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    (0..n).step_by(PANEL).map(move |start| start..(start + PANEL).min(n))
}

/// The numbers `range` of each of the rows `values`, which have `n`.
fn part(values: &[f64], n: usize, range: Range<usize>) -> Result<Matrix> {
    let width = range.len();
    let part: Vec<f64> = values.chunks(n).flat_map(|row| &row[range.clone()]).copied().collect();
    Ok(Matrix::new(&part, width)?)
}

impl Factor {
    /// That of `h`, n × n, row-major.
    ///
    /// # Errors
    /// What products of matrices say.
    pub(super) fn new(h: &[f64], n: usize) -> Result<Self> {
        let trace: f64 = (0..n).map(|i| h[i * n + i]).sum();
        let added = DAMPING * trace / n.max(1) as f64 + LEAST;
        let mut factor = Self { n, upper: vec![0.0; n * n], pivots: vec![0.0; n] };
        for panel in panels(n).rev() {
            // Σ Uᵢₖ dₖ Uⱼₖ over the columns k behind the panel, for its columns j and all rows i above their end.
            let above = &factor.upper[..panel.end * n];
            let mut weighed = above[panel.start * n..].to_vec();
            for row in weighed.chunks_mut(n) {
                row.iter_mut().zip(&factor.pivots).for_each(|(u, d)| *u *= d);
            }
            let taken = factor.behind(above, &weighed, &panel)?;
            factor.panel(h, added, panel, &taken);
        }
        Ok(factor)
    }

    /// The columns of `panel`, from the last to the first; later ones have `taken` that much off them.
    fn panel(&mut self, h: &[f64], added: f64, panel: Range<usize>, taken: &[f64]) {
        let (n, end, width) = (self.n, panel.end, panel.len());
        for j in panel.clone().rev() {
            let (above, rest) = self.upper.split_at_mut(j * n);
            let (own, later) = (&mut rest[..n], &self.pivots[j + 1..end]);
            let left = |i: usize, row: &[f64], own: &[f64]| -> f64 {
                let pairs = row[j + 1..end].iter().zip(own).zip(later);
                let near: f64 = pairs.map(|((a, b), d)| a * b * d).sum();
                h[i * n + j] - taken[i * width + j - panel.start] - near
            };
            // In exact arithmetic no pivot is below what was added.
            let pivot = (left(j, own, &own[j + 1..end]) + added).max(added / 2.0);
            own[j] = 1.0;
            let own = &own[j + 1..end];
            above.par_chunks_mut(n).enumerate().with_min_len(ROWS).for_each(|(i, row)| {
                row[j] = left(i, row, own) / pivot;
            });
            self.pivots[j] = pivot;
        }
    }

    /// Every row of `left` with every one of `right`, in the columns behind `panel`: `[rows of left, rows of right]`.
    fn behind(&self, left: &[f64], right: &[f64], panel: &Range<usize>) -> Result<Vec<f64>> {
        let (n, behind) = (self.n, panel.end..self.n);
        if behind.is_empty() {
            return Ok(vec![0.0; left.len() / n * (right.len() / n)]);
        }
        let right = part(right, n, behind.clone())?.transposed()?;
        Ok(part(left, n, behind)?.times(&right)?)
    }

    /// What the columns of `rows` before `panel` bring into it: rows · U, `[rows, panel]`.
    fn before(&self, rows: &[f64], panel: &Range<usize>) -> Result<Vec<f64>> {
        let (n, before) = (self.n, 0..panel.start);
        if before.is_empty() {
            return Ok(vec![0.0; rows.len() / n * panel.len()]);
        }
        let upper = part(&self.upper[..panel.start * n], n, panel.clone())?;
        Ok(part(rows, n, before)?.times(&upper)?)
    }

    /// The integers of each of `rows` on its step of `steps`, one column after the other, each the nearest to its value
    /// and to what it has to make up for; at most `top`.
    ///
    /// # Errors
    /// What products of matrices say.
    pub(super) fn round(&self, rows: &[f64], steps: &[f64], top: i16) -> Result<Vec<i16>> {
        let (n, most) = (self.n, f64::from(top));
        let (mut codes, mut errors) = (vec![0; rows.len()], vec![0.0; rows.len()]);
        for panel in panels(n) {
            let mut wanted = self.before(&errors, &panel)?;
            let parts = (wanted.par_chunks_mut(panel.len()), rows.par_chunks(n), steps);
            let out = (codes.par_chunks_mut(n), errors.par_chunks_mut(n));
            (parts, out).into_par_iter().for_each(|((wanted, row, step), (codes, errors))| {
                for (i, j) in panel.clone().enumerate() {
                    let code = ((row[j] + wanted[i]) / step).round_ties_even().clamp(-most, most);
                    let error = row[j] - step * code;
                    let own = &self.upper[j * n + j + 1..j * n + panel.end];
                    wanted[i + 1..].iter_mut().zip(own).for_each(|(w, u)| *w += error * u);
                    (codes[j], errors[j]) = (code as i16, error);
                }
            });
        }
        Ok(codes)
    }

    /// X of X·(H + δ) = `b`.
    ///
    /// # Errors
    /// What products of matrices say.
    pub(super) fn solve(&self, b: &[f64]) -> Result<Vec<f64>> {
        let n = self.n;
        let mut x = b.to_vec();
        for panel in panels(n).rev() {
            let own = &self.upper[panel.start * n..panel.end * n];
            let taken = self.behind(&x, own, &panel)?;
            let rows = x.par_chunks_mut(n).zip(taken.par_chunks(panel.len()));
            rows.for_each(|(x, taken)| {
                for (i, j) in panel.clone().enumerate().rev() {
                    let near = own[i * n..][j + 1..panel.end].iter().zip(&x[j + 1..panel.end]);
                    x[j] -= taken[i] + near.map(|(u, x)| u * x).sum::<f64>();
                }
            });
        }
        for x in x.chunks_mut(n) {
            x.iter_mut().zip(&self.pivots).for_each(|(x, d)| *x /= d);
        }
        for panel in panels(n) {
            let taken = self.before(&x, &panel)?;
            let rows = x.par_chunks_mut(n).zip(taken.par_chunks(panel.len()));
            rows.for_each(|(x, taken)| {
                x[panel.clone()].iter_mut().zip(taken).for_each(|(x, t)| *x -= t);
                for j in panel.clone() {
                    let (own, u) = (x[j], &self.upper[j * n + j + 1..j * n + panel.end]);
                    x[j + 1..panel.end].iter_mut().zip(u).for_each(|(x, u)| *x -= u * own);
                }
            });
        }
        Ok(x)
    }
}
