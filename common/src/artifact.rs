//! Artifacts: safetensors files with a header, the only way in and out for stages.
//!
//! A file holds named tensors and one metadata key, [`KEY`], with a JSON [`Header`]: what the file
//! is, which stage made it with which settings, and from which files (by content hash). Neither
//! time, host nor path is recorded, so the same inputs give the same bytes. Files appear under
//! their name only when complete. FORMAT.md describes every kind byte by byte.

mod atomic;

use crate::array::Array;
use anyhow::{Context, Result, anyhow, bail, ensure};
use atomic::write_atomically;
pub use atomic::{save_bytes, scratch};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The metadata key of the header.
pub const KEY: &str = "crumb";

/// Version of the headers written; older programs refuse newer ones.
pub const SCHEMA: u32 = 1;

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
    fn maker(self) -> &'static str {
        match self {
            Self::Images => "prepare images",
            Self::Model => "train, distill, prune or quantize unpack",
            Self::Logits => "infer logits",
            Self::Coded => "quantize pack",
            Self::Bundle => "prepare model",
            Self::Plan => "quantize plan",
            Self::State => "train or distill, when interrupted",
        }
    }
}

/// What stands in an artifact's metadata, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// What the file is.
    pub kind: Kind,
    /// [`SCHEMA`].
    pub schema: u32,
    /// The stage that made it.
    pub stage: String,
    /// The stage's settings, paths left out.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub settings: serde_json::Value,
    /// Role → content hash of each input file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parents: BTreeMap<String, String>,
    /// What the kind needs: see the module that owns it.
    pub body: serde_json::Value,
}

impl Header {
    /// A header for what `stage` makes.
    ///
    /// # Errors
    /// Settings or a body that JSON cannot hold.
    pub fn new(
        kind: Kind,
        stage: &str,
        settings: &impl Serialize,
        parents: BTreeMap<String, String>,
        body: &impl Serialize,
    ) -> Result<Self> {
        Ok(Self {
            kind,
            schema: SCHEMA,
            stage: stage.to_owned(),
            settings: serde_json::to_value(settings)?,
            parents,
            body: serde_json::to_value(body)?,
        })
    }
}

/// Where the bytes of a tensor come from.
pub enum Data {
    /// Memory, little-endian.
    Bytes(Vec<u8>),
    /// A file, from its start: for what is too large to hold in memory.
    File(File, usize),
}

/// A named tensor to be written.
pub struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// Bytes as they are: `dtype` must be one byte wide.
    pub fn u8(name: &str, shape: &[usize], data: Data) -> Self {
        Self { name: name.to_owned(), dtype: Dtype::U8, shape: shape.to_vec(), data }
    }

    /// Floats.
    pub fn f32(name: &str, array: &Array) -> Self {
        let bytes = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = array.shape.clone();
        Self { name: name.to_owned(), dtype: Dtype::F32, shape, data: Data::Bytes(bytes) }
    }

    /// Whole numbers.
    pub fn i64(name: &str, shape: &[usize], values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (name, shape) = (name.to_owned(), shape.to_vec());
        Self { name, dtype: Dtype::I64, shape, data: Data::Bytes(bytes) }
    }

    fn len(&self) -> usize {
        match &self.data {
            Data::Bytes(b) => b.len(),
            Data::File(_, n) => *n,
        }
    }
}

/// The JSON that opens a safetensors file, with each tensor's place.
fn layout(header: &Header, tensors: &[Tensor]) -> Result<Vec<u8>> {
    let meta = serde_json::to_string(&serde_json::to_string(header)?)?;
    let mut json = format!("{{\"__metadata__\":{{\"{KEY}\":{meta}}}");
    let mut at = 0;
    for t in tensors {
        let name = serde_json::to_string(&t.name)?;
        let shape = serde_json::to_string(&t.shape)?;
        let dtype = serde_json::to_string(&t.dtype)?;
        let end = at + t.len();
        json += &format!(
            ",{name}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":[{at},{end}]}}"
        );
        at = end;
    }
    json.push('}');
    // The format pads with spaces so that data starts at a multiple of 8.
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    Ok(json.into_bytes())
}

/// Size in bytes the file would have.
///
/// # Errors
/// A header JSON cannot hold.
pub fn size(header: &Header, tensors: &[Tensor]) -> Result<usize> {
    Ok(8 + layout(header, tensors)?.len() + tensors.iter().map(Tensor::len).sum::<usize>())
}

/// Write an artifact. `path` appears complete or not at all.
///
/// # Errors
/// What the file system says, with the path.
pub fn save(path: &Path, header: &Header, mut tensors: Vec<Tensor>) -> Result<()> {
    // Wider types first: every tensor is then aligned, as readers that map the file expect.
    tensors.sort_by_key(|t| std::cmp::Reverse(t.dtype.bitsize()));
    write_atomically(path, |out| {
        let json = layout(header, &tensors)?;
        out.write_all(&(json.len() as u64).to_le_bytes())?;
        out.write_all(&json)?;
        for t in &mut tensors {
            match &mut t.data {
                Data::Bytes(b) => out.write_all(b)?,
                Data::File(f, n) => {
                    f.rewind()?;
                    let copied = io::copy(f, out)?;
                    ensure!(copied == *n as u64, "{}: {copied} bytes instead of {n}", t.name);
                }
            }
        }
        Ok(())
    })
}

struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

/// An artifact read from disk.
pub struct Artifact {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its header.
    pub header: Header,
    /// Content hash: the first 16 hexadecimal digits of BLAKE3 over the whole file.
    pub hash: String,
    bytes: Vec<u8>,
    entries: BTreeMap<String, Entry>,
}

/// A summary of one tensor, for listings.
pub struct Listing<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type, as safetensors spells it.
    pub dtype: String,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its bytes.
    pub bytes: usize,
}

impl Artifact {
    /// Read any artifact.
    ///
    /// # Errors
    /// A file that cannot be read, is not safetensors, or was not written by these tools.
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(path, bytes)
    }

    /// The artifact in `bytes`; errors name `path`.
    ///
    /// # Errors
    /// Bytes that are not safetensors, or were not written by these tools.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let at = || format!("{}", path.display());
        let (length, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| anyhow!("not a safetensors file ({e})"))
            .with_context(at)?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| {
            anyhow!("{}: has no \"{KEY}\" header: a file of another program?", path.display())
        })?;
        let header: Header =
            serde_json::from_str(text).context("its header is malformed").with_context(at)?;
        if header.schema > SCHEMA {
            bail!("{}: schema {} is newer than this program's {SCHEMA}", at(), header.schema);
        }
        let data = 8 + length;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, t)| {
                let (start, end) = (data + t.data_offsets.0, data + t.data_offsets.1);
                (name, Entry { dtype: t.dtype, shape: t.shape.clone(), start, end })
            })
            .collect();
        let hash = blake3::hash(&bytes).to_hex()[..16].to_owned();
        Ok(Self { path: path.to_owned(), header, hash, bytes, entries })
    }

    /// Read an artifact that must be of one of `kinds`.
    ///
    /// # Errors
    /// As [`Artifact::read`], or another kind: the message says which stage makes the right one.
    pub fn load(path: &Path, kinds: &[Kind]) -> Result<Self> {
        let artifact = Self::read(path)?;
        let found = artifact.header.kind;
        if !kinds.contains(&found) {
            let wanted: Vec<String> = kinds
                .iter()
                .map(|k| format!("\"{}\" (made by {})", lower(*k), k.maker()))
                .collect();
            bail!(
                "{}: expected an artifact of kind {}, found \"{}\"",
                path.display(),
                wanted.join(" or "),
                lower(found),
            );
        }
        Ok(artifact)
    }

    /// The header's body.
    ///
    /// # Errors
    /// A body of another form.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.header.body.clone())
            .with_context(|| format!("{}: its header is malformed", self.path.display()))
    }

    /// Size of the file.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Every tensor, by name.
    pub fn tensors(&self) -> impl Iterator<Item = Listing<'_>> {
        self.entries.iter().map(|(name, e)| Listing {
            name,
            dtype: format!("{:?}", e.dtype),
            shape: &e.shape,
            bytes: e.end - e.start,
        })
    }

    fn entry(&self, name: &str, dtype: Dtype) -> Result<(&Entry, &[u8])> {
        let e = self
            .entries
            .get(name)
            .ok_or_else(|| anyhow!("{}: has no tensor {name}", self.path.display()))?;
        ensure!(
            e.dtype == dtype,
            "{}: tensor {name} is {:?}, expected {dtype:?}",
            self.path.display(),
            e.dtype
        );
        Ok((e, &self.bytes[e.start..e.end]))
    }

    /// Shape and bytes of a u8 tensor.
    ///
    /// # Errors
    /// No such tensor, or another type.
    pub fn u8(&self, name: &str) -> Result<(&[usize], &[u8])> {
        let (e, bytes) = self.entry(name, Dtype::U8)?;
        Ok((&e.shape, bytes))
    }

    /// An f32 or i64 tensor, as f32.
    ///
    /// # Errors
    /// No such tensor, or another type.
    pub fn numbers(&self, name: &str) -> Result<Array> {
        if self.entries.get(name).is_some_and(|e| e.dtype == Dtype::I64) {
            let (e, bytes) = self.entry(name, Dtype::I64)?;
            let values = bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32);
            return Array::new(e.shape.clone(), values.collect());
        }
        self.f32(name)
    }

    /// An f32 tensor.
    ///
    /// # Errors
    /// No such tensor, or another type.
    pub fn f32(&self, name: &str) -> Result<Array> {
        let (e, bytes) = self.entry(name, Dtype::F32)?;
        let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Array::new(e.shape.clone(), values)
    }
}

fn lower(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}
