//! Accuracy, its confidence interval, and the row every evaluation writes.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Position of the largest value; the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// Number of rows of `logits` `[n, classes]` whose largest value is at the label.
pub fn correct(logits: &[f32], labels: &[usize]) -> usize {
    let classes = logits.len() / labels.len().max(1);
    let rows = logits.chunks_exact(classes.max(1)).zip(labels);
    rows.filter(|(row, label)| argmax(row) == **label).count()
}

/// The 95 % interval of a proportion (Wilson 1927): unlike ± 1.96 standard errors it stays inside
/// 0..1 and holds for proportions near the ends.
pub fn wilson(correct: usize, n: usize) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (n.max(1) as f64, correct as f64 / n.max(1) as f64);
    let center = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    ((center - half) / scale, (center + half) / scale)
}

/// One evaluation of one file on one set of pictures: a row of `eval/*.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What the file is called in tables.
    pub name: String,
    /// Where it was read from.
    pub file: String,
    /// Its content hash.
    pub hash: String,
    /// Trained values in the network (after folding, for a coded file).
    pub parameters: usize,
    /// Bytes on disk.
    pub bytes: usize,
    /// Pictures.
    pub pictures: usize,
    /// Pictures answered correctly.
    pub correct: usize,
    /// Share of correct answers.
    pub top1: f64,
    /// Lower end of its 95 % Wilson interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Share of correct answers by the plain view alone; None in files that were written before there were others.
    #[serde(default)]
    pub plain_top1: Option<f64>,
    /// The views of a picture whose mean logits answered, as a list; empty in files from before there were others.
    #[serde(default)]
    pub views: String,
}

impl Row {
    /// Write as a CSV of one row.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(self)?;
        artifacts::artifact::save_bytes(path, &writer.into_inner()?)
    }

    /// Read the rows of a CSV.
    ///
    /// # Errors
    /// A file that cannot be read or has other columns.
    pub fn load(path: &Path) -> Result<Vec<Self>> {
        let wrong = || format!("{}: not a file written by infer eval", path.display());
        let mut reader = csv::Reader::from_path(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let rows: Vec<Self> = reader.deserialize().collect::<Result<_, _>>().with_context(wrong)?;
        ensure!(!rows.is_empty(), "{}: has no rows", path.display());
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.binomtest(c, n).proportion_ci(0.95, method="wilson")`, SciPy 1.17.1.
    #[test]
    fn wilson_equals_scipy() {
        for ((c, n), (low, high)) in [
            ((3018, 3430), (0.868_576_534, 0.890_340_274)),
            ((0, 10), (0.0, 0.277_532_800)),
            ((10, 10), (0.722_467_200, 1.0)),
            ((1, 3), (0.061_491_945, 0.792_340_399)),
        ] {
            let (l, h) = wilson(c, n);
            assert!((l - low).abs() < 1e-8 && (h - high).abs() < 1e-8, "{c}/{n}: {l} {h}");
        }
    }

    #[test]
    fn argmax_takes_the_first_of_equals() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(correct(&[1.0, 0.0, 0.0, 1.0, 2.0, 1.0], &[0, 1, 1]), 2);
    }
}
