//! `prepare check`: what is wrong with a folder of pictures before anything is learnt from it.

use anyhow::Result;
use artifacts::artifact;
use common::catalogue::{Catalogue, folder_of};
use common::cli::{self, Outcome};
use photos::MAX_PIXELS;
use prepare::finds::{self, Kind};
use prepare::layout::{self, Shown};
use prepare::{sheet, survey};
use std::path::{Path, PathBuf};

/// Look for copies, leaks, wrong labels and broken files among pictures.
///
/// DATA is laid out as prepare catalogue wants it. Found are pictures that are copies of each other, to the byte
/// or but for saving and shrinking: in two splits, with two labels, or within one;
/// classes without a picture in a split; files that cannot be read; pictures with a side below 32 px, more than
/// four times as long as wide, or of a single colour. The sizes of pictures and classes are told besides.
///
/// Exit code: 0, or 3 where something was found that should be looked at before anything is measured: copies in
/// two splits or with two labels, a class that a split lacks, files that cannot be read. (1 is an error, 2 a
/// command line that makes no sense.)
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare check photos
  prepare check photos --catalogue catalogue.csv --csv finds.csv --html finds.html")]
pub(crate) struct Check {
    /// Folder of pictures, or a CSV file that lists them.
    data: PathBuf,
    /// Classes and splits as in this catalogue of the folder, and no other pictures.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Write the finds as a table, a row each.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the finds as a page of small pictures.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Most finds of a kind that are told and that the page shows; the table has all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Pictures of more pixels are unreadable.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    #[command(flatten)]
    threads: cli::Threads,
}

impl Check {
    pub(crate) fn run(self) -> Result<Outcome> {
        self.threads.start()?;
        let inputs: Vec<&Path> =
            [Some(&self.data).filter(|d| d.is_file()), self.catalogue.as_ref()]
                .into_iter()
                .flatten()
                .map(PathBuf::as_path)
                .collect();
        let outputs = [&self.csv, &self.html].into_iter().flatten();
        let _claims =
            outputs.map(|out| artifact::claim(out, &inputs)).collect::<Result<Vec<_>>>()?;
        if let Some(out) = &self.csv {
            layout::check_output(out)?;
        }
        let (folder, pictures) = match &self.catalogue {
            Some(path) => (folder_of(&self.data).to_owned(), listed(&Catalogue::load(path)?)),
            None => {
                let found = layout::find(&self.data, self.csv.as_deref())?;
                found.notes.iter().for_each(|note| cli::note(note));
                (found.folder, found.pictures)
            }
        };
        let bar = cli::progress(pictures.len(), "looking");
        let survey = survey::survey(&folder, pictures, self.max_pixels, || bar.inc(1))?;
        bar.finish_and_clear();
        let finds = finds::find(&survey);
        if let Some(out) = &self.csv {
            artifact::save_bytes(out, &finds::table(&finds)?)?;
        }
        let name = self.data.display().to_string();
        if let Some(out) = &self.html {
            let page = sheet::page(&name, &folder, &finds, self.limit, self.max_pixels);
            artifact::save_bytes(out, page.as_bytes())?;
        }
        let grave = Kind::ALL.into_iter().filter(|k| k.is_grave());
        let is_clean = !grave.into_iter().any(|k| finds.iter().any(|f| f.kind == k));
        Ok(Outcome { summary: finds::summary(&name, &survey, &finds, self.limit), is_clean })
    }
}

/// The pictures of a catalogue.
fn listed(catalogue: &Catalogue) -> Vec<Shown> {
    let shown = |e: &common::catalogue::Entry| Shown {
        file: e.file.clone(),
        label: e.label.map(|l| catalogue.classes()[l].clone()),
        split: Some(e.split),
    };
    catalogue.entries().iter().map(shown).collect()
}
