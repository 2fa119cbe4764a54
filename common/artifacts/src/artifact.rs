//! Artifacts: safetensors files with a header, the only way in and out for stages.
//!
//! A file holds named tensors and one metadata key, [`KEY`], with a JSON [`Header`]: what the file
//! is, which stage made it with which settings, and from which files (by content hash). Neither
//! time, host nor path is recorded, so the same inputs give the same bytes. Files appear under
//! their name only when complete. FORMAT.md describes every kind byte by byte.

mod atomic;
mod claim;
mod header;
mod lock;
mod sum;

use anyhow::{Context, Result, anyhow, bail, ensure};
pub use atomic::{save_bytes, save_bytes_checked, scratch};
pub use claim::{Claim, beside, check_room, claim, renew};
use graph::Array;
use header::SUMMED;
pub use header::{Header, Kind, Provenance, SCHEMA, SCHEMA_OF_FOLDS, Source};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The metadata key of the header.
pub const KEY: &str = "crumb";

/// Bytes copied at once.
const PIECE: usize = 1 << 20;

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
pub fn save(path: &Path, header: &Header, tensors: Vec<Tensor>) -> Result<()> {
    save_checked(path, header, tensors, |_| Ok(()))
}

/// [`save`], with a last look at the finished file before it gets its name: where `check` fails,
/// nothing is left.
///
/// # Errors
/// What the file system or `check` says, with the path.
pub fn save_checked(
    path: &Path,
    header: &Header,
    mut tensors: Vec<Tensor>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    // Wider types first: every tensor is then aligned, as readers that map the file expect.
    tensors.sort_by_key(|t| std::cmp::Reverse(t.dtype.bitsize()));
    let write = |writer: &mut atomic::Writer<'_>| {
        let json = layout(header, &tensors)?;
        let place = sum::place(&json).context("the header has no place for its sum")?;
        let mut out = sum::Summing::new(&mut *writer);
        out.write_all(&(json.len() as u64).to_le_bytes())?;
        out.write_all(&json)?;
        for t in &mut tensors {
            match &mut t.data {
                Data::Bytes(b) => out.write_all(b)?,
                Data::File(f, n) => {
                    f.rewind()?;
                    // In pieces that BLAKE3 takes at full speed.
                    let copied = std::io::copy(&mut BufReader::with_capacity(PIECE, f), &mut out)?;
                    ensure!(copied == *n as u64, "{}: {copied} bytes instead of {n}", t.name);
                }
            }
        }
        let digits = out.digits();
        writer.seek(SeekFrom::Start(8 + place.start as u64))?;
        writer.write_all(digits.as_bytes())?;
        Ok(())
    };
    atomic::write_atomically(path, write, check)
}

/// The sum that a file carries of itself, checked; None where it carries none.
fn check_sum(name: &str, bytes: &[u8], length: usize) -> Result<Option<String>> {
    let Some(place) = bytes.get(8..8 + length).and_then(sum::place) else { return Ok(None) };
    let (start, end) = (8 + place.start, 8 + place.end);
    let found = sum::of(bytes, start..end);
    let told = String::from_utf8_lossy(&bytes[start..end]);
    ensure!(
        found == told,
        "{name}: damaged: its sum is {told}, its contents give {found}; copy it anew or make it again"
    );
    Ok(Some(found))
}

/// `bytes`, an artifact that was changed on purpose, with the sum it then must have: for tests and
/// fuzzing, as nothing behind the sum is reached without.
#[must_use]
pub fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8);
    if let Some(place) = bytes.get(8..end).and_then(sum::place) {
        let at = 8 + place.start..8 + place.end;
        let digits = sum::of(&bytes, at.clone());
        bytes[at].copy_from_slice(digits.as_bytes());
    }
    bytes
}

struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

/// An artifact that was read.
pub struct Artifact {
    /// The file.
    pub source: Source,
    /// Version of its header.
    pub schema: u32,
    /// The header's body, as JSON.
    pub json: serde_json::Value,
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
        Self::parse(&path.display().to_string(), bytes)
    }

    /// The artifact in `bytes`, called `name` in messages.
    ///
    /// # Errors
    /// Bytes that are not safetensors, or were not written by these tools.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let (length, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|e| anyhow!("{name}: not a safetensors file ({e})"))?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| {
            anyhow!("{name}: has no \"{KEY}\" header: a file of another program?")
        })?;
        let hash = check_sum(name, &bytes, length)?;
        let Header { schema, kind, provenance, body, sum } = serde_json::from_str(text)
            .with_context(|| format!("{name}: its header is malformed"))?;
        if schema > SCHEMA {
            bail!("{name}: schema {schema} is newer than this program's {SCHEMA}");
        }
        ensure!(
            sum.is_some() == hash.is_some() && (sum.is_some() || schema < SUMMED),
            "{name}: damaged: its header has lost its sum; copy it anew or make it again"
        );
        let data = 8 + length;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, t)| {
                let (start, end) = (data + t.data_offsets.0, data + t.data_offsets.1);
                (name, Entry { dtype: t.dtype, shape: t.shape.clone(), start, end })
            })
            .collect();
        let hash = hash.unwrap_or_else(|| Source::hash(&bytes));
        let (name, provenance) = (name.to_owned(), provenance.of_today());
        let source = Source { name, hash, bytes: bytes.len(), kind, provenance };
        Ok(Self { source, schema, json: body, bytes, entries })
    }

    /// Whether `path` is an undamaged artifact with this provenance: the same command would make the
    /// same bytes.
    pub fn is_made_by(path: &Path, provenance: &Provenance) -> bool {
        Self::read(path).is_ok_and(|a| a.source.provenance == *provenance)
    }

    /// Read an artifact that must be of one of `kinds`.
    ///
    /// # Errors
    /// As [`Artifact::read`], or another kind: the message says which stage makes the right one.
    pub fn load(path: &Path, kinds: &[Kind]) -> Result<Self> {
        Self::read(path)?.of(kinds)
    }

    /// This artifact, which must be of one of `kinds`.
    ///
    /// # Errors
    /// Another kind: the message says which stage makes the right one.
    pub fn of(self, kinds: &[Kind]) -> Result<Self> {
        let Source { name, kind, .. } = &self.source;
        if !kinds.contains(kind) {
            let wanted: Vec<String> =
                kinds.iter().map(|k| format!("\"{k}\" (made by {})", k.maker())).collect();
            let wanted = wanted.join(" or ");
            bail!("{name}: expected an artifact of kind {wanted}, found \"{kind}\"");
        }
        Ok(self)
    }

    /// The header's body.
    ///
    /// # Errors
    /// A body of another form.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.json.clone())
            .with_context(|| format!("{}: its header is malformed", self.source.name))
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
            .ok_or_else(|| anyhow!("{}: has no tensor {name}", self.source.name))?;
        ensure!(
            e.dtype == dtype,
            "{}: tensor {name} is {:?}, expected {dtype:?}",
            self.source.name,
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
            return Ok(Array::new(e.shape.clone(), values.collect())?);
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
        Ok(Array::new(e.shape.clone(), values)?)
    }
}
