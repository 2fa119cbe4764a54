//! `prepare catalogue`: a folder of pictures → which there are, of which class, in which split.

use anyhow::{Result, bail, ensure};
use artifacts::artifact;
use common::catalogue::{self, Entry, Split};
use common::cli::{self, count};
use common::share::Share;
use photos::MAX_PIXELS;
use prepare::survey::{Seen, Survey, survey};
use prepare::{folder, layout, split};
use std::path::PathBuf;

/// List the pictures of a folder with their classes, and divide them into training, validation and testing.
///
/// DATA is a folder of folders, one for each class (what lies deeper belongs to the class, too); or of folders
/// called train or training, val, valid, validation or dev, test or testing, with such folders in each; or
/// of pictures called [class]_[anything], the class a number from 0, with or without folders of splits; or a CSV
/// file of pictures, which may also lie in the folder: a column file (or filename, path, image, id) relative
/// to it, a column label (or class, category), perhaps a column split. Pictures in a folder test need no labels.
///
/// Splits that are given are kept. Without any, training gets 70 % of each class, validation and testing 15 %
/// each; where validation alone is missing, 15 % of training. Which pictures these are is decided by the bytes of
/// the files, so that neither names nor machine matter, and pictures of a class that are near copies of each other
/// stay on one side.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare catalogue photos --out catalogue.csv
  prepare images photos --catalogue catalogue.csv --split training --size 64 --out training.safetensors
  prepare check photos --catalogue catalogue.csv --html check.html")]
pub(crate) struct Catalogue {
    /// Folder of pictures, or a CSV file that lists them.
    data: PathBuf,
    #[command(flatten)]
    classes: cli::Classes,
    /// Share of the pictures that may be unreadable and are left out, with a line on stderr each; more
    /// are an error (CATALOGUE_FLAGS= of make sets it).
    #[arg(long, value_name = "SHARE", default_value = "0.05")]
    unreadable: Share,
    /// Pictures of more pixels are unreadable.
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS)]
    max_pixels: u64,
    /// Where to write the catalogue, a CSV file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    threads: cli::Threads,
}

impl Catalogue {
    pub(crate) fn run(self) -> Result<String> {
        self.threads.start()?;
        let inputs: &[&std::path::Path] = if self.data.is_file() { &[&self.data] } else { &[] };
        let _claim = artifact::claim(&self.out, inputs)?;
        layout::check_output(&self.out)?;
        let mut found = layout::find(&self.data, Some(&self.out))?;
        found.notes.iter().for_each(|note| cli::note(note));
        let names = self.classes.names()?;
        if !names.is_empty() {
            found.name_classes(names)?;
        }
        found.check_classes()?;
        let (total, known) = (found.pictures.len(), found.classes());
        say_order(&known);
        let bar = cli::progress(total, "looking");
        let pictures = std::mem::take(&mut found.pictures);
        let Survey { mut seen, unreadable } =
            survey(&found.folder, pictures, self.max_pixels, || bar.inc(1))?;
        bar.finish_and_clear();
        let unreadable: Vec<_> =
            unreadable.into_iter().map(|(s, reason)| (found.folder.join(s.file), reason)).collect();
        folder::check_readable(&found.folder, &unreadable, total, self.unreadable)?;
        folder::say_unreadable(&unreadable);
        // Of what is left, too.
        found.pictures = seen.iter().map(|s| s.shown.clone()).collect();
        if let Some(class) = known.iter().find(|c| !found.classes().contains(c)) {
            bail!("class {class}: none of its pictures can be read");
        }
        found.check_classes()?;
        let division = split::fill(&mut seen);
        division.notes.iter().for_each(|note| cli::note(note));
        let catalogue = listed(&seen)?;
        artifact::save_bytes(&self.out, &catalogue.to_bytes()?)?;
        cli::record(&self.out, "prepare catalogue", total);
        Ok(self.told(&catalogue, division.together, unreadable.len()))
    }

    fn told(&self, catalogue: &catalogue::Catalogue, together: usize, unreadable: usize) -> String {
        let parts = Split::ALL.map(|s| format!("{} {s}", count(catalogue.of(s).count())));
        let mut told = format!(
            "{}: {} pictures, {} classes; {}",
            self.out.display(),
            count(catalogue.entries().len()),
            catalogue.classes().len(),
            parts.join(", ")
        );
        if together > 0 {
            told += &format!("; {} near-copies kept together", count(together));
        }
        if unreadable > 0 {
            told += &format!("; {} unreadable", count(unreadable));
        }
        told
    }
}

/// Says so where classes are called by numbers that are not theirs.
fn say_order(classes: &[String]) {
    let are_numbers = classes.iter().all(|c| c.parse::<u64>().is_ok());
    let other = classes.iter().enumerate().find(|(i, class)| **class != i.to_string());
    if let (true, Some((number, class))) = (are_numbers, other) {
        cli::note(&format!(
            "classes are numbered from 0 and none is left out: class {class} has number {number}"
        ));
    }
}

/// The catalogue of pictures that all have a split.
fn listed(seen: &[Seen]) -> Result<catalogue::Catalogue> {
    let classes = layout::classes(seen.iter().map(|s| &s.shown));
    let mut entries = Vec::new();
    for Seen { shown, .. } in seen {
        let label = shown.label.as_ref().and_then(|l| classes.iter().position(|c| c == l));
        ensure!(shown.split.is_some(), "{}: no split", shown.file);
        let split = shown.split.unwrap_or(Split::Training);
        entries.push(Entry { file: shown.file.clone(), label, split });
    }
    catalogue::Catalogue::new(classes, entries)
}
