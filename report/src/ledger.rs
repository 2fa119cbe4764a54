//! `report ledger`: every artifact below a folder.

use crate::statistics;
use anyhow::{Context, Result, ensure};
use artifacts::{Answers, Artifact, Kind, Model};
use comfy_table::{CellAlignment, Table, presets};
use common::cli::{self, count};
use common::score;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// List every artifact below a folder: what it was made from, how large and how good it is.
///
/// Parents are given by their path where they are below the folder, else by their hash. The accuracy is that
/// of the answers (infer eval --out) found there; of several the one on most pictures.
#[derive(clap::Args)]
#[command(after_help = "Files that are no artifacts are passed over; damaged ones are said to be.

Examples:
  report ledger artifacts/smoke")]
pub(crate) struct Ledger {
    /// Folder to search, with all folders in it.
    folder: PathBuf,
}

/// Pictures that a model has right.
#[derive(Clone, Copy, Default)]
struct Right {
    right: usize,
    of: usize,
}

/// One artifact.
pub(crate) struct Entry {
    /// Path below the folder that was searched.
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) hash: String,
    pub(crate) bytes: usize,
    /// What made it, and from which hashes, by role.
    pub(crate) stage: String,
    pub(crate) parents: BTreeMap<String, String>,
    /// What it was made with, a JSON object.
    pub(crate) settings: serde_json::Value,
    pub(crate) parameters: Option<usize>,
}

impl Entry {
    /// Whether it holds what a training ended with, beside what it chose.
    pub(crate) fn is_last(&self) -> bool {
        self.path.contains(".last.")
    }
}

impl Ledger {
    pub(crate) fn run(self) -> Result<String> {
        let entries = entries(&self.folder)?;
        let mut answers = BTreeMap::<String, Right>::new();
        for entry in entries.iter().filter(|e| e.kind == Kind::Answers) {
            let found = Answers::load(&self.folder.join(&entry.path))?;
            let n = found.labels.len();
            let right = statistics::hits(&found).iter().filter(|h| **h).count();
            let best = answers.entry(found.about.model).or_default();
            if n > best.of {
                *best = Right { right, of: n };
            }
        }
        Ok(listed(&entries, &answers))
    }
}

/// Every artifact below `folder`, in the order of their paths; a damaged one is said to be, on stderr.
///
/// # Errors
/// A folder that cannot be read or holds no artifact.
pub(crate) fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut entries = Vec::new();
    for file in &files {
        let path = file.strip_prefix(folder).unwrap_or(file).display().to_string();
        match entry(file, path) {
            Ok(entry) => entries.push(entry),
            Err(error) => cli::note(&format!("passed over: {error:#}")),
        }
    }
    ensure!(!entries.is_empty(), "{}: no artifacts below it", folder.display());
    Ok(entries)
}

/// Every file below `folder` whose name says that it could be an artifact.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let wrong = || format!("cannot read the folder {}", folder.display());
    for item in std::fs::read_dir(folder).with_context(wrong)? {
        let item = item.with_context(wrong)?;
        let path = item.path();
        let hidden = item.file_name().to_string_lossy().starts_with('.');
        // Links to folders are not followed: they could lead in circles.
        if item.file_type()?.is_dir() {
            collect(&path, found)?;
        } else if !hidden && path.extension().is_some_and(|e| e == "safetensors" || e == "bin") {
            found.push(path);
        }
    }
    Ok(())
}

fn entry(file: &Path, path: String) -> Result<Entry> {
    let artifact = Artifact::read(file)?;
    let parameters = match artifact.source.kind {
        Kind::Model | Kind::Coded => Some(Model::from_artifact(&artifact)?.graph.parameter_count()),
        _ => None,
    };
    let artifacts::Source { kind, hash, bytes, provenance, .. } = artifact.source;
    let artifacts::Provenance { stage, parents, settings } = provenance;
    Ok(Entry { path, kind, hash, bytes, stage, parents, settings, parameters })
}

fn listed(entries: &[Entry], answers: &BTreeMap<String, Right>) -> String {
    // Copies have one hash: the first path stands for all, of a training's last and best weights the best.
    let mut paths = BTreeMap::new();
    let (last, others): (Vec<&Entry>, _) = entries.iter().partition(|e| e.is_last());
    for e in others.into_iter().chain(last) {
        paths.entry(e.hash.as_str()).or_insert(e.path.as_str());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "bytes",
        "parameters",
        "top-1",
        "95 % interval",
        "kind",
        "file",
        "made by",
        "from",
    ]);
    for e in entries {
        let (top1, interval) = match answers.get(&e.hash) {
            Some(&Right { right, of }) => {
                let (low, high) = score::wilson(right, of);
                (format!("{:.4}", right as f64 / of as f64), format!("{low:.4} to {high:.4}"))
            }
            None => Default::default(),
        };
        let from: BTreeSet<String> = e
            .parents
            .iter()
            .map(|(role, hash)| {
                format!("{role} {}", paths.get(hash.as_str()).copied().unwrap_or(hash))
            })
            .collect();
        table.add_row([
            count(e.bytes).to_string(),
            e.parameters.map(|n| count(n).to_string()).unwrap_or_default(),
            top1,
            interval,
            e.kind.to_string(),
            e.path.clone(),
            e.stage.clone(),
            from.into_iter().collect::<Vec<_>>().join(", "),
        ]);
    }
    for column in table.column_iter_mut().take(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
