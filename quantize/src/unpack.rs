//! `quantize unpack`: a coded file → ordinary f32 tensors.

use anyhow::Result;
use common::cli;
use common::model::Model;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Decode a coded file into a plain model: f32 safetensors with PyTorch's names.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize unpack --model model.bin --out decoded.safetensors")]
pub(crate) struct Unpack {
    /// Coded file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Where to write the plain model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Unpack {
    pub(crate) fn run(self) -> Result<String> {
        let (model, origin) = Model::load(&self.model)?;
        let parents = BTreeMap::from([("model".to_owned(), origin.hash)]);
        model.save(&self.out, "quantize unpack", &serde_json::Value::Null, parents)?;
        Ok(format!(
            "{}: {} parameters, batch norm folded",
            self.out.display(),
            cli::thousands(model.graph.parameter_count()),
        ))
    }
}
