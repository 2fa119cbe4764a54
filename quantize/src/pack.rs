//! `quantize pack`: a model → a coded file of at most so many bytes.

use anyhow::{Result, ensure};
use common::artifact;
use common::cli;
use common::codec;
use common::model::Model;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Write a model as coded weights; refuse to write more bytes than the budget.
///
/// Batch norm is folded into the convolution before it. 16 bits store half-precision weights; 8
/// bits store, per output channel, a minimum, a step and 256 levels between them. The budget is
/// the size of the finished file, header included.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize pack --model student.safetensors --bits 8 --budget 300000 --out model.bin")]
pub(crate) struct Pack {
    /// Model to code.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Bits per weight: 8 or 16.
    #[arg(long, default_value_t = 8)]
    bits: u8,
    /// Largest size of the file, bytes.
    #[arg(long, default_value_t = 300_000, value_name = "BYTES")]
    budget: usize,
    /// Where to write the coded file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Pack {
    pub(crate) fn run(self) -> Result<String> {
        let (model, origin) = Model::load(&self.model)?;
        let spec = codec::Spec { bits: self.bits };
        let parents = BTreeMap::from([("model".to_owned(), origin.hash)]);
        let (header, tensors) = model.coded(&spec, parents)?;
        let bytes = artifact::size(&header, &tensors)?;
        ensure!(
            bytes <= self.budget,
            "{} would take {} bytes at {} bits, {} over the budget of {}: \
             use fewer bits or prune the model; nothing was written",
            self.model.display(),
            cli::thousands(bytes),
            spec.bits,
            cli::thousands(bytes - self.budget),
            cli::thousands(self.budget),
        );
        artifact::save(&self.out, &header, tensors)?;
        Ok(format!(
            "{}: {} bytes at {} bits per weight, {} below the budget",
            self.out.display(),
            cli::thousands(bytes),
            spec.bits,
            cli::thousands(self.budget - bytes),
        ))
    }
}
