//! Tables of pictures: CSV files with a row per picture.

use super::{Layout, Shown, pictures};
use anyhow::{Context, Result, bail, ensure};
use common::catalogue::{Split, check_path};
use photos::listing::Listing;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of the column of files, in any case; where a table has several, the first of these counts. `id` only
/// where the table is named: so begin tables of predictions.
const FILES: [&str; 5] = ["file", "filename", "path", "image", "id"];

/// Of the column of labels.
const LABELS: [&str; 3] = ["label", "class", "category"];

/// Of the column of splits.
const SPLITS: [&str; 1] = ["split"];

/// Which columns are read.
pub(super) struct Columns {
    pub(super) file: usize,
    pub(super) label: usize,
    pub(super) split: Option<usize>,
}

impl Columns {
    /// Of this header; None where it is not that of a table of pictures.
    pub(super) fn of(header: &csv::StringRecord) -> Option<Self> {
        let names: Vec<String> = header.iter().map(plain).collect();
        let find =
            |called: &[&str]| called.iter().find_map(|c| names.iter().position(|name| name == c));
        Some(Self { file: find(&FILES)?, label: find(&LABELS)?, split: find(&SPLITS) })
    }
}

/// Whether a file is called a table and its header is that of one of pictures, and says nothing else: tables of finds
/// name files and labels, too.
pub(super) fn is_one(path: &Path) -> bool {
    let is_called_one = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let header = || csv::Reader::from_path(path).ok()?.headers().ok().cloned();
    let all = [&FILES[..4], &LABELS, &SPLITS].concat();
    is_called_one
        && header().is_some_and(|header| {
            Columns::of(&header).is_some()
                && header.iter().all(|name| all.contains(&plain(name).as_str()))
        })
}

/// The name of a column, without what spreadsheets put before the first.
fn plain(name: &str) -> String {
    name.trim_start_matches('\u{feff}').trim().to_lowercase()
}

/// Reads a table of pictures that lies in `folder`.
pub(super) fn read(path: &Path, folder: PathBuf) -> Result<Layout> {
    let shown = rows(path, &folder).with_context(|| format!("{}", path.display()))?;
    let others = Listing::below(&folder)?.pictures.len().saturating_sub(shown.len());
    let mut notes = vec![format!("{} says which pictures there are", path.display())];
    if others > 0 {
        notes.push(format!("{} of {} are not in it", pictures(others), folder.display()));
    }
    Ok(Layout { folder, pictures: shown, notes })
}

fn rows(path: &Path, folder: &Path) -> Result<Vec<Shown>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path)?;
    let header = reader.headers()?.clone();
    let columns = Columns::of(&header).with_context(|| {
        format!(
            "its columns are {}; needed are one for files ({}) and one for labels ({}), separated by commas",
            header.iter().collect::<Vec<_>>().join(", "),
            FILES.join(", "),
            LABELS.join(", ")
        )
    })?;
    let mut seen = BTreeMap::new();
    let mut all = Vec::new();
    for (i, record) in reader.records().enumerate() {
        let row = i + 2;
        let shown = record.map_err(Into::into).and_then(|r| shown(&r, &columns, folder));
        let shown = shown.with_context(|| format!("row {row}"))?;
        if let Some(other) = seen.insert(shown.file.clone(), row) {
            bail!("rows {other} and {row} are about one picture, {}", shown.file);
        }
        all.push(shown);
    }
    ensure!(!all.is_empty(), "no rows below the header");
    check(&all)?;
    all.sort();
    Ok(all)
}

fn shown(record: &csv::StringRecord, columns: &Columns, folder: &Path) -> Result<Shown> {
    let cell = |i: usize| record.get(i).unwrap_or_default();
    let written = cell(columns.file);
    let file = written.strip_prefix("./").unwrap_or(written).to_owned();
    check_path(&file)?;
    let path = folder.join(&file);
    ensure!(path.is_file(), "there is no file {}", path.display());
    let label = Some(cell(columns.label)).filter(|l| !l.is_empty()).map(str::to_owned);
    let split = match columns.split.map(cell) {
        None | Some("") => None,
        Some(word) => {
            let split = Split::called(word);
            Some(split.with_context(|| {
                format!("split {word:?}: expected training, validation or testing")
            })?)
        }
    };
    Ok(Shown { file, label, split })
}

/// Checks that all rows or none have a split, and all that are learnt from a label, or no row has one.
fn check(all: &[Shown]) -> Result<()> {
    let without = all.iter().filter(|s| s.split.is_none()).count();
    if let Some(shown) = all.iter().find(|s| s.split.is_none()).filter(|_| without < all.len()) {
        bail!("{} of {} have no split, such as {}", without, pictures(all.len()), shown.file);
    }
    ensure!(
        without == all.len() || all.iter().any(|s| s.split == Some(Split::Training)),
        "it has splits, and no picture is in training"
    );
    let needs_label = |s: &&Shown| s.label.is_none() && s.split != Some(Split::Testing);
    let unlabelled = all.iter().filter(needs_label).count();
    if let Some(shown) = all.iter().find(needs_label)
        && all.iter().any(|s| s.label.is_some())
    {
        bail!("{} without a label, such as {}", pictures(unlabelled), shown.file);
    }
    Ok(())
}
