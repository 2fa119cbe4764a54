//! The triangular factors by which an error is fed forward.

use rayon::prelude::*;

/// Share of the mean of the diagonal that is added to it: pictures are few, and what they do not show is not free.
const DAMPING: f64 = 0.05;

/// Least of a diagonal, so that inputs which are always zero divide nothing by zero.
const LEAST: f64 = 1e-30;

/// Rows that one thread takes at least.
const ROWS: usize = 64;

/// H + δ = U·D·Uᵀ of a symmetric H, U with ones on its diagonal and zeros below. Then
/// e·H·e = Σⱼ dⱼ (eⱼ + Σ_{i<j} Uᵢⱼ eᵢ)²: what is left of the error in column j once those before it are decided, so
/// that each can make up for them (Frantar et al. 2022, "GPTQ", section 3; in this form Chee et al. 2023, "QuIP",
/// section 3.1).
pub(super) struct Factor {
    n: usize,
    /// U, row-major, its upper half alone.
    upper: Vec<f64>,
    /// D.
    pub(super) pivots: Vec<f64>,
}

impl Factor {
    /// That of `h`, n × n, row-major.
    pub(super) fn new(h: &[f64], n: usize) -> Self {
        let trace: f64 = (0..n).map(|i| h[i * n + i]).sum();
        let added = DAMPING * trace / n.max(1) as f64 + LEAST;
        let mut upper = vec![0.0; n * n];
        let mut pivots = vec![0.0; n];
        for j in (0..n).rev() {
            let (above, rest) = upper.split_at_mut(j * n);
            let (own, later) = (&mut rest[..n], &pivots[j + 1..]);
            let with = |row: &[f64], own: &[f64]| -> f64 {
                row.iter().zip(own).zip(later).map(|((a, b), d)| a * b * d).sum()
            };
            // In exact arithmetic no pivot is below what was added.
            let pivot =
                (h[j * n + j] + added - with(&own[j + 1..], &own[j + 1..])).max(added / 2.0);
            let own = &own[j + 1..];
            above.par_chunks_mut(n).enumerate().with_min_len(ROWS).for_each(|(i, row)| {
                row[j] = (h[i * n + j] - with(&row[j + 1..], own)) / pivot;
            });
            pivots[j] = pivot;
            upper[j * n + j] = 1.0;
        }
        Self { n, upper, pivots }
    }

    /// The integers of `row` on steps of `step`, one column after the other, each the nearest to its value and to what
    /// it has to make up for; at most `top`.
    pub(super) fn round(&self, row: &[f64], step: f64, top: i16) -> Vec<i16> {
        let mut wanted = row.to_vec();
        let mut codes = Vec::with_capacity(self.n);
        for i in 0..self.n {
            let most = f64::from(top);
            let code = (wanted[i] / step).round_ties_even().clamp(-most, most);
            let error = row[i] - step * code;
            let own = &self.upper[i * self.n..(i + 1) * self.n];
            for (w, u) in wanted[i + 1..].iter_mut().zip(&own[i + 1..]) {
                *w += error * u;
            }
            codes.push(code as i16);
        }
        codes
    }

    /// x of (H + δ)·x = b.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let row = |i: usize| &self.upper[i * self.n..(i + 1) * self.n];
        let mut x = b.to_vec();
        for i in (0..self.n).rev() {
            let later: f64 = row(i)[i + 1..].iter().zip(&x[i + 1..]).map(|(u, x)| u * x).sum();
            x[i] -= later;
        }
        for (x, d) in x.iter_mut().zip(&self.pivots) {
            *x /= d;
        }
        for i in 0..self.n {
            let own = x[i];
            for (x, u) in x[i + 1..].iter_mut().zip(&row(i)[i + 1..]) {
                *x -= u * own;
            }
        }
        x
    }
}
