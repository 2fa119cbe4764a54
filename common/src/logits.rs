//! A teacher's logits for K views of every picture: what `infer logits` writes and `distill` reads.
//!
//! Views are pure functions ([`crate::view`]), so the file stores how they were drawn, not their
//! coordinates, and the student sees exactly what the teacher saw.

use crate::array::Array;
use crate::artifact::{self, Artifact, Header, Kind, Tensor};
use crate::images::Images;
use crate::view::Policy;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The header's body of a logits artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// How views were drawn.
    pub policy: Policy,
    /// The seed they were drawn with.
    pub seed: u64,
    /// Views per picture, K.
    pub views: usize,
    /// Content hash of the pictures.
    pub images: String,
}

/// Logits `[views, n, classes]`, averaged over teachers.
pub struct Logits {
    /// How they came about.
    pub about: About,
    /// Content hash of the file.
    pub hash: String,
    array: Array,
}

impl Logits {
    /// Read a logits artifact.
    ///
    /// # Errors
    /// Another kind of file, or contents that do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let artifact = Artifact::load(path, &[Kind::Logits])?;
        let about: About = artifact.body()?;
        let array = artifact.f32("logits")?;
        ensure!(
            array.shape.len() == 3 && array.shape[0] == about.views && about.views > 0,
            "{}: logits {:?} for {} views",
            path.display(),
            array.shape,
            about.views
        );
        ensure!(
            array.values.iter().all(|v| v.is_finite()),
            "{}: holds values that are not finite",
            path.display()
        );
        Ok(Self { about, hash: artifact.hash, array })
    }

    /// Write logits `[views, n, classes]`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(
        path: &Path,
        about: &About,
        parents: BTreeMap<String, String>,
        array: &Array,
    ) -> Result<()> {
        let none = serde_json::Value::Null;
        let header = Header::new(Kind::Logits, "infer logits", &none, parents, about)?;
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
    pub fn check(&self, path: &Path, images: &Images, classes: usize) -> Result<()> {
        let check = || -> Result<()> {
            ensure!(
                self.about.images == images.hash(),
                "logits of other pictures than {} (hash {}, expected {}); run infer logits again",
                images.path().display(),
                images.hash(),
                self.about.images
            );
            ensure!(
                self.array.shape[1..] == [images.len(), classes],
                "logits {:?} for {} pictures and {classes} classes",
                self.array.shape,
                images.len()
            );
            Ok(())
        };
        check().with_context(|| format!("{}", path.display()))
    }
}
