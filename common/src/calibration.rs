//! Logits → probabilities, how far these can be believed, and what makes them more believable.
//!
//! One number does (Guo et al. 2017, "On calibration of modern neural networks", section 4.2): logits are divided by a
//! temperature, which changes no answer, only how sure it is. A second number tells pictures of the known classes from
//! others: the largest probability (Hendrycks and Gimpel 2017, section 3).
//!
//! The energy, the logarithm of the sum of the powers of logits (Liu et al. 2020, section 3), and the largest logit
//! were measured, too (area under the curve of known against unknown, largest probability / energy / largest logit). A
//! network for clothes, asked about food: 0.87 / 0.93 / 0.93; one for eight of ten kinds of clothes, asked about the
//! other two: 0.68 / 0.63 / 0.63; one for food that is right of four answers in ten, asked about clothes: 0.23 /
//! 0.23 / 0.22. What is like a known class is found a little better by the probability, what is like none by the
//! others, and where the network knows little none of them helps; so it is the number that people see anyway.

use crate::score::{argmax, correct};
use crate::share::Share;
use anyhow::{Result, ensure};
use artifacts::Calibration;

/// Probabilities of one picture's logits: softmax of logits over `temperature`, in f64.
pub fn probabilities(logits: &[f32], temperature: f64) -> Vec<f64> {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers = logits.iter().map(|v| ((f64::from(*v) - top) / temperature).exp());
    let powers: Vec<f64> = powers.collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Pictures whose largest probability lies in one part of 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub pictures: usize,
    /// Share of them that was right.
    pub accuracy: f64,
    /// Mean of their largest probabilities.
    pub confidence: f64,
}

/// How far probabilities can be believed (Guo et al. 2017, section 2).
#[derive(Clone, Debug)]
pub struct Reliability {
    /// Equal bins of confidence, the first from above 0, the last up to 1.
    pub bins: Vec<Bin>,
    /// Expected calibration error: the mean distance of confidence from accuracy over pictures.
    pub error: f64,
    /// Mean negative logarithm of the right class's probability.
    pub nll: f64,
}

/// The reliability of `rows` of logits, one a picture, at this temperature, in so many bins.
pub fn reliability<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    labels: &[usize],
    temperature: f64,
    bins: usize,
) -> Reliability {
    let count = bins.max(1);
    let mut bins = vec![Bin::default(); count];
    let (mut nll, n) = (0.0, labels.len().max(1) as f64);
    for (row, label) in rows.zip(labels) {
        let p = probabilities(row, temperature);
        let best = argmax(row);
        let bin = &mut bins[((p[best] * count as f64).ceil() as usize).clamp(1, count) - 1];
        bin.pictures += 1;
        bin.accuracy += f64::from(u8::from(best == *label));
        bin.confidence += p[best];
        nll -= p[*label].max(f64::MIN_POSITIVE).ln();
    }
    let error = bins.iter().map(|b| (b.accuracy - b.confidence).abs()).sum::<f64>() / n;
    for bin in &mut bins {
        bin.accuracy /= bin.pictures.max(1) as f64;
        bin.confidence /= bin.pictures.max(1) as f64;
    }
    Reliability { bins, error, nll: nll / n }
}

/// Temperatures that are tried, from 1 over this to this. Beyond it the pictures say nothing of one.
const FURTHEST: f64 = 20.0;

/// Halvings of that range: more than f64 has digits for.
const HALVINGS: usize = 64;

/// How fast the mean negative log-likelihood grows with 1 / temperature: by how much the logit that a picture's
/// probabilities expect is above that of its class.
fn slope(logits: &[f32], labels: &[usize], inverse: f64) -> f64 {
    let rows = logits.chunks_exact(logits.len() / labels.len());
    let one = |(row, label): (&[f32], &usize)| {
        let p = probabilities(row, 1.0 / inverse);
        let expected: f64 = p.iter().zip(row).map(|(p, v)| p * f64::from(*v)).sum();
        expected - f64::from(row[*label])
    };
    rows.zip(labels).map(one).sum()
}

/// The temperature of least mean negative log-likelihood, to three decimals. That is convex in 1 / temperature, so
/// its slope is halved down to where it changes sign, in f64, picture after picture.
fn temperature(logits: &[f32], labels: &[usize]) -> f64 {
    let (mut low, mut high) = (1.0 / FURTHEST, FURTHEST);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        *(if slope(logits, labels, middle) < 0.0 { &mut low } else { &mut high }) = middle;
    }
    // Never 0: the range begins at 0.05.
    (2000.0 / (low + high)).round() / 1000.0
}

/// What makes the `logits` `[n, classes]` of pictures with these `labels` believable.
///
/// Where all pictures are answered rightly, no temperature is cold enough: it stays 1.
///
/// The threshold lies so that at most `false_reject` of all pictures are below it, those that are answered wrongly
/// among them: they are of known classes, too. Of n pictures ascending by their largest probability it is that of
/// number ⌊`false_reject` · n⌋, counted from 0, rounded down to four decimals.
///
/// # Errors
/// Logits that are not finite; no pictures.
pub fn fit(logits: &[f32], labels: &[usize], false_reject: Share) -> Result<Calibration> {
    let n = labels.len();
    ensure!(n > 0 && logits.len().is_multiple_of(n), "{} logits of {n} pictures", logits.len());
    ensure!(logits.iter().all(|v| v.is_finite()), "logits that are not finite");
    let classes = logits.len() / n;
    ensure!(classes > 0, "no logits");
    let temperature = if correct(logits, labels) < n { temperature(logits, labels) } else { 1.0 };
    let largest = |row: &[f32]| probabilities(row, temperature)[argmax(row)];
    let mut sure: Vec<f64> = logits.chunks_exact(classes).map(largest).collect();
    sure.sort_by(f64::total_cmp);
    let threshold = (sure[false_reject.at_most(n).min(n - 1)] * 1e4).floor() / 1e4;
    let mut found = Calibration { temperature, threshold, rejected: 0.0 };
    let below = sure.iter().filter(|p| found.is_unknown(**p)).count();
    found.rejected = (below as f64 / n as f64 * 1e4).round() / 1e4;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: e^1 / (e^1 + e^0) = 0.731059; over 2, e^0.5 / (e^0.5 + e^0) = 0.622459.
    #[test]
    fn probabilities_sum_to_one() {
        for (temperature, expected) in [(1.0, 0.731_058_578_6), (2.0, 0.622_459_331_2)] {
            let p = probabilities(&[1001.0, 1000.0], temperature);
            assert!((p[0] - expected).abs() < 1e-9 && (p[0] + p[1] - 1.0).abs() < 1e-12);
        }
    }

    /// By hand: of pictures that all have logits 4 and 0 and of which 3 in 4 are right, the likeliest probability is
    /// 3 / 4, so 4 / T = ln 3 and T = 3.641; where a half is right, no temperature is hot enough for 1 / 2.
    #[test]
    fn the_temperature_makes_confidence_the_share_of_right_answers() {
        let logits = [[4.0f32, 0.0]; 8].concat();
        for (labels, expected) in
            [([0, 0, 0, 1, 0, 0, 1, 0], 3.641), ([0, 1, 0, 1, 0, 1, 0, 1], FURTHEST), ([0; 8], 1.0)]
        {
            let found = fit(&logits, &labels, Share::of_parts(0, 1)).unwrap();
            assert_eq!(found.temperature, expected, "{labels:?}");
        }
    }

    /// Golden section over ln T of the mean negative log-likelihood, in plain Python: T = 9.251818, where labels are
    /// as good as random; 0.921433, where 33 of 40 answers are right.
    #[test]
    fn the_temperature_is_the_likeliest() {
        let row =
            |i: usize| [0, 1, 2, 3].map(|c| ((i * 7 + c * 5) % 11 * (1 + i % 3)) as f32 / 4.0);
        let logits = (0..40).flat_map(row).collect::<Vec<_>>();
        let any = |i: usize| (i * i + i) / 2 % 4;
        let most = |i: usize| if i.is_multiple_of(5) { any(i) } else { argmax(&row(i)) };
        for (label, expected) in [(&any as &dyn Fn(usize) -> usize, 9.252), (&most, 0.921)] {
            let labels: Vec<usize> = (0..40).map(label).collect();
            let found = fit(&logits, &labels, Share::of_parts(1, 20)).unwrap();
            assert_eq!(found.temperature, expected);
            let nll = |t| reliability(logits.chunks_exact(4), &labels, t, 15).nll;
            assert!(nll(expected) < nll(expected + 0.01) && nll(expected) < nll(expected - 0.01));
        }
        let labels: Vec<usize> = (0..40).map(most).collect();
        let before = reliability(logits.chunks_exact(4), &labels, 1.0, 15).nll;
        assert!((before - 0.844_143_410_8).abs() < 1e-9, "{before}");
    }

    #[test]
    fn the_threshold_lets_no_more_fall_below_than_said() {
        let probability = [0.52, 0.6, 0.6, 0.7, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98f64];
        let rows = probability.map(|p| [(p / (1.0 - p)).ln() as f32, 0.0]);
        // All right, so the temperature is 1 and the probabilities are those.
        for (share, threshold, rejected) in [
            ((0, 1), 0.5199, 0.0),
            ((1, 10), 0.5999, 0.1),
            ((2, 10), 0.5999, 0.1),
            ((3, 10), 0.6999, 0.3),
        ] {
            let found = fit(&rows.concat(), &[0; 10], Share::of_parts(share.0, share.1)).unwrap();
            let off = (found.threshold - threshold).abs();
            assert!(off < 1.01e-4 && found.rejected == rejected, "{share:?}: {found:?}");
            let below = probability.iter().filter(|p| found.is_unknown(**p)).count();
            assert!(below * share.1 as usize <= share.0 as usize * 10, "{share:?}: {below}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for logits in [vec![], vec![1.0], vec![f32::NAN, 0.0, 1.0, 2.0]] {
            assert!(fit(&logits, &[0, 1], Share::of_parts(1, 20)).is_err(), "{logits:?}");
        }
        assert!(fit(&[], &[], Share::of_parts(1, 20)).is_err());
    }
}
