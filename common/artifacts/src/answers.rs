//! A model's logits for labelled pictures: what `infer eval` writes and `report` compares.
//!
//! Everything that can be said about how good a model is, alone or beside another, follows from these.

use crate::artifact::{self, Artifact, Data, Header, Kind, Provenance, Source, Tensor};
use crate::images::{Images, MOST_CLASSES};
use anyhow::{Context, Result, ensure};
use graph::Array;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use views::FixedViews;

/// The header's body of an answers artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What the model is called in tables.
    pub name: String,
    /// Class names, one per logit.
    pub classes: Vec<String>,
    /// Content hash of the model file.
    pub model: String,
    /// Content hash of the pictures.
    pub images: String,
    /// Trained values in the network (after folding, for a coded file).
    pub parameters: usize,
    /// Bytes of the model file.
    pub bytes: usize,
    /// Multiplications per picture.
    pub multiplications: usize,
    /// What the model's file divides logits by before they become probabilities; None where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The views whose mean logits are the answers.
    #[serde(default, skip_serializing_if = "FixedViews::is_plain")]
    pub views: FixedViews,
}

/// Logits `[n, classes]` of labelled pictures.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Whose answers, to which pictures.
    pub about: About,
    /// File name of each picture.
    pub names: Vec<String>,
    /// Class of each picture.
    pub labels: Vec<usize>,
    /// The file.
    pub source: Source,
    logits: Vec<f32>,
}

impl Answers {
    /// Where the answers to an evaluation are whose row is at `row`: `X.csv` → `X.answers.safetensors`,
    /// anything else as [`artifact::beside`] has it.
    pub fn beside(row: &Path) -> PathBuf {
        let csv = row.extension().is_some_and(|e| e == "csv");
        let stem = if csv { row.with_extension("") } else { row.to_owned() };
        artifact::beside(&stem, "answers.safetensors")
    }

    /// Write `logits` `[n, classes]` for all pictures of `images`, each of which has a label.
    ///
    /// # Errors
    /// Pictures without a label, or what the file system says.
    pub fn save(
        path: &Path,
        about: &About,
        provenance: &Provenance,
        images: &Images,
        logits: Vec<f32>,
    ) -> Result<()> {
        let header = Header::new(Kind::Answers, provenance, about)?;
        let n = images.len();
        let labels: Vec<u8> =
            images.all_labels()?.into_iter().map(u8::try_from).collect::<Result<_, _>>()?;
        let names = images.names.join("\n").into_bytes();
        let logits = Array::new(vec![n, about.classes.len()], logits)?;
        let tensors = vec![
            Tensor::f32("logits", &logits),
            Tensor::u8("labels", &[n], Data::Bytes(labels)),
            Tensor::u8("names", &[names.len()], Data::Bytes(names)),
        ];
        artifact::save(path, &header, tensors)
    }

    /// Read an answers artifact.
    ///
    /// # Errors
    /// Another kind of file, or contents that do not fit together.
    pub fn load(path: &Path) -> Result<Self> {
        let artifact = Artifact::load(path, &[Kind::Answers])?;
        Self::of(artifact).with_context(|| format!("{}: malformed answers", path.display()))
    }

    fn of(artifact: Artifact) -> Result<Self> {
        let labels = artifact.u8("labels")?.1.iter().map(|l| usize::from(*l)).collect();
        let names = std::str::from_utf8(artifact.u8("names")?.1)?;
        let names = names.split('\n').map(str::to_owned).collect();
        Self::new(artifact.body()?, artifact.source.clone(), names, labels, artifact.f32("logits")?)
    }

    /// `logits` `[n, classes]` of the pictures `names` with these `labels`, as `source` holds them.
    ///
    /// # Errors
    /// Parts that do not fit together.
    pub fn new(
        about: About,
        source: Source,
        names: Vec<String>,
        labels: Vec<usize>,
        logits: Array,
    ) -> Result<Self> {
        let (n, classes) = (labels.len(), about.classes.len());
        ensure!(n > 0 && (1..=MOST_CLASSES).contains(&classes), "{n} pictures, {classes} classes");
        ensure!(
            logits.shape == [n, classes],
            "logits {:?} for {n} pictures and {classes} classes",
            logits.shape
        );
        ensure!(names.len() == n, "{} names for {n} pictures", names.len());
        ensure!(labels.iter().all(|l| *l < classes), "a label beyond {classes} classes");
        ensure!(logits.values.iter().all(|v| v.is_finite()), "logits that are not finite");
        Ok(Self { about, names, labels, source, logits: logits.values })
    }

    /// The logits of each picture, in order.
    pub fn logits(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact(self.about.classes.len())
    }

    /// Checks that these and `other` are answers to the same pictures.
    ///
    /// # Errors
    /// Other pictures or other classes: how many and which is said.
    pub fn check_same_pictures(&self, other: &Self) -> Result<()> {
        let (a, b) = (&self.source.name, &other.source.name);
        ensure!(
            self.about.images == other.about.images || self.names == other.names,
            "{a} and {b}: answers to other pictures (hash {} and {}); run infer eval on the same",
            self.about.images,
            other.about.images
        );
        ensure!(
            self.labels == other.labels && self.about.classes == other.about.classes,
            "{a} and {b}: the same pictures with other labels or classes; run infer eval on the same"
        );
        Ok(())
    }
}
