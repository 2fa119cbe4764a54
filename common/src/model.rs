//! A model: network, weights, and everything needed to feed it pictures and read its answers.

use crate::artifact::{self, Artifact, Header, Kind, Tensor};
use crate::codec::{self, Grids, Part, Quantized, Spec};
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
    codec: Option<Spec>,
    #[serde(default, skip_serializing_if = "Grids::is_empty")]
    grids: Grids,
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
    /// Grids of a network that was trained for them, by tensor; empty for others. Its weights lie on
    /// them, and batch norm is folded.
    pub grids: Grids,
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
        let input = Input { preparation, normalization };
        Ok(Self { graph, weights, input, classes, grids: Grids::new() })
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
        let (weights, grids) = match about.codec {
            Some(spec) => {
                let (weights, quantized) = codec::decode(&graph, spec, artifact.u8("q")?.1)?;
                (weights, quantized.grids())
            }
            None => {
                let names: Vec<&str> = artifact.tensors().map(|t| t.name).collect();
                let load = |n: &str| Ok::<_, anyhow::Error>((n.to_owned(), artifact.f32(n)?));
                (names.into_iter().map(load).collect::<Result<_>>()?, about.grids)
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
        codec::check_grids(&grids, &weights)?;
        let (input, classes) = (about.input, about.classes);
        Ok(Self { graph, weights, input, classes, grids })
    }

    /// The same function with batch norm folded.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn folded(&self) -> Result<Self> {
        let (graph, weights) = self.graph.fold(&self.weights)?;
        Ok(Self { graph, weights, ..self.clone() })
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
        let about = About {
            graph: self.graph.to_string(),
            classes: self.classes.clone(),
            input: self.input,
            codec: None,
            grids: self.grids.clone(),
        };
        let header = Header::new(Kind::Model, stage, settings, parents, &about)?;
        let tensors = self.weights.iter().map(|(name, a)| Tensor::f32(name, a)).collect();
        artifact::save(path, &header, tensors)
    }

    /// Where the bytes of a coded artifact's payload go, tensor by tensor; None for another kind.
    ///
    /// # Errors
    /// Contents that do not fit together.
    pub fn parts(artifact: &Artifact) -> Result<Option<Vec<Part>>> {
        let about: About = artifact.body()?;
        let Some(spec) = about.codec else { return Ok(None) };
        let graph: Graph = about.graph.parse().context("its graph")?;
        codec::parts(&graph, spec, artifact.u8("q")?.1).map(Some)
    }

    /// Header and tensors of the coded file of a folded model: its weights coded by `spec` as
    /// `payload`.
    ///
    /// # Errors
    /// Only what JSON refuses.
    pub fn coded(
        &self,
        spec: Spec,
        payload: Vec<u8>,
        parents: BTreeMap<String, String>,
    ) -> Result<(Header, Vec<Tensor>)> {
        let about = About {
            graph: self.graph.to_string(),
            classes: self.classes.clone(),
            input: self.input,
            codec: Some(spec),
            grids: Grids::new(),
        };
        let none = serde_json::Value::Null;
        let header = Header::new(Kind::Coded, "quantize pack", &none, parents, &about)?;
        let n = payload.len();
        Ok((header, vec![Tensor::u8("q", &[n], artifact::Data::Bytes(payload))]))
    }

    /// Bytes of the finished file that holds this folded model as `quantized`.
    ///
    /// # Errors
    /// As [`Quantized::encode`].
    pub fn coded_bytes(&self, quantized: &Quantized) -> Result<usize> {
        let parent = BTreeMap::from([("model".to_owned(), "0".repeat(16))]);
        let (header, tensors) = self.coded(Spec::Grids, quantized.encode(&self.graph)?, parent)?;
        artifact::size(&header, &tensors)
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
