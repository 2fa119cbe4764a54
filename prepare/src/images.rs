//! `prepare images`: a folder of pictures → an images artifact.

use anyhow::{Result, ensure};
use artifacts::images::MOST_CLASSES;
use artifacts::{Framing, Preparation, artifact};
use common::catalogue::folder_of;
use common::cli;
use common::share::Share;
use photos::MAX_PIXELS;
use photos::listing::Listing;
use prepare::folder::{self, Limits, Listed};
use prepare::layout::Told;
use std::path::PathBuf;

/// Decode and resize the pictures of a folder into one artifact.
///
/// A picture's class is the number before the first underscore of its file name ("3_17.jpg" is
/// class 3); pictures without one ("0042.jpg") are kept unlabelled. Pictures are ordered by name.
/// With --catalogue and --split, classes and names are the catalogue's and the pictures those of this split.
/// Grey pictures become RGB, transparency is dropped, CMYK is converted, of several frames the first is taken.
///
/// A file is a picture by its name (.jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .gif) or, where the name does
/// not tell, by its content. Names that begin with a dot are skipped; whatever else is passed over is told on
/// stderr: how much, what and why.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare images food-11/training --size 128 --out training.safetensors
  prepare images food-11/testing --size 128 --fit letterbox --out testing.safetensors
  prepare images photos --catalogue catalogue.csv --split training --size 64 --out training.safetensors
  prepare images food-11/validation --size 256 --fit center --out validation.safetensors
      the course's own preparation: the middle 256 × 256, black where a picture is smaller")]
pub(crate) struct Images {
    /// Folder of pictures: JPEG, PNG, WebP, BMP, GIF; with --catalogue whatever it was made of.
    folder: PathBuf,
    #[command(flatten)]
    listed: cli::Listed,
    /// Labels of pictures whose names have none: a CSV file with the columns Id,label, as infer predict writes them, or a
    /// catalogue; every picture must be in it.
    #[arg(long, value_name = "FILE", conflicts_with = "catalogue")]
    labels: Option<PathBuf>,
    /// Side of the prepared squares, pixels.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(8..=4096))]
    size: u16,
    /// How a picture becomes a square.
    #[arg(long, default_value = "crop", value_parser = cli::fits())]
    fit: Framing,
    /// Obey the EXIF orientation (off, as in torchvision).
    #[arg(long)]
    exif: bool,
    #[command(flatten)]
    classes: cli::Classes,
    /// Share of the pictures that may be unreadable and are left out, with a line on stderr each; more
    /// are an error.
    #[arg(long, value_name = "SHARE", default_value = "0.01")]
    unreadable: Share,
    /// Pictures of more pixels are unreadable. Decoding takes up to seventeen bytes for each, on every
    /// thread.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    /// The images artifact to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    threads: cli::Threads,
}

impl Images {
    pub(crate) fn run(self) -> Result<String> {
        self.threads.start()?;
        let (out, inputs) = (&self.out, self.listed.catalogue().or(self.labels.as_deref()));
        let _claim = artifact::claim(out, inputs.as_slice())?;
        let told = self.labels.as_deref().map(Told::load).transpose()?;
        let most = MOST_CLASSES;
        let names = self.classes.names()?;
        ensure!(names.len() <= most, "--classes: at most {most} classes are supported");
        let listed = self.listed.load()?;
        ensure!(
            names.is_empty() || listed.is_none(),
            "--classes: the catalogue names the classes; give it to prepare catalogue"
        );
        let how = Preparation { size: self.size.into(), framing: self.fit, exif: self.exif };
        let limits = Limits { unreadable: self.unreadable, max_pixels: self.max_pixels };
        let total = match &listed {
            Some((catalogue, _, split)) => catalogue.of(*split).count(),
            None => Listing::of(&self.folder)?.pictures.len(),
        };
        // The scratch file and the artifact.
        artifact::check_room(out, 2 * (total * how.bytes()) as u64)?;
        let bar = cli::progress(total, "decoding");
        let tick = |n| bar.inc(n as u64);
        let report = match listed {
            Some((catalogue, hash, split)) => {
                let folder = folder_of(&self.folder);
                let listed = Listed { catalogue: &catalogue, split, hash };
                folder::prepare_listed(folder, &listed, how, limits, out, tick)?
            }
            None => {
                let told = told.as_ref();
                folder::prepare_told(&self.folder, how, (names, told), limits, out, tick)?
            }
        };
        bar.finish_and_clear();
        cli::record(&self.out, "prepare images", total);
        folder::say_unreadable(&report.unreadable);
        Ok(format!(
            "{}: {} pictures of {} px, {} classes, {} unlabelled, {} unreadable",
            self.out.display(),
            report.written,
            how.size,
            report.classes,
            report.unlabelled,
            report.unreadable.len(),
        ))
    }
}
