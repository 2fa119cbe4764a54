//! `quantize pack`: a model → a coded file of at most so many bytes.

use crate::course::{self, Encoding};
use anyhow::{Result, ensure};
use common::artifact::{self, Artifact};
use common::cli;
use common::codec;
use common::model::Model;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Write a model as coded weights; refuse to write more bytes than the budget.
///
/// Batch norm is folded into the convolution before it. 16 bits store half-precision weights; 8
/// bits store, per output channel, a minimum, a step and 256 levels between them; 2 to 7 bits store
/// a step per output channel and entropy-coded integers. The budget is
/// the size of the finished file, header included.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize pack --model student.safetensors --bits 8 --budget 300000 --out model.bin
  quantize pack --model student.safetensors --format encode8 --out model.pkl
      for the course's own Python")]
pub(crate) struct Pack {
    /// Model to code.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Bits per weight: 2 to 8, or 16.
    #[arg(long, default_value_t = 8)]
    bits: u8,
    /// Form of the file: our own, or the course tutorial's encode8 or encode16 pickle.
    #[arg(long, value_enum, default_value = "crumb", conflicts_with = "bits")]
    format: Format,
    /// Largest size of the file, bytes.
    #[arg(long, default_value_t = 300_000, value_name = "BYTES")]
    budget: usize,
    /// Where to write the coded file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Forms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// FORMAT.md, kind "coded".
    Crumb,
    /// One range of 256 levels per tensor, batch norm as it is, NumPy pickle.
    Encode8,
    /// Half precision, batch norm as it is, NumPy pickle.
    Encode16,
}

impl Pack {
    pub(crate) fn run(self) -> Result<String> {
        match self.format {
            Format::Crumb => self.crumb(),
            Format::Encode8 => self.pickle(Encoding::Encode8),
            Format::Encode16 => self.pickle(Encoding::Encode16),
        }
    }

    /// The course's own file.
    fn pickle(self, encoding: Encoding) -> Result<String> {
        let (entries, _) = course::state_dict(&self.model)?;
        let bytes = course::encode(&entries, encoding)?;
        self.check_budget(bytes.len())?;
        artifact::save_bytes(&self.out, &bytes)?;
        Ok(self.summary(bytes.len()))
    }

    fn check_budget(&self, bytes: usize) -> Result<()> {
        ensure!(
            bytes <= self.budget,
            "{} would take {} bytes, {} over the budget of {}: \
             use fewer bits or prune the model; nothing was written",
            self.model.display(),
            cli::thousands(bytes),
            cli::thousands(bytes - self.budget),
            cli::thousands(self.budget),
        );
        Ok(())
    }

    fn summary(&self, bytes: usize) -> String {
        format!(
            "{}: {} bytes, {} below the budget",
            self.out.display(),
            cli::thousands(bytes),
            cli::thousands(self.budget - bytes),
        )
    }

    fn crumb(self) -> Result<String> {
        let (model, origin) = Model::load(&self.model)?;
        let spec = codec::Spec { bits: self.bits };
        let parents = BTreeMap::from([("model".to_owned(), origin.hash)]);
        let (header, tensors) = model.coded(&spec, parents)?;
        let bytes = artifact::size(&header, &tensors)?;
        self.check_budget(bytes)?;
        artifact::save(&self.out, &header, tensors)?;
        let mut summary = self.summary(bytes);
        if let Some(parts) = Model::breakdown(&Artifact::read(&self.out)?)? {
            let rate = parts.weights as f64 / parts.count.max(1) as f64;
            let more = ((self.budget - bytes) as f64 / rate.max(1e-3)) as usize;
            summary += &format!(
                ": room for about {} more weights at {:.2} bits each",
                cli::thousands(more),
                8.0 * rate,
            );
        }
        Ok(summary)
    }
}
