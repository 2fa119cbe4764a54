//! A teacher's logits for K views of every picture: what `infer logits` writes and `distill` reads.
//!
//! Views are pure functions of (policy, seed, picture, k), so the file stores how they were drawn, not
//! their coordinates, and the student sees exactly what the teacher saw.

use crate::artifact::{self, Artifact, Header, Kind, Provenance, Source, Tensor};
#[cfg(doc)]
use crate::folds::Folds;
use crate::images::Images;
use anyhow::{Result, ensure};
use graph::Array;
use serde::{Deserialize, Serialize};
use std::path::Path;
use views::Policy;

/// How views are drawn: the header's body of a logits artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Views {
    /// How one is drawn.
    pub policy: Policy,
    /// The seed they are drawn with.
    pub seed: u64,
    /// Views per picture, K.
    pub views: usize,
    /// Content hash of the pictures.
    pub images: String,
    /// K, where each of the K [`Folds`] of the pictures was answered by teachers that had not seen it. A view's
    /// partner is then one of its picture's own fold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
}

/// Logits `[views, n, classes]`, averaged over teachers.
pub struct Logits {
    /// How the views were drawn.
    pub views: Views,
    /// The file.
    pub source: Source,
    array: Array,
}

impl Logits {
    /// Read a logits artifact.
    ///
    /// # Errors
    /// Another kind of file, or contents that do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let artifact = Artifact::load(path, &[Kind::Logits])?;
        let views: Views = artifact.body()?;
        let array = artifact.f32("logits")?;
        ensure!(
            array.shape.len() == 3 && array.shape[0] == views.views && views.views > 0,
            "{}: logits {:?} for {} views",
            path.display(),
            array.shape,
            views.views
        );
        ensure!(
            array.values.iter().all(|v| v.is_finite()),
            "{}: holds values that are not finite",
            path.display()
        );
        Ok(Self { views, source: artifact.source, array })
    }

    /// Write logits `[views, n, classes]`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(path: &Path, views: &Views, provenance: &Provenance, array: &Array) -> Result<()> {
        let mut header = Header::new(Kind::Logits, provenance, views)?;
        if views.folds.is_some() {
            // Programs of before would draw other partners.
            header.schema = artifact::SCHEMA_OF_FOLDS;
        }
        artifact::save(path, &header, vec![Tensor::f32("logits", array)])
    }

    /// The logits of view `k` of picture `i`.
    pub fn of(&self, k: usize, i: usize) -> &[f32] {
        let (n, classes) = (self.array.shape[1], self.array.shape[2]);
        let at = (k * n + i) * classes;
        &self.array.values[at..at + classes]
    }

    /// Checks that these are logits of `images`, for networks with `classes` outputs.
    ///
    /// # Errors
    /// Other pictures or another number of classes.
    pub fn check(&self, images: &Images, classes: usize) -> Result<()> {
        let name = &self.source.name;
        ensure!(
            self.views.images == images.source.hash,
            "{name}: logits of other pictures than {} (hash {}, expected {}); \
             run infer logits again",
            images.source.name,
            images.source.hash,
            self.views.images
        );
        ensure!(
            self.array.shape[1..] == [images.len(), classes],
            "{name}: logits {:?} for {} pictures and {classes} classes",
            self.array.shape,
            images.len()
        );
        Ok(())
    }
}
