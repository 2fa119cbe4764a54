//! The walls of the house: who may use whom. Reads manifests and sources as text.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const STAGES: [&str; 7] = ["prepare", "train", "distill", "prune", "quantize", "infer", "report"];

/// Modules of `common`, lowest first: a module uses only what stands before it, or beside it.
const FLOORS: [&[&str]; 10] = [
    &["array"],
    &["artifact", "rng"],
    &["graph", "photos"],
    &["codec", "images"],
    &["view", "nets"],
    &["model"],
    &["plan"],
    &["network", "logits"],
    &["score", "cli"],
    &["fit"],
];

/// Outside crate → where alone it may be used (path prefixes).
const OWNERS: [(&str, &[&str]); 8] = [
    ("image", &["common/src/photos.rs"]),
    ("fast_image_resize", &["common/src/photos.rs"]),
    ("safetensors", &["common/src/artifact.rs", "prepare/src/checkpoint/"]),
    ("tempfile", &["common/src/artifact/"]),
    ("csv", &["common/src/score.rs", "common/src/fit.rs", "infer/", "report/"]),
    ("comfy_table", &["quantize/", "report/"]),
    ("candle_core", &["common/src/network", "common/src/fit/", "common/kernels/"]),
    ("candle_nn", &["common/src/fit/"]),
];

const FORBIDDEN_NAMES: [&str; 7] =
    ["util", "utils", "helper", "helpers", "misc", "manager", "prelude"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Source files by path relative to `root`, tests left out.
fn sources(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = STAGES
        .iter()
        .chain(&["common", "common/kernels"])
        .map(|s| root.join(s).join("src"))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Lines that are code.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|l| !l.starts_with("//"))
}

fn uses_crate(text: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code(text).any(|l| {
        l.match_indices(&path)
            .any(|(i, _)| !l[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
    })
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|f| f.contains(&module))
}

fn violations(root: &Path) -> Vec<String> {
    let mut bad = Vec::new();
    for krate in STAGES.iter().chain(&["common", "common/kernels"]) {
        let manifest = fs::read_to_string(root.join(krate).join("Cargo.toml")).unwrap();
        let depends = |on: &str| {
            let names = manifest.lines().filter_map(|l| l.split(['.', ' ', '=']).next());
            names.skip_while(|l| *l != "[dependencies]").any(|l| l == on)
        };
        for stage in STAGES.iter().filter(|s| depends(s)) {
            bad.push(format!("{krate} depends on the stage {stage}"));
        }
        if *krate != "common" && depends("kernels") {
            bad.push(format!("{krate} depends on kernels: only common may"));
        }
    }
    for (file, text) in sources(root) {
        let lines = text.lines().count();
        if lines > 400 {
            bad.push(format!("{file} has {lines} lines: at most 400"));
        }
        for (krate, rooms) in OWNERS {
            if uses_crate(&text, krate) && !rooms.iter().any(|r| file.starts_with(r)) {
                bad.push(format!("{file} uses {krate}, which belongs to {rooms:?}"));
            }
        }
        let stem = Path::new(&file).file_stem().unwrap().to_str().unwrap().to_owned();
        if FORBIDDEN_NAMES.contains(&stem.as_str()) {
            bad.push(format!("{file}: a name that says nothing"));
        }
        let Some(inside) = file.strip_prefix("common/src/") else { continue };
        let module = inside.split(['/', '.']).next().unwrap();
        let Some(mine) = floor(module) else {
            if module != "lib" {
                bad.push(format!("{file}: the module has no floor"));
            }
            continue;
        };
        for used in code(&text).flat_map(|l| l.split("crate::").skip(1)) {
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if used != module && floor(used).is_some_and(|f| f > mine) {
                bad.push(format!("{file} uses crate::{used}, which stands above it"));
            }
        }
    }
    bad
}

#[test]
fn every_wall_stands() {
    let bad = violations(&root());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// Copies manifests and sources, plants one fault each, and expects it to be seen.
#[test]
fn every_fault_is_seen() {
    let plant = |file: &str, line: &str, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        for krate in STAGES.iter().chain(&["common", "common/kernels"]) {
            let to = dir.path().join(krate);
            fs::create_dir_all(to.join("src")).unwrap();
            fs::copy(root().join(krate).join("Cargo.toml"), to.join("Cargo.toml")).unwrap();
        }
        for (name, text) in sources(&root()) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(violations(dir.path()), Vec::<String>::new());
        let path = dir.path().join(file);
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, format!("{old}\n{line}\n")).unwrap();
        let seen = violations(dir.path()).join("\n");
        assert!(seen.contains(expected), "{file} + {line:?}: {seen:?}");
    };
    plant("train/Cargo.toml", "prune.workspace = true", "train depends on the stage prune");
    plant("infer/Cargo.toml", "kernels.workspace = true", "only common may");
    plant("common/src/rng.rs", "use crate::images::Images;", "stands above it");
    plant("common/src/codec/grid.rs", "use candle_core::Tensor;", "belongs to");
    plant("report/src/show.rs", "use candle_core::Tensor;", "belongs to");
    plant("common/src/util.rs", "", "says nothing");
    plant("train/src/main.rs", &"\n".repeat(400), "at most 400");
}
