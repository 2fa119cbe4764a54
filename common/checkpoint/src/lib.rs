//! Weights in other programs' files: read, told apart by their content; the course's own ([`course`]) and
//! PyTorch's ([`mod@state_dict`]) also written.
//!
//! | what | how it begins |
//! |---|---|
//! | PyTorch before 1.6 ("legacy"): five pickles, then raw storages | a pickle of 0x1950a86a20f9469cfc6c |
//! | PyTorch since 1.6: a zip with `data.pkl` and `data/KEY` | `PK` |
//! | NumPy npz: a zip of `.npy` | `PK` |
//! | a pickle of a dict of arrays (the course's encode8 and encode16) | a pickle's protocol mark |
//! | safetensors | the length of a JSON header |
//!
//! What else a file may be ([`mod@formats`]) is said by name, with the remedy. Weights that PyTorch keeps as
//! parts ([`mod@parts`]: pruning masks, weight norm, spectral norm) are multiplied out.
//!
//! Nothing in a file is ever executed: the pickle reader ([`mod@pickle`]) knows the few opcodes and
//! names that data needs and refuses everything else. Memory stays proportional to the file.

pub mod course;
mod dicts;
mod formats;
mod globals;
pub mod numpy;
pub mod object;
mod parts;
pub mod pickle;
mod safetensors;
pub mod state_dict;
mod torch;
mod values;
mod writer;

use anyhow::{Context, Result, bail, ensure};
use dicts::Found;
use pickle::Pickle;
use std::collections::BTreeSet;
pub use values::{Bundle, Tensor, Values};

/// What kind of file it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PyTorch before 1.6.
    TorchLegacy,
    /// PyTorch since 1.6.
    TorchZip,
    /// Plain pickle of arrays.
    Pickle,
    /// NumPy archive.
    Npz,
    /// safetensors.
    Safetensors,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TorchLegacy => "torch legacy",
            Self::TorchZip => "torch zip",
            Self::Pickle => "pickle of arrays",
            Self::Npz => "npz",
            Self::Safetensors => "safetensors",
        })
    }
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// What kind of file it was.
    pub format: Format,
    /// The tensors, by name and in the file's order; `module.` prefixes dropped, parts multiplied out.
    pub tensors: Bundle,
    /// The file's other dictionaries that could be a network's, as [`read_part`] takes them.
    pub others: Vec<String>,
    /// What else there is and was not read, what was put together, what could not be checked: a line
    /// each.
    pub notes: Vec<String>,
}

/// The tensors in a file.
///
/// # Errors
/// A file of none of the known forms, or one that is damaged or holds no named tensors; the message
/// names the opcode and offset where a pickle is to blame.
pub fn read(bytes: &[u8]) -> Result<Contents> {
    contents(bytes, None)
}

/// The tensors of one part of a file: those of the dictionary under the key `part` (`model_ema`), or those
/// whose names begin with it (`student` of `student.conv1.weight`), without it. Keys and names may be
/// preceded by others, and one may follow the other (`state_dict.student`).
///
/// # Errors
/// As [`read`], and a part that is not there: the message says what is.
pub fn read_part(bytes: &[u8], part: &str) -> Result<Contents> {
    contents(bytes, Some(part))
}

fn contents(bytes: &[u8], part: Option<&str>) -> Result<Contents> {
    let (format, Found { tensors, mut notes, others }) = if formats::is_safetensors(bytes) {
        let tensors = dicts::under(safetensors::read(bytes)?, part)?;
        (Format::Safetensors, Found { tensors, ..Found::default() })
    } else if bytes.starts_with(b"PK") {
        read_zip(bytes, part)?
    } else if torch::is_legacy(bytes) {
        (Format::TorchLegacy, torch::legacy(bytes, part)?)
    } else if bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|p| *p <= 5) {
        let (pickle, _) = Pickle::load(bytes, 0)?;
        (Format::Pickle, pickle.found(bytes.len(), part)?)
    } else if let Some(what) = formats::told(bytes) {
        bail!("{what}");
    } else {
        bail!("neither a PyTorch file, a pickle, an npz nor safetensors");
    };
    ensure!(!tensors.is_empty(), "a {format} file without tensors");
    let (tensors, told) = parts::multiplied(strip_prefix(tensors))?;
    notes.extend(told);
    check_names(&tensors)?;
    Ok(Contents { format, tensors, others, notes })
}

/// Names must tell tensors apart, and be none that a safetensors file keeps for itself.
fn check_names(tensors: &Bundle) -> Result<()> {
    let mut names = BTreeSet::new();
    for (name, _) in tensors {
        ensure!(names.insert(name), "two tensors are called {name:?}");
        ensure!(name != "__metadata__", "a tensor called __metadata__: no file could hold it");
    }
    Ok(())
}

fn read_zip(bytes: &[u8], part: Option<&str>) -> Result<(Format, Found)> {
    // The archive begins where the file does. Looking for its start, zip 9 takes the local header of an
    // entry of certain lengths for it: PyTorch's, if the archive's name has 21 letters.
    let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
    let archive = zip::ZipArchive::with_config(config, std::io::Cursor::new(bytes))
        .context("a damaged zip archive")?;
    let names: Vec<String> = archive
        .file_names()
        .map(|n| Ok(n?.into_owned()))
        .collect::<Result<_>>()
        .context("a damaged zip archive")?;
    let room = bytes.len().saturating_mul(MOST_EXPANSION).max(LEAST_ROOM);
    let mut archive = Archive { bytes, zip: archive, unchecked: 0, room };
    let (format, mut found) =
        match names.iter().find(|n| *n == "data.pkl" || n.ends_with("/data.pkl")) {
            Some(pickle) if !names.iter().any(|n| n.ends_with("/constants.pkl")) => {
                (Format::TorchZip, torch::zip(&mut archive, pickle, bytes.len(), part)?)
            }
            None if names.iter().any(|n| n.ends_with(".npy")) => {
                (Format::Npz, numpy::npz(&mut archive, &names, bytes.len(), part)?)
            }
            _ => bail!("{}", formats::archive(&names)),
        };
    if archive.unchecked > 0 {
        found.notes.push(format!(
            "{} entries carry no checksum: damage would not show",
            archive.unchecked
        ));
    }
    Ok((format, found))
}

/// `module.` is what DataParallel puts before every name.
fn strip_prefix(bundle: Bundle) -> Bundle {
    let all = bundle.iter().all(|(n, _)| n.starts_with("module."));
    let strip = |n: String| if all { n["module.".len()..].to_owned() } else { n };
    bundle.into_iter().map(|(n, t)| (strip(n), t)).collect()
}

/// What all entries of an archive may unpack to, bytes: so many times the file, and at least so much. Deflate
/// makes a thousandfold of zeros; weights, even pruned ones, hardly become a tenth.
const MOST_EXPANSION: usize = 64;
const LEAST_ROOM: usize = 64 << 20;

/// A zip archive in memory.
struct Archive<'a> {
    bytes: &'a [u8],
    zip: zip::ZipArchive<std::io::Cursor<&'a [u8]>>,
    /// Entries that were read and carry no checksum.
    unchecked: usize,
    /// Bytes that entries may still unpack to.
    room: usize,
}

impl Archive<'_> {
    /// One entry, checked; at most as large as deflate can make of the archive's bytes.
    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        use std::io::Read;
        let at = || format!("entry {name:?}");
        let file = self.zip.by_name(name).with_context(at)?;
        // The name stands twice, and nothing else guards it: before the data, 30 bytes in.
        let start = usize::try_from(file.header_start())?;
        let local = self.bytes.get(start + 30..).and_then(|b| b.get(..file.name_raw().len()));
        ensure!(local == Some(file.name_raw()), "entry {name:?}: its name is damaged");
        let (size, crc) = (file.size(), file.crc32());
        // Deflate expands at most 1032-fold (RFC 1951: 258 bytes from 2 bits). A byte more than there
        // should be: the checksum is looked at where the data ends.
        let limit = file.compressed_size().saturating_mul(1032).min(size).saturating_add(1);
        self.room = usize::try_from(size)
            .ok()
            .and_then(|n| self.room.checked_sub(n))
            .with_context(|| {
                format!(
                    "entry {name:?} unpacks to {size} bytes, more than a file of this size should"
                )
            })?;
        let mut out = Vec::new();
        match file.take(limit).read_to_end(&mut out) {
            // PyTorch writes zeros if it is told to compute none.
            Err(_) if crc == 0 && out.len() as u64 == size => self.unchecked += 1,
            done => drop(done.with_context(at)?),
        }
        ensure!(out.len() as u64 == size, "entry {name:?} holds {} of {size} bytes", out.len());
        Ok(out)
    }
}
