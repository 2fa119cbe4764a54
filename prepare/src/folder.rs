//! The pictures of a folder → an images artifact.

use anyhow::{Context, Result, bail, ensure};
use artifacts::artifact::{self, Data};
use artifacts::images::{MOST_CLASSES, Unsaved};
use artifacts::{Preparation, Provenance, classes};
use common::cli;
use common::share::Share;
use photos::{self, Trouble};
use rayon::prelude::*;
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
    let paths = photos::list(folder, cli::note)?;
    let mut scratch = artifact::scratch(out)?;
    let mut kept = Vec::new();
    let mut unreadable = Vec::new();
    for chunk in paths.chunks(CHUNK) {
        let decode = |p: &PathBuf| photos::prepare(p, &how, limits.max_pixels).inspect(|_| tick(1));
        let decoded: Vec<Result<Vec<u8>, Trouble>> = chunk.par_iter().map(decode).collect();
        for (path, pixels) in chunk.iter().zip(decoded) {
            match pixels {
                Ok(p) => {
                    scratch.write_all(&p).context("writing the scratch file")?;
                    kept.push(path.clone());
                }
                Err(e @ Trouble::Disk(_)) => bail!("{}: {e}", path.display()),
                Err(Trouble::Picture(reason)) => unreadable.push((path.clone(), reason)),
            }
        }
    }
    let allowed = limits.unreadable.at_most(paths.len());
    if unreadable.len() > allowed || kept.is_empty() {
        for (path, reason) in &unreadable {
            cli::note(&format!("unreadable: {}: {reason}", path.display()));
        }
        bail!(
            "{} of {} pictures of {} are unreadable, {allowed} are allowed: mend or remove them, or \
             raise --unreadable",
            unreadable.len(),
            paths.len(),
            folder.display()
        );
    }
    let (labels, classes) = labels(&kept, names)?;
    let unlabelled = labels.iter().filter(|l| l.is_none()).count();
    let report = Report { written: kept.len(), unlabelled, classes: classes.len(), unreadable };
    let pixels = Data::File(scratch, kept.len() * how.bytes());
    let names = file_names(&kept)?;
    let provenance = Provenance::new("prepare images", &how)?;
    Unsaved { preparation: how, classes, labels, names, pixels }.save(out, &provenance)?;
    Ok(report)
}

/// The label of each picture, and the names of all classes.
fn labels(paths: &[PathBuf], names: &[String]) -> Result<(Vec<Option<usize>>, Vec<String>)> {
    let labels: Vec<Option<usize>> = paths.iter().map(|p| photos::class_of(p)).collect();
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
