//! Prepared pictures: u8 `[n, 3, size, size]` with labels and names, one artifact per split.

use crate::artifact::{self, Artifact, Data, Header, Kind, Provenance, Source, Tensor};
use crate::pictures::{MAX_SIZE, Preparation};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Stored for a picture without a label.
const UNLABELLED: u8 = 255;

/// Most classes there can be.
pub const MOST_CLASSES: usize = UNLABELLED as usize;

/// The header's body of an images artifact.
#[derive(Clone, Serialize, Deserialize)]
struct Body {
    preparation: Preparation,
    classes: Vec<String>,
}

/// Prepared pictures in memory.
pub struct Images {
    /// How the pictures were prepared.
    pub preparation: Preparation,
    /// Class names; empty where no picture has a label.
    pub classes: Vec<String>,
    /// Class of each picture, where known.
    pub labels: Vec<Option<usize>>,
    /// File name of each picture.
    pub names: Vec<String>,
    /// The file.
    pub source: Source,
    artifact: Artifact,
}

/// Pictures to be written.
pub struct Unsaved {
    /// How they were prepared.
    pub preparation: Preparation,
    /// Class names; empty where no picture has a label.
    pub classes: Vec<String>,
    /// Class of each picture, where known; below [`MOST_CLASSES`].
    pub labels: Vec<Option<usize>>,
    /// File name of each picture, without line breaks.
    pub names: Vec<String>,
    /// `[n, 3, size, size]`.
    pub pixels: Data,
}

impl Unsaved {
    /// Write the images artifact.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(self, path: &Path, provenance: &Provenance) -> Result<()> {
        let (n, size) = (self.names.len(), self.preparation.size);
        let body = Body { preparation: self.preparation, classes: self.classes };
        let header = Header::new(Kind::Images, provenance, &body)?;
        let byte = |l: &Option<usize>| l.and_then(|l| u8::try_from(l).ok()).unwrap_or(UNLABELLED);
        let labels = self.labels.iter().map(byte).collect();
        let names = self.names.join("\n");
        let tensors = vec![
            Tensor::u8("labels", &[n], Data::Bytes(labels)),
            Tensor::u8("names", &[names.len()], Data::Bytes(names.into_bytes())),
            Tensor::u8("pixels", &[n, 3, size, size], self.pixels),
        ];
        artifact::save(path, &header, tensors)
    }
}

impl Images {
    /// Read an images artifact.
    ///
    /// # Errors
    /// Another kind of file, or tensors that do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let artifact = Artifact::load(path, &[Kind::Images])?;
        let body: Body = artifact.body()?;
        let (labels, names) = Self::check(&artifact, &body)
            .with_context(|| format!("{}: malformed pictures", path.display()))?;
        let (Body { preparation, classes }, source) = (body, artifact.source.clone());
        Ok(Self { preparation, classes, labels, names, source, artifact })
    }

    /// Whether what is in `source` was made with these very pictures.
    pub fn made(&self, source: &Source) -> bool {
        source.provenance.parents.get("images") == Some(&self.source.hash)
    }

    fn check(artifact: &Artifact, body: &Body) -> Result<(Vec<Option<usize>>, Vec<String>)> {
        let size = body.preparation.size;
        let (shape, _) = artifact.u8("pixels")?;
        let (_, labels) = artifact.u8("labels")?;
        let (_, names) = artifact.u8("names")?;
        let n = labels.len();
        ensure!((1..=MAX_SIZE).contains(&size), "size {size}");
        ensure!(n > 0, "no pictures");
        ensure!(shape == [n, 3, size, size], "pixels {shape:?} for {n} labels of {size} px");
        let names: Vec<String> =
            std::str::from_utf8(names)?.split('\n').map(str::to_owned).collect();
        ensure!(names.len() == n, "{} names for {n} pictures", names.len());
        let classes = body.classes.len();
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
        self.preparation.size
    }

    /// Planes R, G, B of picture `i`, `[3, size, size]`.
    pub fn pixels(&self, i: usize) -> &[u8] {
        let n = self.preparation.bytes();
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
            self.source.name,
            self.len() - known.len(),
            self.len()
        );
        Ok(known)
    }

    /// The label of every picture, to learn from.
    ///
    /// # Errors
    /// As [`Images::all_labels`]; class names beyond the last class that a picture has.
    pub fn labels_to_learn_from(&self) -> Result<Vec<usize>> {
        let labels = self.all_labels()?;
        let (named, seen) = (self.classes.len(), labels.iter().max().map_or(0, |last| last + 1));
        ensure!(
            seen == named,
            "{}: {named} classes are named, its pictures have {seen}, and of {} nothing can be learnt: run \
             prepare images with --classes for those that there are, or without",
            self.source.name,
            self.classes[seen..].join(", ")
        );
        Ok(labels)
    }

    /// Mean and standard deviation of each colour over all pixels, in 0..1.
    pub fn mean_std(&self) -> ([f32; 3], [f32; 3]) {
        let plane = self.size() * self.size();
        // Integers: exact, so the order of addition cannot matter.
        let (mut sums, mut squares) = ([0u64; 3], [0u64; 3]);
        for i in 0..self.len() {
            for (c, plane) in self.pixels(i).chunks_exact(plane).enumerate() {
                sums[c] += plane.iter().map(|v| u64::from(*v)).sum::<u64>();
                squares[c] += plane.iter().map(|v| u64::from(*v).pow(2)).sum::<u64>();
            }
        }
        let n = (self.len() * plane) as f64;
        let mean = sums.map(|s| s as f64 / n);
        let std = [0, 1, 2].map(|c| (squares[c] as f64 / n - mean[c].powi(2)).max(0.0).sqrt());
        (mean.map(|v| (v / 255.0) as f32), std.map(|v| (v / 255.0).max(1e-3) as f32))
    }
}

impl views::Pictures for Images {
    fn count(&self) -> usize {
        self.len()
    }

    fn size(&self) -> usize {
        self.size()
    }

    fn pixels(&self, i: usize) -> &[u8] {
        self.pixels(i)
    }
}
