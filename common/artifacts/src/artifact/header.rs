//! What stands in an artifact's header: what it is, what made it, from what.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Newest version of headers that is known; newer ones are refused, older ones read.
pub const SCHEMA: u32 = 4;

/// Version of the headers written, but for files that mean something else to programs that know no newer one.
const USUAL: u32 = 3;

/// The version that logits with folds have: their views are drawn otherwise.
pub const SCHEMA_OF_FOLDS: u32 = 4;

/// The first schema whose files carry a sum.
pub(super) const SUMMED: u32 = 3;

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prepared pictures.
    Images,
    /// A network with f32 weights.
    Model,
    /// A teacher's logits for views of pictures.
    Logits,
    /// A model's logits for labelled pictures.
    Answers,
    /// A network with coded weights: the file that ships.
    Coded,
    /// Tensors of another program, of no known network.
    Bundle,
    /// How a network is to be quantized.
    Plan,
    /// An interrupted training run.
    State,
}

impl Kind {
    /// The command that makes it.
    pub fn maker(self) -> &'static str {
        match self {
            Self::Images => "prepare images",
            Self::Model => "train, distill, prune, prepare model or quantize unpack",
            Self::Logits => "infer logits",
            Self::Answers => "infer eval",
            Self::Coded => "quantize pack",
            Self::Bundle => "prepare model",
            Self::Plan => "quantize plan",
            Self::State => "train, distill, infer logits or quantize plan, when interrupted",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_ascii_lowercase())
    }
}

/// What an artifact was made by and from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The stage that made it.
    pub stage: String,
    /// The stage's settings, paths left out.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
    /// Role → content hash of each input file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parents: BTreeMap<String, String>,
}

impl Provenance {
    /// Made by `stage` with `settings`, from no file so far.
    ///
    /// # Errors
    /// Settings that JSON cannot hold.
    pub fn new(stage: &str, settings: &impl Serialize) -> Result<Self> {
        let settings = serde_json::to_value(settings)?;
        Ok(Self { stage: stage.to_owned(), settings, parents: BTreeMap::new() })
    }

    /// As it would be written now: `distill --init` used to record what a fresh network would have been.
    pub(super) fn of_today(mut self) -> Self {
        if self.parents.contains_key("init")
            && let Some(settings) = self.settings.as_object_mut()
        {
            settings.retain(|key, _| !["arch", "raw_pixels", "width"].contains(&key.as_str()));
        }
        self
    }

    /// Made from `source` too, in this role.
    #[must_use]
    pub fn from(mut self, role: &str, source: &Source) -> Self {
        self.parents.insert(role.to_owned(), source.hash.clone());
        self
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its path, or what it is called in messages.
    pub name: String,
    /// Content hash: the sum that the file carries of itself; of a file without one, the first 16
    /// hexadecimal digits of BLAKE3 over all of it.
    pub hash: String,
    /// Its size.
    pub bytes: usize,
    /// What it is.
    pub kind: Kind,
    /// What it was made by and from.
    pub provenance: Provenance,
}

impl Source {
    /// The content hash of the bytes of a file without a sum.
    pub fn hash(bytes: &[u8]) -> String {
        blake3::hash(bytes).to_hex()[..16].to_owned()
    }

    /// Checks that this was made for `other`, its parent in `role`.
    ///
    /// # Errors
    /// Made for another file.
    pub fn check_made_for(&self, role: &str, other: &Self) -> Result<()> {
        let found = self.provenance.parents.get(role);
        ensure!(
            found == Some(&other.hash),
            "{}: made for another {role} than {} (hash {}, expected {}); run {} on this one",
            self.name,
            other.name,
            found.map_or("none", String::as_str),
            other.hash,
            self.kind.maker(),
        );
        Ok(())
    }
}

/// What stands in an artifact's metadata, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The file's sum of itself; zeros until it is written, None in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sum: Option<String>,
    /// What the file is.
    pub kind: Kind,
    /// At most [`SCHEMA`].
    pub schema: u32,
    /// What made it, from what.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// What the kind needs: see the module that owns it.
    pub body: serde_json::Value,
}

impl Header {
    /// A header of what was made so.
    ///
    /// # Errors
    /// A body that JSON cannot hold.
    pub fn new(kind: Kind, provenance: &Provenance, body: &impl Serialize) -> Result<Self> {
        let (provenance, body) = (provenance.clone(), serde_json::to_value(body)?);
        let sum = Some(super::sum::ZEROS.to_owned());
        Ok(Self { sum, kind, schema: USUAL, provenance, body })
    }
}
