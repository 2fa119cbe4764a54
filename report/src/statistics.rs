//! What answers say: right per class, confused with what, how sure, and whether two models differ.

use artifacts::Answers;
use common::calibration::{self, Reliability};
use common::score::argmax;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Whether each picture was answered rightly.
pub(crate) fn hits(answers: &Answers) -> Vec<bool> {
    answers.logits().zip(&answers.labels).map(|(row, label)| argmax(row) == *label).collect()
}

/// Pictures of class i that were taken for class j, `[classes][classes]`.
pub(crate) fn confusion(answers: &Answers) -> Vec<Vec<usize>> {
    let classes = answers.about.classes.len();
    let mut counts = vec![vec![0; classes]; classes];
    for (row, label) in answers.logits().zip(&answers.labels) {
        counts[*label][argmax(row)] += 1;
    }
    counts
}

/// Bins of confidence: tenths.
const BINS: usize = 10;

/// The reliability of `answers`, in tenths of confidence; their logits over the temperature that the model's file has.
pub(crate) fn calibration(answers: &Answers) -> Reliability {
    let temperature = answers.about.temperature.unwrap_or(1.0);
    calibration::reliability(answers.logits(), &answers.labels, temperature, BINS)
}

/// Two models on the same pictures: how many each alone has right, and McNemar's exact test (1947):
/// the probability that `only_a` and `only_b` are at least so unequal where both are equally good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Paired {
    /// Right by a, wrong by b.
    pub(crate) only_a: usize,
    /// Right by b, wrong by a.
    pub(crate) only_b: usize,
    /// The two-sided p.
    pub(crate) p: f64,
}

impl Paired {
    /// Whether the difference is one at the 5 % level.
    pub(crate) fn differs(&self) -> bool {
        self.p < 0.05
    }
}

/// Compare answers to the same pictures.
pub(crate) fn paired(a: &Answers, b: &Answers) -> Paired {
    let (a, b) = (hits(a), hits(b));
    let count = |want: (bool, bool)| a.iter().zip(&b).filter(|(a, b)| (**a, **b) == want).count();
    let (only_a, only_b) = (count((true, false)), count((false, true)));
    Paired { only_a, only_b, p: mcnemar(only_a, only_b) }
}

/// McNemar's exact two-sided p of `b` against `c` discordant pairs.
pub(crate) fn mcnemar(b: usize, c: usize) -> f64 {
    let n = b + c;
    // Logarithms of binomial coefficients: 2^n would overflow.
    let mut log = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=b.min(c) {
        tail += log.exp();
        log += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// p values of several tests at once, in their order: each is what it would have to be below for its difference to be
/// one where the chance of any false find among them all is bounded (Holm 1979, "A simple sequentially rejective
/// multiple test procedure", section 3).
pub(crate) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least = 0.0f64;
    for (rank, i) in order.into_iter().enumerate() {
        least = least.max((p[i] * (p.len() - rank) as f64).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

/// Mean of repeated measurements and what it may be off by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Their mean.
    pub(crate) mean: f64,
    /// Their standard deviation (n − 1); 0 for a single one.
    pub(crate) deviation: f64,
    /// Half the 95 % interval of the mean by Student's t; None for a single one.
    pub(crate) half: Option<f64>,
}

/// Quantile 0.975 of Student's t for `n` degrees of freedom, at least 1.
fn quantile(n: usize) -> f64 {
    StudentsT::new(0.0, 1.0, n as f64).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975))
}

/// Mean and spread of `values`.
pub(crate) fn spread(values: &[f64]) -> Spread {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n.max(1) as f64;
    if n < 2 {
        return Spread { mean, deviation: 0.0, half: None };
    }
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = (squares / (n - 1) as f64).sqrt();
    Spread { mean, deviation, half: Some(quantile(n - 1) * deviation / (n as f64).sqrt()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use artifacts::answers::About;
    use artifacts::{Kind, Provenance, Source};
    use graph::Array;

    /// Answers to pictures of two classes.
    pub(crate) fn answers(labels: &[usize], logits: &[[f32; 2]]) -> Answers {
        let about = About {
            name: "a".to_owned(),
            classes: vec!["ja".to_owned(), "nein".to_owned()],
            model: String::new(),
            images: String::new(),
            parameters: 5,
            bytes: 6,
            multiplications: 7,
            temperature: None,
            views: Default::default(),
        };
        let provenance = Provenance::new("test", &()).unwrap();
        let (name, hash) = (String::new(), String::new());
        let source = Source { name, hash, bytes: 0, kind: Kind::Answers, provenance };
        let names = (0..labels.len()).map(|i| i.to_string()).collect();
        let logits = Array::new(vec![logits.len(), 2], logits.concat()).unwrap();
        Answers::new(about, source, names, labels.to_vec(), logits).unwrap()
    }

    /// ln 3 makes probabilities of 3/4 and 1/4, ln 19 such of 19/20 and 1/20.
    #[test]
    fn four_pictures_by_hand() {
        let labels = [0, 1, 1, 0];
        let (three, nineteen) = (3f32.ln(), 19f32.ln());
        // Right with 3/4; right with 19/20; wrong with 3/4; equal logits: the first class, right.
        let a = answers(&labels, &[[three, 0.], [0., nineteen], [three, 0.], [1., 1.]]);
        assert_eq!(hits(&a), [true, true, false, true]);
        assert_eq!(confusion(&a), [[2, 0], [1, 1]]);
        let c = calibration(&a);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}");
        let bin = |i: usize, pictures: usize, accuracy: f64, confidence: f64| {
            assert_eq!(c.bins[i].pictures, pictures, "{i}");
            near(c.bins[i].accuracy, accuracy);
            near(c.bins[i].confidence, confidence);
        };
        bin(4, 1, 1.0, 0.5);
        bin(7, 2, 0.5, 0.75);
        bin(9, 1, 1.0, 0.95);
        assert_eq!(c.bins[0], calibration::Bin::default());
        // (|1 - 1/2| + |1 - 3/2| + |1 - 19/20|) / 4
        near(c.error, 1.05 / 4.0);
        // -(ln 3/4 + ln 19/20 + ln 1/4 + ln 1/2) / 4
        near(c.nll, -(0.75f64 * 0.95 * 0.25 * 0.5).ln() / 4.0);
        // The other is right where this one is wrong, and wrong twice where it is right: p = 1.
        let b = answers(&labels, &[[0., 1.], [1., 0.], [0., 1.], [1., 0.]]);
        assert_eq!(paired(&a, &b), Paired { only_a: 2, only_b: 1, p: 1.0 });
    }

    /// By hand: ln 16 makes 16 / 17; over a temperature of 2 it is ln 4, which makes 4 / 5.
    #[test]
    fn the_temperature_of_the_file_counts() {
        let mut a = answers(&[0, 1], &[[16f32.ln(), 0.0]; 2]);
        let nll = |a: &Answers| calibration(a).nll;
        assert!((nll(&a) + (16.0f64 / 289.0).ln() / 2.0).abs() < 1e-6);
        a.about.temperature = Some(2.0);
        assert!((nll(&a) + (4.0f64 / 25.0).ln() / 2.0).abs() < 1e-6);
    }

    /// `scipy.stats.binomtest(min(b, c), b + c, 0.5).pvalue`, SciPy 1.17.1.
    #[test]
    fn mcnemar_equals_scipy() {
        for ((b, c), p) in [
            ((0, 0), 1.0),
            ((3, 3), 1.0),
            ((1, 9), 0.021_484_375),
            ((10, 25), 0.016_673_847_8),
            ((700, 800), 0.010_559_255_5),
        ] {
            assert!((mcnemar(b, c) - p).abs() < 1e-7, "{b} {c}: {} not {p}", mcnemar(b, c));
        }
    }

    /// By hand: ascending 0.005 · 4 = 0.02, 0.01 · 3 = 0.03, 0.03 · 2 = 0.06, and 0.04 · 1 is below the one before, so
    /// 0.06. At most 1.
    #[test]
    fn holm_by_hand() {
        let near = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            let is_same = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(is_same, "{found:?} not {expected:?}");
        };
        near(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
        near(&holm(&[0.6, 0.7]), &[1.0, 1.0]);
        near(&holm(&[0.03]), &[0.03]);
        near(&holm(&[]), &[]);
    }

    /// `scipy.stats.t.interval(0.95, 2, loc=mean, scale=sem)` of 0.80, 0.82, 0.85.
    #[test]
    fn spread_equals_scipy() {
        let s = spread(&[0.80, 0.82, 0.85]);
        assert!((s.mean - 0.823_333_333).abs() < 1e-8, "{s:?}");
        assert!((s.deviation - 0.025_166_115).abs() < 1e-8, "{s:?}");
        assert!((s.half.unwrap() - 0.062_516_094_8).abs() < 1e-8, "{s:?}");
        assert_eq!(spread(&[0.5]).half, None);
    }

    /// `scipy.stats.t.ppf(0.975, n)`, SciPy 1.17.1.
    #[test]
    fn quantiles_equal_scipy() {
        for (n, t) in [
            (1, 12.706205),
            (2, 4.302653),
            (9, 2.262157),
            (10, 2.228139),
            (11, 2.200985),
            (12, 2.178813),
            (15, 2.131450),
            (20, 2.085963),
            (30, 2.042272),
            (60, 2.000298),
            (1000, 1.962339),
        ] {
            assert!((quantile(n) - t).abs() < 1e-6, "{n}: {} not {t}", quantile(n));
        }
    }
}
