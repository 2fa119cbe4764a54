//! The walls of the house: who may use whom. Reads manifests and sources as text. ARCHITECTURE.md says
//! why they stand where they stand.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const STAGES: [&str; 7] = ["prepare", "train", "distill", "prune", "quantize", "infer", "report"];

/// Crate, its folder, the crates of the house it may depend on.
const CRATES: [(&str, &str, &[&str]); 12] = [
    ("graph", "common/graph", &[]),
    ("codec", "common/codec", &["graph"]),
    ("views", "common/views", &["graph"]),
    ("artifacts", "common/artifacts", &["graph", "codec", "views"]),
    ("executor", "common/executor", &["graph", "views"]),
    ("engine", "common/engine", &["graph", "executor"]),
    ("reference", "common/reference", &["graph", "executor", "engine"]),
    ("cuda", "common/cuda", &["graph", "executor", "views"]),
    ("checkpoint", "common/checkpoint", &["graph"]),
    ("photos", "common/photos", &["artifacts"]),
    (
        "common",
        "common",
        &["graph", "codec", "views", "artifacts", "executor", "engine", "reference", "cuda"],
    ),
    ("rows", "report/rows", &[]),
];

/// What everything else may depend on: programs above the stages' shared crates.
const ABOVE: [&str; 11] = [
    "prepare",
    "train",
    "distill",
    "prune",
    "quantize",
    "infer",
    "report",
    "report/page",
    "report/typeset",
    "bench",
    "examples",
];

/// Outside crate → where alone it may be used (path prefixes).
const OWNERS: [(&str, &[&str]); 26] = [
    ("candle_core", &["common/reference/", "common/cuda/", "common/src/device.rs"]),
    ("candle_nn", &["common/reference/"]),
    ("image", &["common/photos/"]),
    ("zune_jpeg", &["common/photos/"]),
    ("jpeg_decoder", &["common/photos/"]),
    ("fir", &["common/photos/"]),
    ("fast_image_resize", &["common/photos/"]),
    ("indicatif", &["common/src/cli.rs"]),
    ("mimalloc", &["common/src/cli.rs"]),
    ("safetensors", &["common/artifacts/src/artifact.rs", "common/checkpoint/"]),
    ("rustix", &["common/artifacts/src/artifact/"]),
    ("signal_hook", &["common/src/interrupt.rs"]),
    ("statrs", &["report/src/statistics.rs"]),
    ("tempfile", &["common/artifacts/src/artifact/", "bench/"]),
    ("blake3", &["common/artifacts/src/artifact/"]),
    ("zip", &["common/checkpoint/"]),
    ("half", &["common/codec/", "common/checkpoint/"]),
    (
        "csv",
        &[
            "common/src/catalogue.rs",
            "common/src/score.rs",
            "common/src/cost.rs",
            "common/src/training/",
            "infer/src/predict.rs",
            "prepare/src/layout/",
            "prepare/src/finds.rs",
            "report/src/gather/",
            "report/src/suspects/",
            "report/typeset/src/data.rs",
        ],
    ),
    ("comfy_table", &["prune/", "quantize/", "report/"]),
    ("zopfli", &["report/src/page.rs"]),
    ("base64", &["common/src/sheet.rs", "report/src/page.rs", "report/typeset/src/html.rs"]),
    ("kuva", &["report/typeset/src/charts.rs"]),
    ("typst_as_lib", &["report/typeset/src/pdf.rs"]),
    ("typst_assets", &["report/typeset/src/pdf.rs"]),
    ("typst_layout", &["report/typeset/src/pdf.rs"]),
    ("typst_pdf", &["report/typeset/src/pdf.rs"]),
];

/// Modules of `common`, lowest first: a module uses only what stands before it.
const FLOORS: [&[&str]; 8] = [
    &["catalogue", "sheet", "sizing", "share", "spread"],
    &["device"],
    &["forward"],
    &["score"],
    &["cost", "calibration"],
    &["cli"],
    &["training", "interrupt", "fresh"],
    &["run"],
];

const FORBIDDEN_NAMES: [&str; 8] =
    ["util", "utils", "helper", "helpers", "misc", "manager", "prelude", "types"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Folders of every package.
fn folders() -> impl Iterator<Item = &'static str> {
    CRATES.iter().map(|(_, folder, _)| *folder).chain(ABOVE)
}

/// Source files by path relative to `root`, tests left out.
fn sources(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders().map(|s| root.join(s).join("src")).collect();
    open.push(root.join("examples"));
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What cargo builds in examples/ is not the house's.
                if !path.ends_with("target") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Code without comments.
fn code(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|l| !l.starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The word that ends before `end`.
fn word_before(text: &str, end: usize) -> &str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text[..end].rsplit(|c: char| !is_word(c)).next().unwrap_or_default()
}

fn uses_crate(code: &str, name: &str) -> bool {
    code.match_indices("::")
        .any(|(at, _)| word_before(code, at) == name && !code[..at - name.len()].ends_with("::"))
}

/// The top-level modules of its own crate that a file names after `crate::`.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if word_before(code, at + 5) != "crate" {
            continue;
        }
        let rest = &code[at + 7..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            None => vec![rest],
            Some(list) => {
                let (mut depth, mut start, mut names) = (0usize, 0, Vec::new());
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            names.push(&list[start..i]);
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            names.push(&list[start..i]);
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
                names
            }
        };
        for name in names {
            let name = name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next();
            used.extend(name.filter(|n| !n.is_empty()).map(str::to_owned));
        }
    }
    used
}

/// Names under `[dependencies]`, and no other table, of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|l| *l != "[dependencies]").skip(1);
    let own = lines.take_while(|l| !l.starts_with('['));
    own.filter_map(|l| l.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
}

fn manifests(root: &Path) -> Vec<String> {
    let mut bad = Vec::new();
    let house: Vec<&str> = CRATES.iter().map(|(name, ..)| *name).collect();
    for folder in folders() {
        let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap();
        let name = CRATES.iter().find(|(_, f, _)| *f == folder).map_or(folder, |(n, ..)| n);
        for on in dependencies(&manifest) {
            if STAGES.contains(&on.as_str()) {
                bad.push(format!("{name} depends on the stage {on}"));
            }
            let allowed = CRATES.iter().find(|(n, ..)| *n == name).map(|(.., on)| *on);
            if let Some(allowed) = allowed
                && house.contains(&on.as_str())
                && !allowed.contains(&on.as_str())
            {
                bad.push(format!("{name} depends on {on}: it may depend on {allowed:?}"));
            }
            if name == "graph" {
                bad.push(format!("graph depends on {on}: it depends on nothing"));
            }
        }
    }
    bad
}

/// Circles among the top-level modules of each crate.
fn circles(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut bad = Vec::new();
    for folder in folders() {
        let prefix = format!("{folder}/src/");
        let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
        for (file, text) in sources.iter().filter(|(f, _)| f.starts_with(&prefix)) {
            let module = file[prefix.len()..].split(['/', '.']).next().unwrap().to_owned();
            uses.entry(module).or_default().extend(modules_used(&code(text)));
        }
        for start in uses.keys() {
            let mut open = vec![start.clone()];
            let mut seen = BTreeSet::new();
            while let Some(module) = open.pop() {
                for next in uses.get(&module).into_iter().flatten() {
                    if next == start && module != *start {
                        bad.push(format!("{prefix}{start} and {module} lead to each other"));
                    }
                    if seen.insert(next.clone()) && next != start {
                        open.push(next.clone());
                    }
                }
            }
        }
    }
    bad
}

fn violations(root: &Path) -> Vec<String> {
    let mut bad = manifests(root);
    let sources = sources(root);
    bad.extend(circles(&sources));
    for (file, text) in &sources {
        let lines = text.lines().count();
        if lines > 400 {
            bad.push(format!("{file} has {lines} lines: at most 400"));
        }
        let code = code(text);
        for (krate, rooms) in OWNERS {
            if uses_crate(&code, krate) && !rooms.iter().any(|r| file.starts_with(r)) {
                bad.push(format!("{file} uses {krate}, which belongs to {rooms:?}"));
            }
        }
        let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
        if FORBIDDEN_NAMES.contains(&stem) {
            bad.push(format!("{file}: a name that says nothing"));
        }
        let Some(inside) = file.strip_prefix("common/src/") else { continue };
        let module = inside.split(['/', '.']).next().unwrap();
        let floor = |m: &str| FLOORS.iter().position(|f| f.contains(&m));
        let Some(mine) = floor(module) else {
            if module != "lib" {
                bad.push(format!("{file}: the module has no floor"));
            }
            continue;
        };
        for used in modules_used(&code) {
            if used != module && floor(&used).is_some_and(|f| f >= mine) {
                bad.push(format!("{file} uses crate::{used}, which stands above it or beside it"));
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

/// The table of owners in ARCHITECTURE.md says of every folder which outside crates are its own.
#[test]
fn the_map_names_the_owners() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows =
        map.lines().filter(|l| l.starts_with("| `")).map(|l| l.split('|').collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|cells| cells.len() == 6).collect();
    let folders = |row: &[&str]| row[1].split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let all: Vec<(Vec<String>, &str)> = rows.iter().map(|r| (folders(r), r[4].trim())).collect();
    assert!(all.len() > 10, "no table of the tree");
    // A room belongs to the row with the longest of the folders that it lies in.
    let row_of = |room: &str| {
        let within = |f: &String| room.starts_with(&format!("{f}/"));
        let length = |fs: &Vec<String>| fs.iter().filter(|f| within(f)).map(String::len).max();
        (0..all.len()).max_by_key(|i| length(&all[*i].0)).unwrap()
    };
    for (i, (folders, cell)) in all.iter().enumerate() {
        let own =
            OWNERS.iter().filter(|(c, rooms)| *c != "fir" && rooms.iter().any(|r| row_of(r) == i));
        let own: BTreeSet<String> = own.map(|(c, _)| c.replace('_', "-")).collect();
        let expected = own.into_iter().collect::<Vec<_>>().join(", ");
        assert_eq!(*cell, expected, "ARCHITECTURE.md, the row of {folders:?}");
    }
}

/// Copies manifests and sources, plants one fault each, and expects it to be seen.
#[test]
fn every_fault_is_seen() {
    let plant = |file: &str, line: &str, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        for folder in folders() {
            let to = dir.path().join(folder);
            fs::create_dir_all(to.join("src")).unwrap();
            fs::copy(root().join(folder).join("Cargo.toml"), to.join("Cargo.toml")).unwrap();
        }
        for (name, text) in sources(&root()) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(violations(dir.path()), Vec::<String>::new());
        let path = dir.path().join(file);
        let old = fs::read_to_string(&path).unwrap_or_default();
        let new = match line.strip_suffix(".workspace = true") {
            Some(_) => old.replace("[dependencies]\n", &format!("[dependencies]\n{line}\n")),
            None => format!("{old}\n{line}\n"),
        };
        let new = if new == old { format!("{old}\n[dependencies]\n{line}\n") } else { new };
        fs::write(&path, new).unwrap();
        let seen = violations(dir.path()).join("\n");
        assert!(seen.contains(expected), "{file} + {line:?}: {seen:?}");
    };
    plant("train/Cargo.toml", "prune.workspace = true", "train depends on the stage prune");
    plant("common/graph/Cargo.toml", "anyhow.workspace = true", "it depends on nothing");
    plant("common/engine/Cargo.toml", "artifacts.workspace = true", "engine depends on artifacts");
    plant("common/artifacts/Cargo.toml", "engine.workspace = true", "artifacts depends on engine");
    plant("common/codec/Cargo.toml", "artifacts.workspace = true", "codec depends on artifacts");
    plant("report/rows/Cargo.toml", "graph.workspace = true", "rows depends on graph");
    plant("common/src/share.rs", "use crate::training::Training;", "stands above it");
    plant("common/src/score.rs", "use crate::{forward, run};", "stands above it");
    plant("common/artifacts/src/images.rs", "use crate::plan::Plan;", "lead to each other");
    plant("common/checkpoint/src/object.rs", "use crate::pickle::Pickle;", "lead to each other");
    plant("common/engine/src/windows.rs", "use candle_core::Tensor;", "belongs to");
    plant("common/codec/src/plain.rs", "use candle_core::Tensor;", "belongs to");
    plant("bench/src/main.rs", "use candle_core::Tensor;", "belongs to");
    plant("report/src/show.rs", "use image::RgbImage;", "belongs to");
    plant("common/src/util.rs", "", "says nothing");
    plant("train/src/main.rs", &"\n".repeat(400), "at most 400");
}
