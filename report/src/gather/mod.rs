//! `report gather`: what the report says, as CSV files.

mod evidence;
mod pairs;
mod passes;
mod records;
mod stages;
mod trials;

use crate::ledger::entries;
use anyhow::{Context, Result, ensure};
use artifacts::artifact;
use common::cli::count;
use passes::Ancestry;
use rows::RESAMPLES;
use serde::Serialize;
use std::path::{Path, PathBuf};
use trials::{Draws, Trial};

/// Write everything the report says as CSV files: all statistics come from the kept answers.
///
/// Reads the folder of a recipe after make experiments: eval/ with the answers of every model, and what lies
/// beside the artifacts; test/ has the same of the test pictures, where their labels are known. Intervals are of a
/// bootstrap over seeds and pictures. Two models differ only where McNemar's exact test says so at the 5 % level for every
/// seed, in the same direction, with Holm's correction for all pairs of the question.
#[derive(clap::Args)]
#[command(
    after_help = "Writes trials.csv (every evaluation), ways.csv (mean and intervals over seeds), \
pairs.csv (differences and paired tests), evidence.csv, gains.csv and fields.csv (what may explain them), choice.csv \
(best epochs beside last ones), settings.csv, classes.csv, confusion.csv, calibration.csv, curves.csv, waterfall.csv, \
sensitivity.csv, lineage.csv and cost.csv; FORMAT.md lists their columns.

Examples:
  report gather artifacts/smoke --out artifacts/smoke/report/data"
)]
pub(crate) struct Gather {
    /// Folder of a recipe, e.g. artifacts/smoke.
    folder: PathBuf,
    /// Folder for the CSV files; made where it is missing.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl Gather {
    pub(crate) fn run(self) -> Result<String> {
        let entries = entries(&self.folder)?;
        let ancestry = Ancestry::of(&entries);
        let trials = trials::load(&self.folder, &ancestry)?;
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make {}", self.out.display()))?;
        let rows: Vec<_> = trials.iter().map(Trial::row).collect();
        let draws = Draws::of(&trials);
        let ways = trials::ways(&trials, &draws);
        let mut written = Written { folder: &self.out, rows: 0, files: 0 };
        written.save("trials", &rows)?;
        written.save("ways", &ways)?;
        written.save("pairs", &pairs::all(&trials, &ways, &draws))?;
        written.save("evidence", &evidence::all(&trials, &ways)?)?;
        written.save("gains", &evidence::gains(&trials, &ways))?;
        written.save("fields", &evidence::fields(&self.folder, &trials, &ways, &ancestry)?)?;
        let stages = stages::of(&trials);
        ensure!(
            !stages.is_empty(),
            "{}: no evaluation of teacher, student, pruned or shipped: run make submission",
            self.folder.join("eval").display()
        );
        written.save("classes", &stages::classes(&stages))?;
        written.save("confusion", &stages::confusion(&stages))?;
        written.save("calibration", &stages::calibration(&stages))?;
        let curves = records::curves(&self.folder)?;
        written.save("curves", &curves)?;
        written.save("choice", &records::choices(&curves))?;
        written.save("waterfall", &records::waterfall(&self.folder)?)?;
        written.save("sensitivity", &records::sensitivity(&self.folder)?)?;
        written.save("lineage", &records::lineage(&entries))?;
        written.save("settings", &records::settings(&entries))?;
        written.save("cost", &records::costs(&self.folder)?)?;
        Ok(format!(
            "{}: {} rows in {} tables, of {} evaluations; {} resamples",
            self.out.display(),
            count(written.rows),
            written.files,
            count(trials.len()),
            count(RESAMPLES),
        ))
    }
}

/// What was written so far.
struct Written<'a> {
    folder: &'a Path,
    rows: usize,
    files: usize,
}

impl Written<'_> {
    fn save<R: Serialize>(&mut self, name: &str, rows: &[R]) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.iter().try_for_each(|row| writer.serialize(row))?;
        self.rows += rows.len();
        self.files += 1;
        artifact::save_bytes(&self.folder.join(format!("{name}.csv")), &writer.into_inner()?)
    }
}
