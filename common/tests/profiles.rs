//! What a release optimises: Cargo.toml names the dependencies that are hot, and whatever stands beside or below
//! them without being named was looked at and found cold. A new one is neither.

#![allow(clippy::disallowed_methods)] // tests read files as they please

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Of what the house or a hot dependency uses, that in which no time is spent: it parses flags and headers, holds
/// types and macros, is generic, so compiled where it is used, or serves other systems, builds, tests, the report.
/// What these use themselves is as cold.
const COLD: &str = "
    adler2 anyhow arrayvec base64 bitflags bumpalo bytemuck_derive byteorder-lite candle-nn cc cfg-if clap
    color_quant comfy-table constant_time_eq cpufeatures criterion crunchy csv cudaforge document-features
    dyn-stack either hashbrown indicatif kuva libc libm log moxcms num-complex num-traits once_cell paste
    pulp-wasm-simd-flag quick-error rand rand_distr raw-cpuid reborrow rustix seq-macro serde serde_json
    signal-hook statrs sysctl tempfile thiserror ttf-parser typst-as-lib typst-assets typst-layout typst-pdf
    version_check zerocopy-derive zip zlib-rs";

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

/// Packages whose level of optimisation is named, and the level.
fn named(manifest: &str) -> BTreeMap<&str, &str> {
    let lines = manifest.lines().skip_while(|l| *l != "[profile.release.package]").skip(1);
    let own = lines.take_while(|l| !l.is_empty());
    own.filter_map(|l| l.split_once(".opt-level = ")).collect()
}

/// What every package of Cargo.lock uses, and whether it is one of the house.
fn packages(lock: &str) -> BTreeMap<&str, (bool, BTreeSet<&str>)> {
    let mut packages = BTreeMap::<&str, (bool, BTreeSet<&str>)>::new();
    for package in lock.split("[[package]]").skip(1) {
        let quoted = |line: &'static str| package.lines().find_map(|l| l.strip_prefix(line));
        let name = quoted("name = \"").unwrap().trim_end_matches('"');
        let (is_own, uses) = packages.entry(name).or_default();
        *is_own = quoted("source = ").is_none();
        let listed = package.lines().filter_map(|l| l.strip_prefix(" \""));
        uses.extend(listed.filter_map(|l| l.split([' ', '"']).next()));
    }
    packages
}

/// Dependencies of the house, and of its hot dependencies, for which no level is named.
fn unnamed(manifest: &str, lock: &str) -> String {
    let (named, packages) = (named(manifest), packages(lock));
    let is_hot = |name: &str| named.get(name) == Some(&"3");
    let users = packages.iter().filter(|(name, (is_own, _))| *is_own || is_hot(name));
    let used: BTreeSet<&str> = users.flat_map(|(_, (_, uses))| uses.iter().copied()).collect();
    let is_unnamed = |name: &&str| !named.contains_key(name) && !packages[name].0;
    used.into_iter().filter(is_unnamed).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_dependency_is_hot_or_cold() {
    let (manifest, lock) = (read("Cargo.toml"), read("Cargo.lock"));
    let cold = COLD.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        unnamed(&manifest, &lock),
        cold,
        "what is new is named in [profile.release.package] of Cargo.toml where time is spent in it, else here"
    );
    let packages = packages(&lock);
    for name in named(&manifest).keys() {
        assert!(packages.contains_key(name), "{name} is named in Cargo.toml, but nothing uses it");
    }
    // A new dependency of a hot one, and a hot one that is no longer named.
    let planted = lock.replace("name = \"gif\"\n", "name = \"gif\"\n \"aaa\",\n")
        + "[[package]]\nname = \"aaa\"\nsource = \"\"\n";
    assert_eq!(unnamed(&manifest, &planted), format!("aaa {cold}"));
    let forgotten = manifest.replace("weezl.opt-level = 3\n", "");
    assert!(unnamed(&forgotten, &lock).contains(" weezl "));
}
