//! `prepare images`: a folder of pictures → an images artifact.

use anyhow::{Result, ensure};
use artifacts::images::MOST_CLASSES;
use artifacts::{Framing, Preparation, artifact};
use common::cli;
use common::share::Share;
use photos::MAX_PIXELS;
use photos::listing::Listing;
use prepare::folder::{self, Limits};
use std::path::PathBuf;

/// Decode and resize the pictures of a folder into one artifact.
///
/// A picture's class is the number before the first underscore of its file name ("3_17.jpg" is
/// class 3); pictures without one ("0042.jpg") are kept unlabelled. Pictures are ordered by name.
/// Grey pictures become RGB, transparency is dropped, CMYK is converted, of several frames the first is taken.
///
/// A file is a picture by its name (.jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .gif) or, where the name does
/// not tell, by its content. Names that begin with a dot are skipped; whatever else is passed over is told on
/// stderr: how much, what and why.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare images food-11/training --size 128 --out training.safetensors
  prepare images food-11/testing --size 128 --fit letterbox --out testing.safetensors
  prepare images food-11/validation --size 256 --fit center --out validation.safetensors
      the course's own preparation: the middle 256 × 256, black where a picture is smaller")]
pub(crate) struct Images {
    /// Folder of pictures: JPEG, PNG, WebP, BMP, GIF.
    folder: PathBuf,
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
        let _claim = artifact::claim(&self.out, &[])?;
        let most = MOST_CLASSES;
        let names = self.classes.names()?;
        ensure!(names.len() <= most, "--classes: at most {most} classes are supported");
        let how = Preparation { size: self.size.into(), framing: self.fit, exif: self.exif };
        let limits = Limits { unreadable: self.unreadable, max_pixels: self.max_pixels };
        let total = Listing::of(&self.folder)?.pictures.len();
        // The scratch file and the artifact.
        artifact::check_room(&self.out, 2 * (total * how.bytes()) as u64)?;
        let bar = cli::progress(total, "decoding");
        let report =
            folder::prepare(&self.folder, how, names, limits, &self.out, |n| bar.inc(n as u64))?;
        bar.finish_and_clear();
        cli::record(&self.out, "prepare images", total);
        for (path, reason) in &report.unreadable {
            cli::note(&format!("unreadable: {}: {reason}", path.display()));
        }
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
