//! Prepared pictures: u8 `[n, 3, size, size]` with labels and names, one artifact per split.

use crate::artifact::{self, Artifact, Data, Header, Kind, Tensor};
use crate::photos::{self, Preparation};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Stored for a picture without a label.
const UNLABELLED: u8 = 255;
/// Pictures decoded between two writes: bounds memory, 128 · 3 · 256² B = 25 MB at 256 px.
const CHUNK: usize = 128;

/// The header's body of an images artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// How the pictures were prepared.
    pub preparation: Preparation,
    /// Class names; empty where no picture has a label.
    pub classes: Vec<String>,
}

/// Prepared pictures in memory.
pub struct Images {
    /// Preparation and class names.
    pub about: About,
    /// Class of each picture, where known.
    pub labels: Vec<Option<usize>>,
    /// File name of each picture.
    pub names: Vec<String>,
    artifact: Artifact,
}

impl Images {
    /// Read an images artifact.
    ///
    /// # Errors
    /// Another kind of file, or tensors that do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let artifact = Artifact::load(path, &[Kind::Images])?;
        let about: About = artifact.body()?;
        let (labels, names) = Self::check(&artifact, &about)
            .with_context(|| format!("{}: malformed pictures", path.display()))?;
        Ok(Self { about, labels, names, artifact })
    }

    fn check(artifact: &Artifact, about: &About) -> Result<(Vec<Option<usize>>, Vec<String>)> {
        let size = about.preparation.size;
        let (shape, _) = artifact.u8("pixels")?;
        let (_, labels) = artifact.u8("labels")?;
        let (_, names) = artifact.u8("names")?;
        let n = labels.len();
        ensure!((1..=photos::MAX_SIZE).contains(&size), "size {size}");
        ensure!(n > 0, "no pictures");
        ensure!(shape == [n, 3, size, size], "pixels {shape:?} for {n} labels of {size} px");
        let names: Vec<String> =
            std::str::from_utf8(names)?.split('\n').map(str::to_owned).collect();
        ensure!(names.len() == n, "{} names for {n} pictures", names.len());
        let classes = about.classes.len();
        let labels = labels
            .iter()
            .map(|l| match usize::from(*l) {
                l if l < classes => Ok(Some(l)),
                l if l == usize::from(UNLABELLED) => Ok(None),
                l => bail!("label {l} of {classes} classes"),
            })
            .collect::<Result<_>>()?;
        Ok((labels, names))
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never true of a loaded artifact.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Side of a picture, pixels.
    pub fn size(&self) -> usize {
        self.about.preparation.size
    }

    /// Content hash of the file.
    pub fn hash(&self) -> &str {
        &self.artifact.hash
    }

    /// Where the pictures were read from.
    pub fn path(&self) -> &Path {
        &self.artifact.path
    }

    /// Planes R, G, B of picture `i`, `[3, size, size]`.
    pub fn pixels(&self, i: usize) -> &[u8] {
        let n = self.about.preparation.bytes();
        let all = self.artifact.u8("pixels").map(|(_, b)| b).unwrap_or_default();
        &all[i * n..(i + 1) * n]
    }

    /// The label of every picture.
    ///
    /// # Errors
    /// Pictures without one; the message counts them.
    pub fn all_labels(&self) -> Result<Vec<usize>> {
        let known: Vec<usize> = self.labels.iter().copied().flatten().collect();
        ensure!(
            known.len() == self.len(),
            "{}: {} of {} pictures have no label; name them [class]_[index].jpg",
            self.path().display(),
            self.len() - known.len(),
            self.len()
        );
        Ok(known)
    }

    /// Mean and standard deviation of each colour over all pixels, in 0..1.
    pub fn moments(&self) -> ([f32; 3], [f32; 3]) {
        let plane = self.size() * self.size();
        let sums: Vec<[u64; 6]> = (0..self.len())
            .into_par_iter()
            .map(|i| {
                let mut s = [0u64; 6];
                for (c, p) in self.pixels(i).chunks_exact(plane).enumerate() {
                    s[c] = p.iter().map(|v| u64::from(*v)).sum();
                    s[3 + c] = p.iter().map(|v| u64::from(*v).pow(2)).sum();
                }
                s
            })
            .collect();
        // Integers: exact, so the order of addition cannot matter.
        let total: Vec<f64> =
            (0..6).map(|k| sums.iter().map(|s| s[k]).sum::<u64>() as f64).collect();
        let n = (self.len() * plane) as f64;
        let mean = [0, 1, 2].map(|c| total[c] / n);
        let deviation = [0, 1, 2].map(|c| (total[3 + c] / n - mean[c].powi(2)).max(0.0).sqrt());
        (mean.map(|v| (v / 255.0) as f32), deviation.map(|v| (v / 255.0).max(1e-3) as f32))
    }
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

/// Prepare the pictures of `folder` into the artifact `out`.
///
/// Decoding runs in parallel, chunk by chunk into a scratch file, so memory does not grow with
/// the number of pictures. `names` are the class names; without them classes are called by number.
/// `tick` is called with the number of pictures done.
///
/// # Errors
/// An unreadable folder or file system, labels beyond `names`, or no readable picture at all;
/// with `strict`, also any unreadable picture.
pub fn prepare_folder(
    folder: &Path,
    how: Preparation,
    names: &[String],
    strict: bool,
    out: &Path,
    tick: impl Fn(usize) + Sync,
) -> Result<Report> {
    let paths = photos::list(folder)?;
    let mut scratch = artifact::scratch(out)?;
    let mut kept = Vec::new();
    let mut unreadable = Vec::new();
    for chunk in paths.chunks(CHUNK) {
        let decoded: Vec<Result<Vec<u8>>> =
            chunk.par_iter().map(|p| photos::prepare(p, &how).inspect(|_| tick(1))).collect();
        for (path, pixels) in chunk.iter().zip(decoded) {
            match pixels {
                Ok(p) => {
                    scratch.write_all(&p).context("writing the scratch file")?;
                    kept.push(path.clone());
                }
                Err(e) => unreadable.push((path.clone(), format!("{:#}", e.root_cause()))),
            }
        }
    }
    if let Some((path, reason)) = unreadable.first()
        && (strict || kept.is_empty())
    {
        bail!("{} unreadable pictures, first {}: {reason}", unreadable.len(), path.display());
    }
    let (labels, classes) = labels(&kept, names)?;
    let about = About { preparation: how, classes };
    let unlabelled = labels.iter().filter(|l| **l == UNLABELLED).count();
    let report =
        Report { written: kept.len(), unlabelled, classes: about.classes.len(), unreadable };
    let header = Header::new(Kind::Images, "prepare images", &how, BTreeMap::new(), &about)?;
    let (n, size) = (kept.len(), how.size);
    let names = file_names(&kept)?;
    let tensors = vec![
        Tensor::u8("labels", &[n], Data::Bytes(labels)),
        Tensor::u8("names", &[names.len()], Data::Bytes(names.into_bytes())),
        Tensor::u8("pixels", &[n, 3, size, size], Data::File(scratch, n * how.bytes())),
    ];
    artifact::save(out, &header, tensors)?;
    Ok(report)
}

fn labels(paths: &[PathBuf], names: &[String]) -> Result<(Vec<u8>, Vec<String>)> {
    let found: Vec<Option<usize>> = paths.iter().map(|p| photos::class_of(p)).collect();
    let highest = found.iter().copied().flatten().max();
    let classes = match highest {
        None => Vec::new(),
        Some(max) if names.is_empty() => {
            ensure!(
                max < usize::from(UNLABELLED),
                "class {max}: at most 255 classes are supported"
            );
            (0..=max).map(|c| c.to_string()).collect()
        }
        Some(max) => {
            ensure!(
                max < names.len() && names.len() <= usize::from(UNLABELLED),
                "a picture has class {max}, but {} class names were given",
                names.len()
            );
            names.to_vec()
        }
    };
    let labels = found.iter().map(|l| l.map_or(UNLABELLED, |l| l as u8)).collect();
    Ok((labels, classes))
}

fn file_names(paths: &[PathBuf]) -> Result<String> {
    let names: Vec<&str> = paths
        .iter()
        .map(|p| {
            let name = p.file_name().and_then(|n| n.to_str());
            let name = name.with_context(|| format!("{}: its name is not UTF-8", p.display()))?;
            ensure!(!name.contains('\n'), "{name:?}: a line break in its name");
            Ok(name)
        })
        .collect::<Result<_>>()?;
    Ok(names.join("\n"))
}
