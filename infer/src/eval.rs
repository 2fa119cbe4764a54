//! `infer eval`: how often a file is right.

use anyhow::{Result, ensure};
use artifacts::answers::About;
use artifacts::{Answers, Artifact, Calibration, Images, Model, Provenance, Source, artifact};
use common::cli;
use common::device::{Device, Precision};
use common::forward::forward_views;
use common::score::{self, Row};
use serde_json::json;
use std::path::{Path, PathBuf};
use views::FixedViews;

/// Measure the accuracy of a model file, as read back from disk.
///
/// Prints accuracy and its 95 % Wilson interval; --out keeps them as a CSV row for report table, and
/// beside it, in X.answers.safetensors for X.csv, the logits of every picture for report compare.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer eval --model model.bin --images validation.safetensors
  infer eval --model student.safetensors --images v.safetensors --name student --out student.csv")]
pub(crate) struct Eval {
    /// Model to measure, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Images artifact with labels.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// With --out: what to call the model in tables [default: its file name].
    #[arg(long, requires = "out")]
    name: Option<String>,
    /// Where to write the CSV row: X.csv, with X.answers.safetensors beside it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Views whose mean logits answer, instead of those of the model's file: none, or a list of flip, shift=P, zoom=P
    /// with whole pixels P, as of quantize pack. So many views take so many times the time.
    #[arg(long, value_name = "LIST")]
    views: Option<FixedViews>,
    #[command(flatten)]
    products: cli::Products,
    #[command(flatten)]
    compute: cli::Compute,
}

impl Eval {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.compute.start()?;
        let claim = |out| artifact::claim(out, &[&self.model, &self.images]);
        let _claim = self.out.as_deref().map(claim).transpose()?;
        let beside = self.out.as_deref().map(Answers::beside);
        let _claim_beside = beside.as_deref().map(claim).transpose()?;
        let artifact = Artifact::read(&self.model)?;
        let temperature = Calibration::of(&artifact)?.map(|c| c.temperature);
        let (mut model, source) = Model::of(artifact)?;
        let images = Images::load(&self.images)?;
        model.check_images(&images)?;
        if let Some(views) = self.views {
            ensure!(
                views.fit(images.size()),
                "--views {views}: more than a quarter of a side of {} px",
                images.size()
            );
            model.views = views;
        }
        let labels = images.all_labels()?;
        let mut executor = device.executor_at(&model, self.products.precision)?;
        let bar = cli::progress(images.len(), "pictures");
        let pixels = |i| Ok(Some(images.pixels(i)));
        let tick = |n| bar.inc(n as u64);
        let all = forward_views(&mut *executor, images.len(), &model, pixels, tick)?;
        bar.finish_and_clear();
        let classes = model.classes.len();
        let share = |correct| correct as f64 / labels.len() as f64;
        let plain = share(score::correct(&model.views.first(&all, classes), &labels));
        let logits = model.views.mean(&all, classes);
        let correct = score::correct(&logits, &labels);
        let (low, high) = score::wilson(correct, labels.len());
        let row = Row {
            name: self.name.unwrap_or_else(|| cli::name(&self.model)),
            file: self.model.display().to_string(),
            hash: source.hash.clone(),
            parameters: model.graph.parameter_count(),
            bytes: source.bytes,
            pictures: labels.len(),
            correct,
            top1: share(correct),
            low,
            high,
            plain_top1: Some(plain),
            views: model.views.to_string(),
        };
        if let (Some(out), Some(beside)) = (&self.out, &beside) {
            let how = (row.name.as_str(), device, self.products.precision);
            save_answers(beside, how, (&model, &source, temperature), &images, logits)?;
            row.save(out)?;
            cli::record(out, "infer eval", row.pictures);
        }
        let views = model.views;
        let beside = match views.is_plain() {
            true => String::new(),
            false => format!("; {} views ({views}), one alone {plain:.4}", views.count()),
        };
        Ok(format!(
            "{}: top-1 {:.4} (95 % interval {:.4} to {:.4}), {correct} of {} pictures{beside}",
            row.file, row.top1, row.low, row.high, row.pictures
        ))
    }
}

fn save_answers(
    path: &Path,
    (name, device, precision): (&str, Device, Precision),
    (model, source, temperature): (&Model, &Source, Option<f64>),
    images: &Images,
    logits: Vec<f32>,
) -> Result<()> {
    let mut settings = json!({ "name": name });
    if !device.is_cpu() {
        settings["device"] = json!(device);
    }
    if !precision.is_f32() {
        settings["precision"] = json!(precision.to_string());
    }
    let provenance = Provenance::new("infer eval", &settings)?
        .from("model", source)
        .from("images", &images.source);
    let about = About {
        name: name.to_owned(),
        classes: model.classes.clone(),
        model: source.hash.clone(),
        images: images.source.hash.clone(),
        parameters: model.graph.parameter_count(),
        bytes: source.bytes,
        multiplications: usize::try_from(model.graph.multiplications(images.size())?)?
            * model.views.count(),
        temperature,
        views: model.views,
    };
    Answers::save(path, &about, &provenance, images, logits)
}
