//! A model: network, weights, and everything needed to feed it pictures and read its answers.

use crate::artifact::{self, Artifact, Data, Header, Kind, Provenance, Source, Tensor};
use crate::calibration::Calibration;
use crate::classes;
use crate::images::Images;
use crate::pictures::{Input, MAX_SIZE};
use anyhow::{Context, Result, bail, ensure};
use codec::{Part, Quantized, Rows, Spec};
use graph::grid::{self, Grid, Grids, Scale};
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Weights};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use views::{FixedViews, Normalization};

/// The header's body of a model, plain or coded.
#[derive(Serialize, Deserialize)]
struct Body {
    graph: String,
    classes: Vec<String>,
    input: Input,
    /// Read by [`read_views`], which is a kilobyte less of a page than what is derived.
    #[serde(skip_deserializing, skip_serializing_if = "FixedViews::is_plain")]
    views: FixedViews,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<Spec>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    grids: BTreeMap<String, StoredGrid>,
    /// Read by [`Calibration::of`], so that the page, which only hands it on, has no code for it.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
}

/// The views in a body. What it does not know would be left out of the mean, so nothing may be left over.
fn read_views(json: &Value) -> Result<FixedViews> {
    let pixels = |key: &str| json.get(key)?.as_u64().and_then(|p| u8::try_from(p).ok());
    let [shift, zoom] = ["shift", "zoom"].map(|key| pixels(key).unwrap_or(0));
    let flip = json.get("flip").and_then(Value::as_bool).unwrap_or(false);
    let views = FixedViews { flip, shift, zoom };
    let all = json.as_object().is_some_and(|o| o.len() == views.words());
    ensure!(all, "unknown views");
    Ok(views)
}

/// A grid in JSON.
#[derive(Serialize, Deserialize)]
struct StoredGrid {
    bits: u8,
    /// Codes.
    #[serde(alias = "steps")] // schema 1
    scales: Vec<i16>,
}

/// Checks codes before they are clamped into scales.
fn read_grid((name, stored): (String, StoredGrid)) -> Result<(String, Grid)> {
    let StoredGrid { bits, scales } = stored;
    ensure!(scales.iter().all(|c| Scale::RANGE.contains(c)), "{name}: a scale out of range");
    let scales = scales.into_iter().map(Scale::from_code).collect();
    Ok((name, Grid { bits, scales }))
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
    /// The views of a picture whose mean logits are the answer.
    pub views: FixedViews,
}

impl Model {
    /// An untrained network for pictures like `images`: that which `build` makes for the number of
    /// their classes. `raw_pixels` leaves their values in 0..1 instead of scaling by mean and standard
    /// deviation.
    ///
    /// # Errors
    /// Pictures without classes, or too small for the network; what `build` says.
    pub fn fresh(
        build: impl FnOnce(usize) -> Result<Graph>,
        images: &Images,
        raw_pixels: bool,
        seed: u64,
    ) -> Result<Self> {
        let at = &images.source.name;
        let classes = images.classes.clone();
        ensure!(!classes.is_empty(), "{at}: its pictures have no labels");
        let graph = build(classes.len())?;
        let preparation = images.preparation;
        Schedule::new(&graph, preparation.size, Fusing::NONE)
            .with_context(|| format!("{at}: its pictures do not fit the network"))?;
        let normalization = if raw_pixels {
            Normalization::NONE
        } else {
            let (mean, std) = images.mean_std();
            Normalization { mean, std }
        };
        let weights = graph::init::weights(&graph, seed);
        let input = Input { preparation, normalization };
        let views = FixedViews::PLAIN;
        Ok(Self { graph, weights, input, classes, grids: Grids::new(), views })
    }

    /// Read a model, plain or coded.
    ///
    /// # Errors
    /// Another kind of file, or contents that do not fit together.
    pub fn load(path: &Path) -> Result<(Self, Source)> {
        Self::of(Artifact::read(path)?)
    }

    /// The model in `bytes`, plain or coded; called `name` in messages.
    ///
    /// # Errors
    /// Other bytes, or contents that do not fit together.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<(Self, Source)> {
        Self::of(Artifact::parse(name, bytes)?)
    }

    /// The model that an artifact is, plain or coded.
    ///
    /// # Errors
    /// Another kind of file, or contents that do not fit together.
    pub fn of(artifact: Artifact) -> Result<(Self, Source)> {
        let artifact = artifact.of(&[Kind::Model, Kind::Coded])?;
        let model = Self::from_artifact(&artifact)
            .with_context(|| format!("{}: malformed model", artifact.source.name))?;
        Ok((model, artifact.source))
    }

    /// The model in an artifact.
    ///
    /// # Errors
    /// Contents that do not fit together.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self> {
        let body: Body = artifact.body()?;
        let graph: Graph = body.graph.parse().context("its graph")?;
        let size = body.input.preparation.size;
        ensure!((1..=MAX_SIZE).contains(&size), "pictures of {size} px: expected 1 to {MAX_SIZE}");
        // Before memory is asked for: it has logits to choose from, and sizes that a machine can hold.
        Schedule::new(&graph, size, Fusing::NONE)?;
        let (weights, grids) = match body.codec {
            Some(spec) => {
                let (weights, quantized) = codec::decode(&graph, spec, artifact.u8("q")?.1)?;
                (weights, quantized.grids())
            }
            None => {
                let names: Vec<&str> = artifact.tensors().map(|t| t.name).collect();
                let load = |n: &str| Ok::<_, anyhow::Error>((n.to_owned(), artifact.f32(n)?));
                let weights = names.into_iter().map(load).collect::<Result<_>>()?;
                (weights, body.grids.into_iter().map(read_grid).collect::<Result<_>>()?)
            }
        };
        graph.check_weights(&weights)?;
        graph.check_values(&weights)?;
        ensure!(
            body.classes.len() == graph.classes(),
            "{} class names for {} logits",
            body.classes.len(),
            graph.classes()
        );
        let views = artifact.json.get("views").map_or(Ok(FixedViews::PLAIN), read_views)?;
        ensure!(views.fit(size), "views of {size} px: they move more than a quarter of a side");
        let Body { input, classes, .. } = body;
        let model = Self { graph, weights, input, classes, grids, views };
        if body.codec.is_none() {
            grid::check(&model.grids, &model.graph)?;
        }
        Ok(model)
    }

    /// The same function with batch norm folded and last layers joined, where they can be. What is on grids is folded
    /// already, and keeps the layers that it has grids for.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn folded(&self) -> Result<Self> {
        let weights = self.weights.clone();
        let (graph, weights) = match self.grids.is_empty() {
            true => self.graph.fold(weights)?,
            false => self.graph.fold_norms(weights)?,
        };
        Ok(Self { graph, weights, ..self.clone() })
    }

    /// Write as plain f32 tensors.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path, provenance: &Provenance) -> Result<()> {
        let header = Header::new(Kind::Model, provenance, &self.body(None, None))?;
        let tensors = self.weights.iter().map(|(name, a)| Tensor::f32(name, a)).collect();
        artifact::save(path, &header, tensors)
    }

    fn body(&self, codec: Option<Spec>, calibration: Option<Calibration>) -> Body {
        // What is coded holds its own grids.
        let grids = self.grids.iter().filter(|_| codec.is_none());
        let stored = |g: &Grid| StoredGrid {
            bits: g.bits,
            scales: g.scales.iter().map(|s| s.code()).collect(),
        };
        Body {
            graph: self.graph.to_string(),
            classes: self.classes.clone(),
            input: self.input,
            views: self.views,
            codec,
            grids: grids.map(|(n, g)| (n.clone(), stored(g))).collect(),
            calibration,
        }
    }

    /// Where the bytes of a coded artifact's payload go, tensor by tensor; None for another kind.
    ///
    /// # Errors
    /// Contents that do not fit together.
    pub fn parts(artifact: &Artifact) -> Result<Option<Vec<Part>>> {
        let body: Body = artifact.body()?;
        let Some(spec) = body.codec else { return Ok(None) };
        let graph: Graph = body.graph.parse().context("its graph")?;
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
        provenance: &Provenance,
    ) -> Result<(Header, Vec<Tensor>)> {
        self.calibrated(spec, payload, provenance, None)
    }

    /// [`Model::coded`], with what these weights' probabilities are worth.
    ///
    /// # Errors
    /// Only what JSON refuses.
    pub fn calibrated(
        &self,
        spec: Spec,
        payload: Vec<u8>,
        provenance: &Provenance,
        calibration: Option<Calibration>,
    ) -> Result<(Header, Vec<Tensor>)> {
        let header = Header::new(Kind::Coded, provenance, &self.body(Some(spec), calibration))?;
        let n = payload.len();
        Ok((header, vec![Tensor::u8("q", &[n], Data::Bytes(payload))]))
    }

    /// This folded model with the same `bits` for every weight: 16 as half precision, 2 to 8 on
    /// entropy-coded grids about zero with a scale per output channel.
    ///
    /// # Errors
    /// Other bits, or weights that do not fit the graph.
    pub fn with_bits(&self, bits: u8) -> Result<(Spec, Vec<u8>)> {
        match bits {
            16 => Ok((Spec::Half, codec::encode(&self.graph, Spec::Half, &self.weights)?)),
            2..=8 => {
                let choices = codec::uniform_choices(&self.graph, Rows::Channel, bits);
                let quantized = Quantized::new(&self.graph, &self.weights, &choices)?;
                Ok((Spec::Grids, quantized.encode(&self.graph)?))
            }
            _ => bail!("{bits} bits: expected 2 to 8, or 16"),
        }
    }

    /// Bytes of the finished file that holds this folded model as `payload`, coded by `spec`.
    ///
    /// # Errors
    /// Only what JSON refuses.
    pub fn file_bytes(&self, spec: Spec, payload: Vec<u8>) -> Result<usize> {
        let mut provenance = Provenance::new("quantize pack", &())?;
        provenance.parents.insert("model".to_owned(), "0".repeat(16));
        let (header, tensors) = self.coded(spec, payload, &provenance)?;
        artifact::size(&header, &tensors)
    }

    /// Bytes of the finished file that holds this folded model as `quantized`; where nearly all of it is zero, which
    /// [`Quantized::encode`] refuses, those of the smallest file that could.
    ///
    /// # Errors
    /// As [`Quantized::padded`].
    pub fn coded_bytes(&self, quantized: &Quantized) -> Result<usize> {
        self.file_bytes(Spec::Grids, quantized.padded(&self.graph)?)
    }

    /// Checks that prepared pictures are what this model expects.
    ///
    /// # Errors
    /// Another preparation, or other classes; the message says which.
    pub fn check_images(&self, images: &Images) -> Result<()> {
        let (wanted, found) = (self.input.preparation, images.preparation);
        let at = &images.source.name;
        ensure!(
            wanted == found,
            "{at}: its pictures were prepared with {found}, those of the model with {wanted}; \
             run prepare images with {wanted}",
        );
        classes::agree(&self.classes, &images.classes).with_context(|| at.clone())
    }
}
