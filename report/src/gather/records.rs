//! What lies in and beside the artifacts: training curves, bytes, sensitivities, lineage, costs.

use crate::ledger::Entry;
use anyhow::{Context, Result};
use artifacts::{Artifact, Model, Plan};
use common::cost::Cost;
use rows::{Choice, Edge, Nats, Part, Point, Setting, Spent};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A line of `X.epochs.csv`.
#[derive(Deserialize)]
struct Line {
    epoch: usize,
    loss: f64,
    validation_top1: f64,
}

/// Files below `folder` whose names end so, and their paths in it without that end.
fn ending(folder: &Path, end: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let wrong = || format!("cannot read the folder {}", next.display());
        for entry in std::fs::read_dir(&next).with_context(wrong)? {
            let path = entry.with_context(wrong)?.path();
            let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
            if path.is_dir() {
                open.push(path);
            } else if let Some(stem) = name.strip_suffix(end) {
                found.push((stem.to_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn curves(folder: &Path) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for (model, path) in ending(folder, ".epochs.csv")? {
        let wrong = || format!("{}: not the epochs of a training", path.display());
        for line in csv::Reader::from_path(&path).with_context(wrong)?.deserialize() {
            let Line { epoch, loss, validation_top1 } = line.with_context(wrong)?;
            points.push(Point { model: model.clone(), epoch, loss, top1: validation_top1 });
        }
    }
    Ok(points)
}

/// What every training of at least two epochs chose by the validation pictures: the first of its best epochs, as the
/// training loop does. (On grids the loop also asks whether the file keeps to its budget, which the curves do not say:
/// there an epoch before the one that was kept may stand here.)
pub(super) fn choices(points: &[Point]) -> Vec<Choice> {
    let mut choices = Vec::<Choice>::new();
    for point in points {
        match choices.last_mut().filter(|c| c.model == point.model) {
            Some(choice) => {
                if point.top1 > choice.best {
                    (choice.best, choice.chosen) = (point.top1, point.epoch);
                }
                (choice.last, choice.epochs) = (point.top1, point.epoch);
                choice.gain = choice.best - choice.last;
            }
            None => choices.push(Choice {
                model: point.model.clone(),
                epochs: point.epoch,
                chosen: point.epoch,
                best: point.top1,
                last: point.top1,
                gain: 0.0,
            }),
        }
    }
    choices.retain(|c| c.epochs > 1);
    choices
}

/// Where the bytes of the shipped file go: its header, and every tensor.
pub(super) fn waterfall(folder: &Path) -> Result<Vec<Part>> {
    let path = folder.join("model.bin");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let artifact = Artifact::read(&path)?;
    let parts = Model::parts(&artifact)?.with_context(|| {
        let kind = artifact.source.kind;
        format!(
            "{}: expected a coded file, found kind {kind}: quantize pack writes one",
            path.display()
        )
    })?;
    let coded: usize = parts.iter().map(|p| p.grid + p.integers).sum();
    let header = artifact.source.bytes - coded;
    let mut rows =
        vec![Part { part: "header".to_owned(), bytes: header, values: 0, bits_each: 0.0 }];
    rows.extend(parts.into_iter().map(|p| Part {
        bytes: p.grid + p.integers,
        values: p.count,
        bits_each: 8.0 * (p.grid + p.integers) as f64 / p.count.max(1) as f64,
        part: p.name,
    }));
    Ok(rows)
}

/// What the plan of the shipped file measured of every tensor.
pub(super) fn sensitivity(folder: &Path) -> Result<Vec<Nats>> {
    let path = folder.join("plan.safetensors");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let Some(measured) = Plan::load(&path)?.0.sensitivity else { return Ok(Vec::new()) };
    let rows = measured.nats.into_iter().flat_map(|(tensor, nats)| {
        let of = move |(bits, nats)| Nats { tensor: tensor.clone(), bits, nats };
        measured.bits.clone().into_iter().zip(nats).map(of)
    });
    Ok(rows.collect())
}

/// Every artifact with each of its parents; one without parents has one row all the same.
pub(super) fn lineage(entries: &[Entry]) -> Vec<Edge> {
    let mut paths = BTreeMap::<&str, &str>::new();
    for e in entries.iter().filter(|e| !e.is_last()) {
        paths.entry(&e.hash).or_insert(&e.path);
    }
    let edges = |e: &Entry| {
        let edge = |role: &str, from: &str| Edge {
            file: e.path.clone(),
            kind: e.kind.to_string(),
            stage: e.stage.clone(),
            role: role.to_owned(),
            from: from.to_owned(),
        };
        let from = |hash: &String| paths.get(hash.as_str()).copied().unwrap_or(hash).to_owned();
        let mut rows: Vec<Edge> =
            e.parents.iter().map(|(role, hash)| edge(role, &from(hash))).collect();
        if rows.is_empty() {
            rows.push(edge("", ""));
        }
        rows
    };
    entries.iter().filter(|e| !e.is_last()).flat_map(edges).collect()
}

/// What every artifact says it was made with.
pub(super) fn settings(entries: &[Entry]) -> Vec<Setting> {
    let of = |e: &Entry| {
        let (file, stage) = (e.path.clone(), e.stage.clone());
        let setting = move |(setting, value): (String, serde_json::Value)| Setting {
            file: file.clone(),
            stage: stage.clone(),
            setting,
            value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
        };
        let all = e.settings.as_object().cloned().unwrap_or_default();
        all.into_iter().map(setting).collect::<Vec<_>>()
    };
    let is_made = |e: &&Entry| !e.is_last() && !e.path.ends_with(".answers.safetensors");
    entries.iter().filter(is_made).flat_map(of).collect()
}

pub(super) fn costs(folder: &Path) -> Result<Vec<Spent>> {
    let row = |(file, path): (String, PathBuf)| {
        let Cost { stage, seconds, pictures, peak_bytes, threads } = Cost::load(&path)?;
        let per_second = pictures as f64 / seconds.max(1e-3);
        Ok(Spent { file, stage, seconds, pictures, per_second, peak_bytes, threads })
    };
    ending(folder, ".cost.csv")?.into_iter().map(row).collect()
}
