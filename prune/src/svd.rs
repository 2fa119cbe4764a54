//! The best product of two thin matrices for a wide one.

use anyhow::{Result, bail};

/// Singular values and vectors of a matrix, by rotations that set its columns at right angles (one-sided
/// Jacobi; Hestenes 1958). Values are off by the last digits of the largest: where it is 1, 1e-8 is right to
/// eight digits. The eigenvalues of the Gram matrix, which are squares, leave none of them.
pub(crate) struct Svd {
    /// Descending.
    values: Vec<f64>,
    is_wide: bool,
    /// Of every value the vector of the matrix's shorter side, of length 1; zeros for a value of 0.
    short: Vec<Vec<f64>>,
    /// That of its longer side, times the value.
    long: Vec<Vec<f64>>,
}

impl Svd {
    /// Of a matrix given row by row; as many values as the shorter side is long.
    ///
    /// # Errors
    /// No values were found, as where the matrix holds what is not finite.
    pub(crate) fn new(rows: usize, columns: usize, row_major: &[f64]) -> Result<Self> {
        let is_wide = rows <= columns;
        let (n, length) = (rows.min(columns), rows.max(columns));
        let at =
            |i: usize, j: usize| row_major[if is_wide { i * columns + j } else { j * columns + i }];
        let line = |i: usize| -> Vec<f64> { (0..length).map(|j| at(i, j)).collect() };
        let lines: Vec<Vec<f64>> = (0..n).map(line).collect();
        let triangle = triangle(lines.clone());
        let column = |j: usize| -> Vec<f64> { triangle.iter().map(|line| line[j]).collect() };
        let mut scaled: Vec<(f64, Vec<f64>)> = at_right_angles((0..n).map(column).collect())?;
        scaled.sort_by(|a, b| b.0.total_cmp(&a.0));
        let unit = |(value, vector): &(f64, Vec<f64>)| -> Vec<f64> {
            vector.iter().map(|v| if *value > 0.0 { v / value } else { 0.0 }).collect()
        };
        let short: Vec<Vec<f64>> = scaled.iter().map(unit).collect();
        let values = scaled.into_iter().map(|(value, _)| value).collect();
        let times_lines = |vector: &Vec<f64>| {
            let mut sum = vec![0.0; length];
            vector.iter().zip(&lines).for_each(|(by, line)| add(&mut sum, *by, line));
            sum
        };
        let long = short.iter().map(times_lines).collect();
        Ok(Self { values, is_wide, short, long })
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
    /// is much larger than the other. There are as many ranks as values, and none of 0.
    pub(crate) fn factors(&self, rank: usize) -> (Vec<f32>, Vec<f32>) {
        let scaled = |vectors: &[Vec<f64>], by: fn(f64) -> f64| -> Vec<Vec<f32>> {
            let vectors = vectors.iter().zip(&self.values).take(rank);
            let scale = |(vector, value): (&Vec<f64>, &f64)| -> Vec<f32> {
                vector.iter().map(|v| (v * by(*value)) as f32).collect()
            };
            vectors.map(scale).collect()
        };
        let short = scaled(&self.short, f64::sqrt);
        let long = scaled(&self.long, |v| if v > 0.0 { 1.0 / v.sqrt() } else { 0.0 });
        let (left, right) = if self.is_wide { (short, long) } else { (long, short) };
        let rows = left[0].len();
        let left = (0..rows).flat_map(|i| left.iter().map(move |column| column[i])).collect();
        (left, right.concat())
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Eight sums, which can be added to at once.
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|k| sums[k] += a[k] * b[k]);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn add(sum: &mut [f64], by: f64, line: &[f64]) {
    sum.iter_mut().zip(line).for_each(|(sum, v)| *sum += by * v);
}

/// The lower triangle L of `lines` = L Q, Q's rows at right angles (Householder 1958): it has the singular
/// values of `lines` and the vectors of their shorter side. Its columns are nearly at right angles already
/// (Drmač & Veselić 2008, "New fast and accurate Jacobi SVD algorithm I", section 2).
fn triangle(mut lines: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = lines.len();
    for i in 0..n {
        let (above, below) = lines.split_at_mut(i + 1);
        let line = &mut above[i];
        let mirror = &mut line[i..];
        let diagonal = -dot(mirror, mirror).sqrt().copysign(mirror[0]);
        mirror[0] -= diagonal;
        let square = dot(mirror, mirror);
        if square > 0.0 {
            for other in below {
                let by = -2.0 * dot(mirror, &other[i..]) / square;
                add(&mut other[i..], by, mirror);
            }
        }
        line.truncate(i);
        line.push(diagonal);
        line.resize(n, 0.0);
    }
    lines
}

/// Most passes over all pairs; a dozen are enough for matrices of a thousand columns.
const MOST_SWEEPS: usize = 40;

/// `vectors` rotated in pairs until any two are at right angles, and their lengths.
fn at_right_angles(mut vectors: Vec<Vec<f64>>) -> Result<Vec<(f64, Vec<f64>)>> {
    let tolerance = f64::EPSILON * (vectors.len() as f64).sqrt();
    for _ in 0..MOST_SWEEPS {
        let mut squares: Vec<f64> = vectors.iter().map(|v| dot(v, v)).collect();
        let mut is_done = true;
        for j in 1..vectors.len() {
            let (before, behind) = vectors.split_at_mut(j);
            let b = &mut behind[0];
            for (i, a) in before.iter_mut().enumerate() {
                let product = dot(a, b);
                if product.abs() <= tolerance * squares[i].sqrt() * squares[j].sqrt() {
                    continue;
                }
                let cotangent = (squares[j] - squares[i]) / (2.0 * product);
                let tangent = cotangent.signum() / (cotangent.abs() + cotangent.hypot(1.0));
                if tangent == 0.0 {
                    continue; // one is as good as 0 beside the other
                }
                is_done = false;
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = cosine * tangent;
                for (a, b) in a.iter_mut().zip(&mut *b) {
                    (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
                }
                squares[i] = (squares[i] - tangent * product).max(0.0); // rounding may miss 0
                squares[j] = (squares[j] + tangent * product).max(0.0);
            }
        }
        if is_done {
            return Ok(vectors.into_iter().map(|v| (dot(&v, &v).sqrt(), v)).collect());
        }
    }
    bail!("no singular values after {MOST_SWEEPS} passes: are all of its values finite?")
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
            let svd = Svd::new(rows, columns, &m).unwrap();
            for (found, expected) in svd.values().iter().zip([12f64.sqrt(), 10f64.sqrt()]) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
            let whole = product(&svd.factors(2), rows, 2);
            assert!(whole.iter().zip(m).all(|(a, b)| (a - b).abs() < 1e-6), "{whole:?}");
            assert_eq!([0.5, 0.54, 0.55, 1.0].map(|e| svd.rank(e)), [1, 1, 2, 2]);
        }
    }

    /// ```python
    /// import numpy as np
    /// x, m = 1, []
    /// for _ in range(54):
    ///     x = (75 * x + 74) % 65537
    ///     m.append(x / 65537 - 0.5)
    /// print(np.linalg.svd(np.reshape(m, (6, 9)))[1])      # NumPy 2.4.6
    /// ```
    #[test]
    fn values_are_numpys() {
        let numbers = std::iter::successors(Some(1u32), |x| Some((75 * x + 74) % 65537));
        let m: Vec<f64> = numbers.skip(1).take(54).map(|x| f64::from(x) / 65537.0 - 0.5).collect();
        let turned: Vec<f64> = (0..54).map(|i| m[i % 6 * 9 + i / 6]).collect();
        for svd in [Svd::new(6, 9, &m).unwrap(), Svd::new(9, 6, &turned).unwrap()] {
            let numpys = [
                1.227_915_436_289,
                1.065_652_464_833,
                0.961_394_443_010,
                0.660_804_458_878,
                0.496_951_437_716,
                0.355_994_799_254,
            ];
            for (found, expected) in svd.values().iter().zip(numpys) {
                assert!((found - expected).abs() < 1e-12, "{found} {expected}");
            }
        }
    }

    /// The matrix of Läuchli (1961): its values are √(2 + e²) and e. Its Gram matrix rounds to ones, whose
    /// values are √2 and 0.
    #[test]
    fn small_values_are_not_lost() {
        let e = 1e-8;
        assert_eq!([1.0 + e * e, 1.0], [1.0; 2], "a Gram matrix of rank 1");
        for svd in [
            Svd::new(2, 3, &[1.0, e, 0.0, 1.0, 0.0, e]).unwrap(),
            Svd::new(3, 2, &[1.0, 1.0, e, 0.0, 0.0, e]).unwrap(),
        ] {
            let [large, small] = svd.values() else { unreachable!() };
            assert!((large - 2f64.sqrt()).abs() < 1e-15, "{large}");
            assert!((small / e - 1.0).abs() < 1e-7, "{small}");
        }
    }

    /// Also where values are 0 or equal.
    #[test]
    fn vectors_are_at_right_angles() {
        let rng = &mut Rng::new(1, "matrix", 0);
        let mut random = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.normal().into()).collect() };
        let identity: Vec<f64> = (0..64).map(|i| f64::from(u8::from(i % 9 == 0))).collect();
        let lines = random(3 * 50);
        let of_rank_3: Vec<f64> = [0, 1, 2, 1, 0, 2, 0].map(|i| &lines[i * 50..][..50]).concat();
        for (rows, columns, m) in [
            (30, 50, random(30 * 50)),
            (50, 30, random(30 * 50)),
            (8, 8, identity),
            (7, 50, of_rank_3),
            (4, 5, vec![0.0; 20]),
        ] {
            let Svd { values, short, long, .. } = Svd::new(rows, columns, &m).unwrap();
            for i in 0..values.len() {
                for j in 0..=i {
                    let value = if i == j { values[i] } else { 0.0 };
                    let (one, square) = (f64::from(u8::from(value > 0.0)), value.powi(2));
                    assert!((dot(&short[i], &short[j]) - one).abs() < 1e-13, "{i} {j}");
                    let off = (dot(&long[i], &long[j]) - square).abs();
                    assert!(off <= 1e-13 * values[0].powi(2), "{i} {j}: {off}");
                }
            }
        }
    }

    /// By hand: rows a, 3a, b, b of lengths 1, 3, 1, 1, all at right angles but for these, and two of zeros, have
    /// the values √(1 + 9), √(1 + 1) and four of 0.
    #[test]
    fn zero_and_parallel_filters_have_values() {
        let (a, b) = ([0.6, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0], [0.0, 0.28, 0.0, -0.96, 0.0, 0.0, 0.0]);
        let rows = [[0.0; 7], a, b, a.map(|v| 3.0 * v), [0.0; 7], b];
        let (m, turned) =
            (rows.concat(), (0..42).map(|i| rows[i % 6][i / 6]).collect::<Vec<f64>>());
        for svd in [Svd::new(6, 7, &m).unwrap(), Svd::new(7, 6, &turned).unwrap()] {
            for (found, expected) in
                svd.values().iter().zip([10f64.sqrt(), 2f64.sqrt(), 0.0, 0.0, 0.0, 0.0])
            {
                assert!((found - expected).abs() < 1e-15 * 10.0, "{:?}", svd.values());
            }
            assert!(svd.factors(6).0.iter().all(|v| v.is_finite()));
        }
    }

    /// Filters of few whole numbers: many are zero, parallel or equally long. The squares of their values add up
    /// to those of their numbers.
    #[test]
    fn filters_of_any_rank_have_values() {
        for seed in 0..2000 {
            let rng = &mut Rng::new(seed, "matrix", 0);
            let (rows, columns) = (1 + seed as usize % 9, 1 + seed as usize / 9 % 12);
            let m: Vec<f64> =
                (0..rows * columns).map(|_| f64::from(rng.normal()).round() * 0.1).collect();
            let svd = Svd::new(rows, columns, &m).unwrap();
            let (found, all) = (dot(svd.values(), svd.values()), dot(&m, &m));
            assert!((found - all).abs() <= 1e-14 * all, "{m:?}: {:?}", svd.values());
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for v in [f64::NAN, f64::INFINITY] {
            let refused = Svd::new(2, 2, &[1.0, v, 0.0, 1.0]).err().unwrap().to_string();
            assert!(refused.contains("are all of its values finite"), "{refused}");
        }
    }

    /// What rank r leaves over has the energy of the values that are cut off.
    #[test]
    fn the_rest_is_what_the_values_say() {
        for (rows, columns) in [(7, 40), (40, 7), (12, 12)] {
            let rng = &mut Rng::new(1, "matrix", rows as u64);
            let m: Vec<f64> = (0..rows * columns).map(|_| f64::from(rng.normal())).collect();
            let svd = Svd::new(rows, columns, &m).unwrap();
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
