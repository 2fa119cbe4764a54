//! Kernels are launched by name, which no compiler checks. Reads the sources as text, so it needs no CUDA.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The text of every file with `extension` in `folder` and below.
fn texts(folder: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(texts(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// What follows `head` wherever it stands, up to `end`.
fn between<'a>(text: &'a str, head: &str, end: char) -> Vec<&'a str> {
    text.split(head).skip(1).map(|rest| rest.split(end).next().unwrap()).collect()
}

#[test]
fn every_name_that_is_launched_is_a_kernel_and_every_kernel_is_launched() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (kernels, callers) = (texts(&sources, "cu"), texts(&sources, "rs"));
    let declared = kernels.iter().flat_map(|t| between(t, "__global__ void ", '(')).map(str::trim);
    // A name is the first argument, on the same line or on the next.
    let launched = ["each(", "grid(", "slid(", "spread(", "fours(", "columns(", "combine("]
        .into_iter()
        .flat_map(|call| {
            let arguments = callers.iter().flat_map(move |t| between(t, call, ','));
            arguments.filter_map(|a| a.trim().strip_prefix('"')?.strip_suffix('"'))
        });
    // A depthwise kernel is launched by its sizes.
    let sized = callers.iter().flat_map(|t| between(t, "cut.launch(engine, \"", '"'));
    let launched = launched.chain(sized);
    let (declared, launched) = (BTreeSet::from_iter(declared), BTreeSet::from_iter(launched));
    assert!(declared.len() > 40, "only {declared:?}");
    let alone: Vec<_> = launched.symmetric_difference(&declared).collect();
    assert!(alone.is_empty(), "not both a kernel and launched: {alone:?}");
}
