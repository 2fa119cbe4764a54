//! `infer predict`: pictures → a CSV of class numbers.

use anyhow::{Context, Result, anyhow, bail, ensure};
use artifacts::{Model, artifact};
use common::forward::forward_all;
use common::{cli, score};
use photos::listing::Listing;
use photos::{MAX_PIXELS, Trouble};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Predict the class of every picture in a folder.
///
/// Writes a CSV "Id,label", one line per picture in the order of the file names; the id is the
/// file name without extension and leading zeros. Pictures are prepared as the model says. Every file
/// that is a picture by its name (.jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .gif) or, where the name does
/// not tell, by its content gets its line, or the run fails and lists those that cannot be read. Names that
/// begin with a dot are skipped; whatever else is passed over is told on stderr: how much, what and why.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer predict --model model.bin --photos food-11/testing --out prediction.csv")]
pub(crate) struct Predict {
    /// Model to ask, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Folder of pictures: JPEG, PNG, WebP, BMP, GIF.
    #[arg(long, value_name = "FOLDER")]
    photos: PathBuf,
    /// Fail if a picture of this folder, named [class]_[anything], has a class number that the model does
    /// not have. A folder that shows no class numbers says nothing. May be given again.
    #[arg(long, value_name = "FOLDER")]
    classes_of: Vec<PathBuf>,
    /// Pictures of more pixels are refused, as in prepare images.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    /// Where to write the CSV.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    products: cli::Products,
    #[command(flatten)]
    compute: cli::Compute,
}

impl Predict {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.compute.start()?;
        // Fail before the work, not after it.
        let _claim = artifact::claim(&self.out, &[&self.model])?;
        let (model, source) = Model::load(&self.model)?;
        let classes = model.classes.join(", ");
        cli::note(&format!("model {} (hash {}): {classes}", source.name, source.hash));
        self.classes_of.iter().try_for_each(|folder| check_classes(folder, &model))?;
        let mut executor = device.executor_at(&model, self.products.precision)?;
        let paths = photos::list(&self.photos, cli::note)?;
        check_ids(&paths)?;
        let bar = cli::progress(paths.len(), "pictures");
        let unreadable = Mutex::new(Vec::new());
        let how = model.input.preparation;
        let fill = |i: usize, x: &mut [f32]| {
            match photos::prepare(&paths[i], &how, self.max_pixels) {
                Ok(pixels) => model.input.normalization.apply(&pixels, x),
                Err(e @ Trouble::Disk(_)) => bail!("{}: {e}", paths[i].display()),
                Err(Trouble::Picture(reason)) => {
                    unreadable.lock().map_err(|_| anyhow!("a thread failed"))?.push((i, reason));
                }
            }
            Ok(())
        };
        let tick = |_: &[f32], n| {
            bar.inc(n as u64);
            Ok(())
        };
        let logits = forward_all(&mut *executor, paths.len(), how.bytes(), fill, tick)?;
        bar.finish_and_clear();
        check_readable(&paths, unreadable.into_inner().map_err(|_| anyhow!("a thread failed"))?)?;
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["Id", "label"])?;
        for (path, row) in paths.iter().zip(logits.chunks_exact(executor.classes())) {
            let name = path.file_name().and_then(|n| n.to_str());
            let name = name.with_context(|| format!("{}: not UTF-8", path.display()))?;
            csv.write_record([photos::id_of(name), score::argmax(row).to_string()])?;
        }
        artifact::save_bytes(&self.out, &csv.into_inner()?)?;
        cli::record(&self.out, "infer predict", paths.len());
        Ok(format!("{}: {} predictions", self.out.display(), paths.len()))
    }
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

fn check_readable(paths: &[PathBuf], mut unreadable: Vec<(usize, String)>) -> Result<()> {
    unreadable.sort();
    for (i, reason) in &unreadable {
        cli::note(&format!("unreadable: {}: {reason}", paths[*i].display()));
    }
    let (bad, all) = (unreadable.len(), paths.len());
    ensure!(bad == 0, "{bad} of {all} pictures are unreadable; nothing was written");
    Ok(())
}
