//! `report compare`: two models on the same pictures.

use crate::statistics::{self as st, Paired};
use anyhow::{Context, Result};
use artifacts::Answers;
use comfy_table::{CellAlignment, Table, presets};
use common::cli::count;
use common::score;
use std::fmt::Write;
use std::path::PathBuf;

/// Compare the answers of two models to the same pictures.
///
/// Accuracy with its 95 % interval (Wilson), what each alone has right, McNemar's exact test, the same per
/// class, what each class is most often taken for, and how far probabilities can be believed.
#[derive(clap::Args)]
#[command(
    after_help = "Answers lie beside the CSV that infer eval writes: X.answers.safetensors for X.csv.

Examples:
  report compare artifacts/smoke/eval/student.csv artifacts/smoke/eval/shipped.csv
  report compare student.answers.safetensors pruned.answers.safetensors"
)]
pub(crate) struct Compare {
    /// Answers of the first model, or the CSV beside them.
    a: PathBuf,
    /// Answers of the second.
    b: PathBuf,
}

impl Compare {
    pub(crate) fn run(self) -> Result<String> {
        let load = |path: &PathBuf| {
            let missing = || format!("no answers of {}: run infer eval --out", path.display());
            let csv = path.extension().is_some_and(|e| e == "csv");
            let file = if csv { Answers::beside(path) } else { path.clone() };
            Answers::load(&file).with_context(missing)
        };
        let (a, b) = (load(&self.a)?, load(&self.b)?);
        a.check_same_pictures(&b)?;
        let mut out = String::new();
        writeln!(out, "{}", overall(&a, &b))?;
        writeln!(out, "{}\n", verdict(&a, &b, st::paired(&a, &b)))?;
        writeln!(out, "{}", classes(&a, &b))?;
        write!(out, "{}", confidence(&a, &b))?;
        Ok(out)
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// The finished text, numbers to the right.
fn aligned(mut table: Table, words: usize) -> String {
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n", table.trim_fmt())
}

fn overall(a: &Answers, b: &Answers) -> String {
    let header = ["model", "parameters", "bytes", "top-1", "95 % interval", "right", "pictures"];
    let mut rows = table(header);
    for x in [a, b] {
        let (n, right) = (x.labels.len(), st::hits(x).iter().filter(|h| **h).count());
        let (low, high) = score::wilson(right, n);
        let name = x.about.name.clone();
        let [parameters, bytes] = [x.about.parameters, x.about.bytes].map(|v| count(v).to_string());
        let top1 = format!("{:.4}", right as f64 / n as f64);
        let interval = format!("{low:.4} to {high:.4}");
        rows.add_row([name, parameters, bytes, top1, interval, right.to_string(), n.to_string()]);
    }
    aligned(rows, 1)
}

/// The paired test in words.
fn verdict(a: &Answers, b: &Answers, test: Paired) -> String {
    let Paired { only_a, only_b, p } = test;
    let (a, b) = (&a.about.name, &b.about.name);
    let found = match (test.differs(), only_a > only_b) {
        (false, _) => "no significant difference".to_owned(),
        (true, true) => format!("{a} is significantly better"),
        (true, false) => format!("{b} is significantly better"),
    };
    let p = if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") };
    format!(
        "only {a} right: {only_a}, only {b} right: {only_b}; McNemar's exact p {p}: {found} \
         (5 % level)"
    )
}

/// Per class: accuracies, who alone is right, and the commonest mistake of the second.
fn classes(a: &Answers, b: &Answers) -> String {
    let (hits_a, hits_b) = (st::hits(a), st::hits(b));
    let confused = st::confusion(b);
    let header = ["class", "pictures", "first", "second", "only first", "only second", "p"];
    let mut rows = table(header);
    let mut mistakes = table(["class", "second takes it for", "times"]);
    for (class, name) in a.about.classes.iter().enumerate() {
        let of: Vec<(bool, bool)> = (0..a.labels.len())
            .filter(|i| a.labels[*i] == class)
            .map(|i| (hits_a[i], hits_b[i]))
            .collect();
        let share = |right: usize| match of.len() {
            0 => "".to_owned(),
            n => format!("{:.4}", right as f64 / n as f64),
        };
        let times = |want: &dyn Fn(&(bool, bool)) -> bool| of.iter().filter(|h| want(h)).count();
        let (only_a, only_b) = (times(&|h| h.0 && !h.1), times(&|h| h.1 && !h.0));
        rows.add_row([
            name.clone(),
            of.len().to_string(),
            share(times(&|h| h.0)),
            share(times(&|h| h.1)),
            only_a.to_string(),
            only_b.to_string(),
            format!("{:.4}", st::mcnemar(only_a, only_b)),
        ]);
        let wrong = confused[class].iter().enumerate().filter(|(c, n)| *c != class && **n > 0);
        if let Some((other, n)) = wrong.max_by_key(|(c, n)| (**n, std::cmp::Reverse(*c))) {
            mistakes.add_row([name.clone(), a.about.classes[other].clone(), n.to_string()]);
        }
    }
    let note = format!(
        "p of single classes: of {} classes one in twenty is below 0.05 by chance alone",
        a.about.classes.len()
    );
    format!("{}{note}\n\n{}", aligned(rows, 1), aligned(mistakes, 2))
}

fn confidence(a: &Answers, b: &Answers) -> String {
    let mut rows = table(["model", "mean confidence", "calibration error", "nll"]);
    for x in [a, b] {
        let c = st::calibration(x);
        let n = x.labels.len() as f64;
        let mean = c.bins.iter().map(|b| b.confidence * b.pictures as f64).sum::<f64>() / n;
        let numbers = [mean, c.error, c.nll].map(|v| format!("{v:.4}"));
        rows.add_row([x.about.name.clone()].into_iter().chain(numbers));
    }
    aligned(rows, 1)
}
