//! `infer check`: the same pictures by every way there is to an answer.

mod child;
#[cfg(test)]
mod tests;
mod ways;

use anyhow::{Context, Result, ensure};
use artifacts::{Artifact, Model};
use common::catalogue::folder_of;
use common::device::Device;
use common::{cli, score};
use photos::MAX_PIXELS;
use std::path::PathBuf;
use ways::{Answers, Batch, Way};

/// Check that a model file gives the same answers everywhere.
///
/// The same pictures are answered by the engine; by candle's tensors; by the CUDA device, if there is one; by the
/// model's ONNX file in onnxruntime, where a Python has it; and by the page's engine, in WebAssembly, where there are
/// that and Node. What is missing is said and no failure. Rounding explains logits that are off by a thousandth of
/// the largest, or of 1 where that is less, and answers that differ where two logits are as near as that. Anything
/// more is a failure.
///
/// Of a model with views (quantize pack --views) all ways average them: the ONNX file and the page inside themselves.
///
/// The page decodes JPEGs by itself, and refuses some uncommon kinds; of other pictures, which a browser decodes, it
/// gets the prepared pixels.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer check --model model.bin --photos food-11/testing
  infer check --model model.bin --photos photos --onnx-python venv/bin/python --page target/page.wasm
  infer check --model model.bin --photos photos --catalogue catalogue.csv --split testing")]
pub(crate) struct Check {
    /// Model to check, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Folder of pictures, as for infer predict.
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,
    #[command(flatten)]
    listed: cli::Listed,
    /// Most pictures: of more, so many at equal distances.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
    /// A Python with onnxruntime and NumPy.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    onnx_python: String,
    /// The engine of web pages (make page).
    #[arg(long, value_name = "FILE", default_value = "target/page.wasm")]
    page: PathBuf,
    /// Node, which runs it.
    #[arg(long, value_name = "PROGRAM", default_value = "node")]
    node: String,
    /// Pictures of more pixels are refused, as in infer predict.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    threads: cli::Threads,
}

/// Pictures at once.
const BATCH: usize = 32;

/// What rounding explains, in parts of the largest logit of a picture, or of 1 where that is less. Ways that sum in
/// another order differ by some 1e-6, WebAssembly, which has no fused multiplication, too; a wrong margin, a stride or
/// a decoder that is off by a grey level by more than 1e-2.
const ROUNDING: f32 = 1e-3;

/// Most pictures told of a way that fails.
const TOLD: usize = 3;

/// How the answers of one way compare.
#[derive(Debug, Default)]
struct Found {
    /// Pictures that were answered.
    pictures: usize,
    /// Pictures that this way does not take.
    refused: usize,
    /// The largest distance of logits.
    largest: f32,
    /// Answers that differ, whatever explains them.
    differ: usize,
    /// Pictures whose logits are further off than rounding explains, and so every answer that differs by more.
    wrong: Vec<String>,
}

impl Found {
    /// Takes in the answers to a batch.
    fn compare(&mut self, paths: &[PathBuf], expected: &Answers, found: &Answers) -> Result<()> {
        ensure!(expected.len() == found.len(), "{} answers to {}", found.len(), expected.len());
        for ((path, expected), found) in paths.iter().zip(expected).zip(found) {
            let expected = expected.as_ref().context("the engine refuses no picture")?;
            let Some(found) = found else {
                self.refused += 1;
                continue;
            };
            ensure!(
                expected.len() == found.len(),
                "{} logits, not {}",
                found.len(),
                expected.len()
            );
            let size = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            // Of what is no number nothing is known to be near.
            let off = |(a, b): (&f32, &f32)| {
                let off = (a - b).abs();
                if off.is_nan() { f32::INFINITY } else { off }
            };
            let off = expected.iter().zip(found).map(off).fold(0.0, f32::max);
            let [ours, theirs] = [expected, found].map(|row| score::argmax(row));
            self.pictures += 1;
            self.largest = self.largest.max(off);
            self.differ += usize::from(ours != theirs);
            if off > ROUNDING * size {
                let answers = format!("class {theirs}, the engine says {ours}");
                self.wrong.push(format!("{}: {answers}, logits off by {off:.2e}", path.display()));
            }
        }
        Ok(())
    }
}

/// A way with what was found of it, or why it is not there.
struct Line {
    what: &'static str,
    way: std::result::Result<(Way, Found), String>,
}

impl Line {
    fn new(what: &'static str, way: Result<Way>) -> Self {
        Self { what, way: way.map(|way| (way, Found::default())).map_err(|e| format!("{e:#}")) }
    }

    fn row(&self) -> [String; 4] {
        match &self.way {
            Err(reason) => [
                self.what.to_owned(),
                "-".to_owned(),
                format!("not checked: {reason}"),
                String::new(),
            ],
            Ok((way, found)) => {
                let refused = match found.refused {
                    0 => String::new(),
                    n => format!(" ({n} refused)"),
                };
                let pictures = format!("{}{refused}", cli::count(found.pictures));
                let off = format!("{:.1e}", found.largest);
                [way.name(), pictures, off, found.differ.to_string()]
            }
        }
    }
}

impl Check {
    pub(crate) fn run(self) -> Result<String> {
        self.threads.start()?;
        let read = || std::fs::read(&self.model);
        let file = read().with_context(|| format!("cannot read {}", self.model.display()))?;
        let name = self.model.display().to_string();
        let (model, source) = Model::of(Artifact::parse(&name, file.clone())?)?;
        let mut lines = vec![
            Line::new("candle", Way::here(Device::Candle, &model)),
            Line::new("cuda", Way::fastest(&model)),
            Line::new("ONNX", Way::onnx(&self.onnx_python)),
            Line::new("page", Way::page(&self.node, &self.page, &model)),
        ];
        for line in &mut lines {
            if let Ok((way, _)) = &mut line.way {
                way.load(&file, &model, &source, &self.page).with_context(|| way.name())?;
            }
        }
        let paths = some(self.paths()?, self.pictures as usize);
        let bar = cli::progress(paths.len(), "pictures");
        let mut engine = Way::here(Device::Cpu, &model)?;
        for paths in paths.chunks(BATCH) {
            let batch = self.prepare(paths, &model)?;
            compare(&mut engine, &mut lines, &batch)?;
            bar.inc(paths.len() as u64);
        }
        bar.finish_and_clear();
        cli::print(&table(&lines, paths.len()))?;
        verdict(&lines)
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        let Some((catalogue, _, split)) = self.listed.load()? else {
            return photos::list(&self.photos, cli::note);
        };
        let folder = folder_of(&self.photos);
        let paths: Vec<PathBuf> =
            catalogue.of(split).map(|entry| folder.join(&entry.file)).collect();
        ensure!(!paths.is_empty(), "{}: no pictures for {split} in it", self.photos.display());
        Ok(paths)
    }

    fn prepare<'a>(&self, paths: &'a [PathBuf], model: &Model) -> Result<Batch<'a>> {
        let how = &model.input.preparation;
        let planes = |path: &PathBuf| {
            photos::prepare(path, how, self.max_pixels).with_context(|| path.display().to_string())
        };
        let planes: Vec<Vec<u8>> = paths.iter().map(planes).collect::<Result<_>>()?;
        Ok(Batch::new(paths, planes, model))
    }
}

/// At most `n` of `all`, at equal distances: the names of a folder often begin with the class.
fn some(all: Vec<PathBuf>, n: usize) -> Vec<PathBuf> {
    let (count, n) = (all.len(), n.min(all.len()));
    (0..n).map(|i| all[i * count / n].clone()).collect()
}

fn compare(engine: &mut Way, lines: &mut [Line], batch: &Batch<'_>) -> Result<()> {
    let expected = engine.ask(batch)?;
    for line in lines {
        if let Ok((way, found)) = &mut line.way {
            let answers = way.ask(batch).with_context(|| way.name())?;
            found.compare(batch.paths, &expected, &answers).with_context(|| way.name())?;
        }
    }
    Ok(())
}

/// A row per way, the engine first, to which all are compared.
fn table(lines: &[Line], pictures: usize) -> String {
    let head = ["way", "pictures", "largest difference", "other answers"].map(String::from);
    let engine =
        ["engine".to_owned(), cli::count(pictures).to_string(), String::new(), String::new()];
    let rows: Vec<[String; 4]> =
        [head, engine].into_iter().chain(lines.iter().map(Line::row)).collect();
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    let line = |[way, pictures, off, differ]: &[String; 4]| {
        format!("{way:<first$}  {pictures:<second$}  {off:<18}  {differ}").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What the table comes to.
///
/// # Errors
/// A way that answers otherwise, or not at all.
fn verdict(lines: &[Line]) -> Result<String> {
    let checked: Vec<(&Way, &Found)> =
        lines.iter().filter_map(|l| l.way.as_ref().ok()).map(|(way, found)| (way, found)).collect();
    for (way, found) in &checked {
        for told in found.wrong.iter().take(TOLD) {
            cli::note(&format!("{}: {told}", way.name()));
        }
    }
    let wrong: Vec<String> = checked
        .iter()
        .filter(|(_, found)| !found.wrong.is_empty() || found.pictures == 0)
        .map(|(way, found)| {
            let (n, of) = (found.wrong.len(), found.pictures);
            match of {
                0 => format!("{} answers none of the pictures", way.name()),
                _ => format!("{} answers {n} of {of} pictures otherwise", way.name()),
            }
        })
        .collect();
    ensure!(wrong.is_empty(), "{}: more than rounding explains", wrong.join("; "));
    Ok(format!("the same logits by {} ways, but for rounding", 1 + checked.len()))
}
