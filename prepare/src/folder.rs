//! The pictures of a folder → an images artifact.

use crate::layout::Told;
use anyhow::{Context, Result, bail, ensure};
use artifacts::artifact::{self, Data};
use artifacts::images::{MOST_CLASSES, Unsaved};
use artifacts::{Preparation, Provenance, classes};
use common::catalogue::{Catalogue, Entry, Split};
use common::cli;
use common::share::Share;
use photos::{self, Trouble};
use rayon::prelude::*;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Pictures decoded between two writes: bounds memory, 128 · 3 · 256² B = 25 MB at 256 px.
const CHUNK: usize = 128;

/// What is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Share of the pictures that may be unreadable.
    pub unreadable: Share,
    /// Most pixels of a picture.
    pub max_pixels: u64,
}

/// What became of a folder of pictures.
pub struct Report {
    /// Pictures written.
    pub written: usize,
    /// Of these, without a class in their name.
    pub unlabelled: usize,
    /// Classes.
    pub classes: usize,
    /// Files that could not be decoded, with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Prepare the pictures of `folder` into the artifact `out`; what is passed over is told on stderr.
///
/// Decoding runs in parallel, chunk by chunk into a scratch file, so memory does not grow with
/// the number of pictures. `names` are the class names; without them classes are called by number.
/// `tick` is called with the number of pictures done.
///
/// # Errors
/// An unreadable folder or file system, labels beyond `names`, more unreadable pictures than `limits`
/// allow.
pub fn prepare(
    folder: &Path,
    how: Preparation,
    names: &[String],
    limits: Limits,
    out: &Path,
    tick: impl Fn(usize) + Sync,
) -> Result<Report> {
    prepare_told(folder, how, (names, None), limits, out, tick)
}

/// [`prepare`] with the labels that are `told`, whatever the names of the files say.
///
/// # Errors
/// As [`prepare`], and a picture of which nothing is told.
pub fn prepare_told(
    folder: &Path,
    how: Preparation,
    (names, told): (&[String], Option<&Told>),
    limits: Limits,
    out: &Path,
    tick: impl Fn(usize) + Sync,
) -> Result<Report> {
    let paths = photos::list(folder, cli::note)?;
    let Decoded { scratch, kept, unreadable } = decode(folder, &paths, how, limits, out, tick)?;
    let kept: Vec<PathBuf> = kept.into_iter().map(|i| paths[i].clone()).collect();
    let (labels, classes) = labels(&kept, names, told)?;
    let names = file_names(&kept)?;
    let mut provenance = Provenance::new("prepare images", &how)?;
    provenance.parents.extend(told.map(|t| ("labels".to_owned(), t.hash.clone())));
    let pixels = Data::File(scratch, kept.len() * how.bytes());
    let pictures = Unsaved { preparation: how, classes, labels, names, pixels };
    saved(pictures, unreadable, out, &provenance)
}

/// What of a catalogue becomes an artifact.
pub struct Listed<'a> {
    /// Classes and pictures.
    pub catalogue: &'a Catalogue,
    /// Which of the pictures.
    pub split: Split,
    /// The hash of the catalogue's file.
    pub hash: String,
}

/// What the header keeps of a split.
#[derive(Serialize)]
struct Record {
    #[serde(flatten)]
    how: Preparation,
    split: &'static str,
}

/// [`prepare`] of the pictures that a catalogue lists: labels and classes are its, and names its paths.
///
/// # Errors
/// A split without pictures, a file that is gone, more unreadable pictures than `limits` allow.
pub fn prepare_listed(
    folder: &Path,
    listed: &Listed<'_>,
    how: Preparation,
    limits: Limits,
    out: &Path,
    tick: impl Fn(usize) + Sync,
) -> Result<Report> {
    let entries: Vec<&Entry> = listed.catalogue.of(listed.split).collect();
    ensure!(!entries.is_empty(), "the catalogue has no pictures for {}", listed.split);
    let paths: Vec<PathBuf> = entries.iter().map(|e| folder.join(&e.file)).collect();
    let Decoded { scratch, kept, unreadable } = decode(folder, &paths, how, limits, out, tick)?;
    let entries: Vec<&Entry> = kept.into_iter().map(|i| entries[i]).collect();
    let labels = entries.iter().map(|e| e.label).collect();
    let names = entries.iter().map(|e| e.file.clone()).collect();
    let mut provenance =
        Provenance::new("prepare images", &Record { how, split: listed.split.name() })?;
    provenance.parents.insert("catalogue".to_owned(), listed.hash.clone());
    let pixels = Data::File(scratch, entries.len() * how.bytes());
    let classes = listed.catalogue.classes().to_vec();
    let pictures = Unsaved { preparation: how, classes, labels, names, pixels };
    saved(pictures, unreadable, out, &provenance)
}

fn saved(
    pictures: Unsaved,
    unreadable: Vec<(PathBuf, String)>,
    out: &Path,
    provenance: &Provenance,
) -> Result<Report> {
    let unlabelled = pictures.labels.iter().filter(|l| l.is_none()).count();
    let (written, classes) = (pictures.names.len(), pictures.classes.len());
    pictures.save(out, provenance)?;
    Ok(Report { written, unlabelled, classes, unreadable })
}

/// Pixels of pictures.
struct Decoded {
    /// Of those that are kept, one after another.
    scratch: File,
    /// Which these are.
    kept: Vec<usize>,
    unreadable: Vec<(PathBuf, String)>,
}

fn decode(
    folder: &Path,
    paths: &[PathBuf],
    how: Preparation,
    limits: Limits,
    out: &Path,
    tick: impl Fn(usize) + Sync,
) -> Result<Decoded> {
    let mut scratch = artifact::scratch(out)?;
    let mut kept = Vec::new();
    let mut unreadable = Vec::new();
    for (i, chunk) in paths.chunks(CHUNK).enumerate() {
        let decode = |p: &PathBuf| photos::prepare(p, &how, limits.max_pixels).inspect(|_| tick(1));
        let decoded: Vec<Result<Vec<u8>, Trouble>> = chunk.par_iter().map(decode).collect();
        for (k, (path, pixels)) in chunk.iter().zip(decoded).enumerate() {
            match pixels {
                Ok(p) => {
                    scratch.write_all(&p).context("writing the scratch file")?;
                    kept.push(i * CHUNK + k);
                }
                Err(e @ Trouble::Disk(_)) => bail!("{}: {e}", path.display()),
                Err(Trouble::Picture(reason)) => unreadable.push((path.clone(), reason)),
            }
        }
    }
    check_readable(folder, &unreadable, paths.len(), limits.unreadable)?;
    Ok(Decoded { scratch, kept, unreadable })
}

/// Checks that the pictures of `folder` that cannot be read are no more than this `share` of the `all` there are.
///
/// # Errors
/// More of them, or no others; each is named on stderr.
pub fn check_readable(
    folder: &Path,
    unreadable: &[(PathBuf, String)],
    all: usize,
    share: Share,
) -> Result<()> {
    let allowed = share.at_most(all);
    if unreadable.len() <= allowed && unreadable.len() < all {
        return Ok(());
    }
    say_unreadable(unreadable);
    bail!(
        "{} of {all} pictures of {} are unreadable, {allowed} are allowed: mend or remove them, or \
         raise --unreadable",
        unreadable.len(),
        folder.display()
    );
}

/// Names pictures that cannot be read on stderr, with the reasons.
pub fn say_unreadable(unreadable: &[(PathBuf, String)]) {
    for (path, reason) in unreadable {
        cli::note(&format!("unreadable: {}: {reason}", path.display()));
    }
}

/// The label of each picture, and the names of all classes.
fn labels(
    paths: &[PathBuf],
    names: &[String],
    told: Option<&Told>,
) -> Result<(Vec<Option<usize>>, Vec<String>)> {
    let label = |p: &PathBuf| match told {
        Some(told) => told.class(p, names).map(Some),
        None => Ok(photos::class_of(p)),
    };
    let labels = paths.iter().map(label).collect::<Result<Vec<Option<usize>>>>()?;
    let classes = match labels.iter().copied().flatten().max() {
        None => Vec::new(),
        Some(max) if names.is_empty() => {
            ensure!(
                max < MOST_CLASSES,
                "class {max}: at most {MOST_CLASSES} classes are supported"
            );
            classes::numbers(max + 1)
        }
        Some(max) => {
            let given = names.len();
            ensure!(
                max < given,
                "a picture has class {max}, but {given} class names were given: --classes (CLASSES= of make) \
                 takes one for each, or none"
            );
            ensure!(given <= MOST_CLASSES, "{given} class names: at most {MOST_CLASSES}");
            names.to_vec()
        }
    };
    Ok((labels, classes))
}

fn file_names(paths: &[PathBuf]) -> Result<Vec<String>> {
    paths
        .iter()
        .map(|p| {
            let name = p.file_name().and_then(|n| n.to_str());
            let name = name.with_context(|| format!("{}: its name is not UTF-8", p.display()))?;
            ensure!(!name.contains('\n'), "{name:?}: a line break in its name");
            Ok(name.to_owned())
        })
        .collect()
}
