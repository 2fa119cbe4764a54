//! `infer predict`: pictures → a CSV of class numbers, or a line of JSON each.

use anyhow::{Context, Result, anyhow, bail, ensure};
use artifacts::{Artifact, Calibration, Model, artifact};
use common::calibration::probabilities;
use common::catalogue::folder_of;
use common::forward::forward_views;
use common::{cli, score};
use photos::listing::Listing;
use photos::{MAX_PIXELS, Trouble};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Predict the class of every picture in a folder.
///
/// Writes a CSV "Id,label", one line per picture in the order of the file names; the id is the
/// file name without extension and leading zeros. Pictures are prepared as the model says. Every file
/// that is a picture by its name (.jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .gif) or, where the name does
/// not tell, by its content gets its line, or the run fails and lists those that cannot be read. Names that
/// begin with a dot are skipped; whatever else is passed over is told on stderr: how much, what and why. Where the
/// model's file has views (quantize pack --views), a picture is answered by the mean of theirs and takes as many times
/// the time.
///
/// --json writes an object per line instead: id, file, label, class, probability, and, if the model was
/// calibrated (quantize pack --calibrate), unknown: whether the picture is none of the classes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer predict --model model.bin --photos food-11/testing --out prediction.csv
  infer predict --model model.bin --photos photos --json --out prediction.jsonl
  infer predict --model model.bin --photos photos --catalogue catalogue.csv --split testing --out prediction.csv")]
pub(crate) struct Predict {
    /// Model to ask, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Folder of pictures: JPEG, PNG, WebP, BMP, GIF; with --catalogue whatever it was made of. Where the names of
    /// two of its pictures would make one id, the ids are their paths.
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,
    #[command(flatten)]
    listed: cli::Listed,
    /// Fail if a picture of this folder, named [class]_[anything], has a class number that the model does
    /// not have. A folder that shows no class numbers says nothing. May be given again.
    #[arg(long, value_name = "FOLDER")]
    classes_of: Vec<PathBuf>,
    /// Pictures of more pixels are refused, as in prepare images.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    /// Write a JSON object per line instead of the CSV.
    #[arg(long)]
    json: bool,
    /// Write the probability of every class, too: a column each, with --json a list.
    #[arg(long)]
    probabilities: bool,
    /// Where to write the predictions.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    products: cli::Products,
    #[command(flatten)]
    compute: cli::Compute,
}

/// A picture to be answered.
struct Asked {
    /// What its line is called.
    id: String,
    /// What the file is called, in the folder that was named.
    file: String,
    path: PathBuf,
}

/// What is written of a picture, in this order.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    file: &'a str,
    label: usize,
    class: &'a str,
    probability: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<Vec<f64>>,
}

impl Predict {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.compute.start()?;
        // Fail before the work, not after it.
        let inputs = [Some(self.model.as_path()), self.listed.catalogue()];
        let inputs: Vec<&Path> = inputs.into_iter().flatten().collect();
        let _claim = artifact::claim(&self.out, &inputs)?;
        let artifact = Artifact::read(&self.model)?;
        let calibration = Calibration::of(&artifact)?;
        let (model, source) = Model::of(artifact)?;
        let classes = model.classes.join(", ");
        cli::note(&format!("model {} (hash {}): {classes}", source.name, source.hash));
        self.classes_of.iter().try_for_each(|folder| check_classes(folder, &model))?;
        let mut executor = device.executor_at(&model, self.products.precision)?;
        let asked = self.asked()?;
        let bar = cli::progress(asked.len(), "pictures");
        let unreadable = Mutex::new(Vec::new());
        let how = model.input.preparation;
        let pixels = |i: usize| {
            let path = &asked[i].path;
            match photos::prepare(path, &how, self.max_pixels) {
                Ok(pixels) => return Ok(Some(pixels)),
                Err(e @ Trouble::Disk(_)) => bail!("{}: {e}", path.display()),
                Err(Trouble::Picture(reason)) => {
                    unreadable.lock().map_err(|_| anyhow!("a thread failed"))?.push((i, reason));
                }
            }
            Ok(None)
        };
        let tick = |n| bar.inc(n as u64);
        let logits = forward_views(&mut *executor, asked.len(), &model, pixels, tick)?;
        let logits = model.views.mean(&logits, executor.classes());
        bar.finish_and_clear();
        check_readable(&asked, unreadable.into_inner().map_err(|_| anyhow!("a thread failed"))?)?;
        let rows: Vec<&[f32]> = logits.chunks_exact(executor.classes()).collect();
        let lines =
            asked.iter().zip(rows).map(|(asked, row)| self.line(asked, row, &model, calibration));
        let text = if self.json { json(lines)? } else { csv(lines, self.probabilities, &model)? };
        artifact::save_bytes(&self.out, &text)?;
        cli::record(&self.out, "infer predict", asked.len());
        Ok(format!("{}: {} predictions", self.out.display(), asked.len()))
    }

    /// The pictures of the folder, or of a split of its catalogue; of that there may be none.
    fn asked(&self) -> Result<Vec<Asked>> {
        let Some((catalogue, _, split)) = self.listed.load()? else {
            return self.of_folder();
        };
        let folder = folder_of(&self.photos);
        let short = |file: &str| photos::id_of(file.rsplit('/').next().unwrap_or(file));
        let files: Vec<&String> = catalogue.of(split).map(|entry| &entry.file).collect();
        let ids: BTreeSet<String> = files.iter().map(|file| short(file)).collect();
        let are_told_apart = ids.len() == files.len();
        let asked = |file: &&String| {
            let id = if are_told_apart { short(file) } else { file.to_string() };
            Asked { id, file: file.to_string(), path: folder.join(file) }
        };
        Ok(files.iter().map(asked).collect())
    }

    /// The pictures of the folder, in the order of their names.
    fn of_folder(&self) -> Result<Vec<Asked>> {
        let paths = photos::list(&self.photos, cli::note)?;
        // Lines of JSON name the files, too.
        if !self.json {
            check_ids(&paths)?;
        }
        let asked = |path: PathBuf| {
            let name = path.file_name().and_then(|n| n.to_str());
            let file = name.with_context(|| format!("{}: not UTF-8", path.display()))?.to_owned();
            Ok(Asked { id: photos::id_of(&file), file, path })
        };
        paths.into_iter().map(asked).collect()
    }

    /// What the logits of a picture say.
    fn line<'a>(
        &self,
        asked: &'a Asked,
        logits: &[f32],
        model: &'a Model,
        calibration: Option<Calibration>,
    ) -> Line<'a> {
        let label = score::argmax(logits);
        let all = probabilities(logits, calibration.map_or(1.0, |c| c.temperature));
        // Six decimals: more is rounding, and differs from device to device.
        let short = |p: &f64| (p * 1e6).round() / 1e6;
        Line {
            id: &asked.id,
            file: &asked.file,
            label,
            class: &model.classes[label],
            probability: short(&all[label]),
            unknown: calibration.map(|c| c.is_unknown(all[label])),
            probabilities: self.probabilities.then(|| all.iter().map(short).collect()),
        }
    }
}

fn csv<'a>(lines: impl Iterator<Item = Line<'a>>, all: bool, model: &Model) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let classes = model.classes.iter().filter(|_| all).map(String::as_str);
    csv.write_record(["Id", "label"].into_iter().chain(classes))?;
    for Line { id, label, probabilities, .. } in lines {
        let all = probabilities.into_iter().flatten().map(|p| p.to_string());
        csv.write_record([id.to_owned(), label.to_string()].into_iter().chain(all))?;
    }
    Ok(csv.into_inner()?)
}

fn json<'a>(lines: impl Iterator<Item = Line<'a>>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// Checks that `model` has every class that the names of the pictures of `folder` show. Fewer are no sign:
/// a split may lack the last class.
fn check_classes(folder: &Path, model: &Model) -> Result<()> {
    let pictures = Listing::of(folder)?.pictures;
    let known = model.classes.len();
    if let Some(most) = pictures.iter().filter_map(|p| photos::class_of(p)).max() {
        ensure!(
            most < known,
            "{} has classes 0 to {most}, the model knows {known}: it was made for other pictures",
            folder.display(),
        );
    }
    Ok(())
}

/// Checks that no two pictures have the same id: one line would be about both.
fn check_ids(paths: &[PathBuf]) -> Result<()> {
    let mut ids = BTreeMap::new();
    for path in paths {
        let id = photos::id_of(&cli::name(path));
        if let Some(other) = ids.insert(id.clone(), path) {
            bail!("{} and {} have the same id, {id}", other.display(), path.display());
        }
    }
    Ok(())
}

fn check_readable(asked: &[Asked], mut unreadable: Vec<(usize, String)>) -> Result<()> {
    unreadable.sort();
    for (i, reason) in &unreadable {
        cli::note(&format!("unreadable: {}: {reason}", asked[*i].path.display()));
    }
    let (bad, all) = (unreadable.len(), asked.len());
    ensure!(bad == 0, "{bad} of {all} pictures are unreadable; nothing was written");
    Ok(())
}
