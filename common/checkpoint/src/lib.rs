//! Weights in other programs' files: read, told apart by their content, and the course's own written
//! ([`course`]).
//!
//! | what | how it begins |
//! |---|---|
//! | PyTorch before 1.6 ("legacy"): five pickles, then raw storages | a pickle of 0x1950a86a20f9469cfc6c |
//! | PyTorch since 1.6: a zip with `data.pkl` and `data/KEY` | `PK` |
//! | NumPy npz: a zip of `.npy` | `PK` |
//! | a pickle of a dict of arrays (the course's encode8 and encode16) | a pickle's protocol mark |
//! | safetensors | the length of a JSON header |
//!
//! Nothing in a file is ever executed: the pickle reader ([`mod@pickle`]) knows the few opcodes and
//! names that data needs and refuses everything else. Memory stays proportional to the file.

pub mod course;
mod globals;
pub mod numpy;
pub mod object;
pub mod pickle;
mod safetensors;
mod torch;
mod values;

use anyhow::{Context, Result, bail, ensure};
use pickle::Pickle;
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

/// The tensors in a file, by name and in the file's order; `module.` prefixes dropped.
///
/// # Errors
/// A file of none of the known forms, or one that is damaged or holds more than data; the message
/// names the opcode and offset where a pickle is to blame.
pub fn read(bytes: &[u8]) -> Result<(Format, Bundle)> {
    let (format, bundle) = if bytes.starts_with(b"PK") {
        read_zip(bytes)?
    } else if torch::is_legacy(bytes) {
        (Format::TorchLegacy, torch::legacy(bytes)?)
    } else if bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|p| *p <= 5) {
        let (pickle, _) = Pickle::load(bytes, 0)?;
        (Format::Pickle, pickle.bundle(bytes.len())?)
    } else if bytes.get(8) == Some(&b'{') {
        (Format::Safetensors, safetensors::read(bytes)?)
    } else {
        bail!("neither a PyTorch file, a pickle, an npz nor safetensors");
    };
    ensure!(!bundle.is_empty(), "a {format} file without tensors");
    Ok((format, strip_prefix(bundle)))
}

fn read_zip(bytes: &[u8]) -> Result<(Format, Bundle)> {
    let mut archive =
        zip::ZipArchive::new(std::io::Cursor::new(bytes)).context("a damaged zip archive")?;
    let names: Vec<String> = archive
        .file_names()
        .map(|n| Ok(n?.into_owned()))
        .collect::<Result<_>>()
        .context("a damaged zip archive")?;
    if let Some(pickle) = names.iter().find(|n| *n == "data.pkl" || n.ends_with("/data.pkl")) {
        return Ok((Format::TorchZip, torch::zip(&mut archive, pickle, bytes.len())?));
    }
    ensure!(
        names.iter().any(|n| n.ends_with(".npy")),
        "a zip archive with neither data.pkl (PyTorch) nor .npy files (NumPy)"
    );
    Ok((Format::Npz, numpy::npz(&mut archive, &names, bytes.len())?))
}

/// `module.` is what DataParallel puts before every name.
fn strip_prefix(bundle: Bundle) -> Bundle {
    let all = bundle.iter().all(|(n, _)| n.starts_with("module."));
    let strip = |n: String| if all { n["module.".len()..].to_owned() } else { n };
    bundle.into_iter().map(|(n, t)| (strip(n), t)).collect()
}

/// One entry of an archive, at most as large as deflate can make of the archive's bytes.
fn entry(archive: &mut zip::ZipArchive<std::io::Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>> {
    use std::io::Read;
    let file = archive.by_name(name).with_context(|| format!("entry {name:?}"))?;
    // Deflate expands at most 1032-fold (RFC 1951: 258 bytes from 2 bits).
    let limit = file.compressed_size().saturating_mul(1032).min(file.size());
    let mut out = Vec::new();
    file.take(limit).read_to_end(&mut out).with_context(|| format!("entry {name:?}"))?;
    Ok(out)
}
