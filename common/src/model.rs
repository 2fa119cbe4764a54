//! A model: network, weights, and everything needed to feed it pictures and read its answers.

use crate::artifact::{self, Artifact, Header, Kind, Tensor};
use crate::codec;
use crate::graph::{Graph, Weights};
use crate::images::Images;
use crate::nets::{self, Arch};
use crate::photos::Preparation;
use crate::view::Normalization;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// How pictures become the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Decoding and resizing.
    pub preparation: Preparation,
    /// Scaling of pixel values.
    pub normalization: Normalization,
}

/// The header's body of a model, plain or coded.
#[derive(Serialize, Deserialize)]
struct About {
    graph: String,
    classes: Vec<String>,
    input: Input,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<codec::Spec>,
}

/// Graph + weights + how pictures must be prepared + what the classes are called.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// Parameters and buffers, PyTorch's names and layout.
    pub weights: Weights,
    /// How pictures must be prepared.
    pub input: Input,
    /// Class names, one per logit.
    pub classes: Vec<String>,
}

/// What is known of the file a model came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Content hash.
    pub hash: String,
    /// Bytes on disk.
    pub bytes: usize,
    /// Plain or coded.
    pub kind: Kind,
}

impl Model {
    /// An untrained network for pictures like `images`; `raw_pixels` leaves their values in 0..1
    /// instead of scaling by mean and deviation.
    ///
    /// # Errors
    /// Pictures without classes, or too small for the network.
    pub fn fresh(
        arch: Arch,
        width: f32,
        images: &Images,
        raw_pixels: bool,
        seed: u64,
    ) -> Result<Self> {
        let at = images.path().display();
        let classes = images.about.classes.clone();
        ensure!(!classes.is_empty(), "{at}: its pictures have no labels");
        let graph = arch.build(width, classes.len())?;
        let preparation = images.about.preparation;
        graph
            .shapes(preparation.size)
            .with_context(|| format!("{at}: its pictures do not fit the network"))?;
        let normalization = if raw_pixels {
            Normalization::NONE
        } else {
            let (mean, deviation) = images.moments();
            Normalization { mean, deviation }
        };
        let weights = nets::initial_weights(&graph, seed);
        Ok(Self { graph, weights, input: Input { preparation, normalization }, classes })
    }

    /// Read a model, plain or coded.
    ///
    /// # Errors
    /// Another kind of file, or contents that do not fit together.
    pub fn load(path: &Path) -> Result<(Self, Origin)> {
        let artifact = Artifact::load(path, &[Kind::Model, Kind::Coded])?;
        let model = Self::from_artifact(&artifact)
            .with_context(|| format!("{}: malformed model", path.display()))?;
        let origin = Origin {
            hash: artifact.hash.clone(),
            bytes: artifact.size(),
            kind: artifact.header.kind,
        };
        Ok((model, origin))
    }

    /// The model in an artifact.
    ///
    /// # Errors
    /// Contents that do not fit together.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self> {
        let about: About = artifact.body()?;
        let graph: Graph = about.graph.parse().context("its graph")?;
        let weights = match about.codec {
            Some(spec) => codec::decode(&graph, &spec, artifact.u8("q")?.1)?,
            None => {
                let names: Vec<&str> = artifact.tensors().map(|t| t.name).collect();
                let load = |n: &str| Ok::<_, anyhow::Error>((n.to_owned(), artifact.f32(n)?));
                names.into_iter().map(load).collect::<Result<_>>()?
            }
        };
        graph.check_weights(&weights)?;
        ensure!(
            about.classes.len() == graph.classes(),
            "{} class names for {} logits",
            about.classes.len(),
            graph.classes()
        );
        graph.shapes(about.input.preparation.size)?;
        Ok(Self { graph, weights, input: about.input, classes: about.classes })
    }

    fn about(&self, codec: Option<codec::Spec>) -> About {
        let (graph, classes) = (self.graph.to_string(), self.classes.clone());
        About { graph, classes, input: self.input, codec }
    }

    /// Write as plain f32 tensors.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(
        &self,
        path: &Path,
        stage: &str,
        settings: &impl Serialize,
        parents: BTreeMap<String, String>,
    ) -> Result<()> {
        let header = Header::new(Kind::Model, stage, settings, parents, &self.about(None))?;
        let tensors = self.weights.iter().map(|(name, a)| Tensor::f32(name, a)).collect();
        artifact::save(path, &header, tensors)
    }

    /// Where the bytes of a coded artifact's payload go; None for another kind.
    ///
    /// # Errors
    /// Contents that do not fit together.
    pub fn breakdown(artifact: &Artifact) -> Result<Option<codec::Breakdown>> {
        let about: About = artifact.body()?;
        let Some(spec) = about.codec else { return Ok(None) };
        let graph: Graph = about.graph.parse().context("its graph")?;
        codec::breakdown(&graph, &spec, artifact.u8("q")?.1).map(Some)
    }

    /// Header and tensors of the coded file: batch norm folded, weights coded by `spec`.
    ///
    /// # Errors
    /// Weights the codec cannot hold.
    pub fn coded(
        &self,
        spec: &codec::Spec,
        parents: BTreeMap<String, String>,
    ) -> Result<(Header, Vec<Tensor>)> {
        let (graph, weights) = self.graph.fold(&self.weights)?;
        let payload = codec::encode(&graph, spec, &weights)?;
        let folded = Self { graph, weights, ..self.clone() };
        let about = folded.about(Some(*spec));
        let none = serde_json::Value::Null;
        let header = Header::new(Kind::Coded, "quantize pack", &none, parents, &about)?;
        let n = payload.len();
        Ok((header, vec![Tensor::u8("q", &[n], artifact::Data::Bytes(payload))]))
    }

    /// Checks that prepared pictures are what this model expects.
    ///
    /// # Errors
    /// Another preparation, or other classes; the message says which.
    pub fn check_images(&self, images: &Images) -> Result<()> {
        let (wanted, found) = (self.input.preparation, images.about.preparation);
        ensure!(
            wanted == found,
            "{}: pictures prepared as {found:?}, the model was trained on {wanted:?}; \
             prepare them again with the model's settings",
            images.path().display()
        );
        let classes = &images.about.classes;
        ensure!(
            classes.is_empty() || classes.len() == self.classes.len(),
            "{}: {} classes, the model knows {}",
            images.path().display(),
            classes.len(),
            self.classes.len()
        );
        Ok(())
    }
}
