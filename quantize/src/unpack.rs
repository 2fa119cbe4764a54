//! `quantize unpack`: a coded file → ordinary f32 tensors.

use anyhow::Result;
use common::cli;
use common::model::Model;
use common::nets;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Decode a coded file into a plain model: f32 safetensors with PyTorch's names.
///
/// Packing folded batch norm away. A known network gets batch norms that change nothing, so that
/// PyTorch's load_state_dict finds every name it expects; another stays folded.
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
        let (mut model, origin) = Model::load(&self.model)?;
        let mut form = "batch norm folded";
        if let Ok((graph, weights)) = nets::unfold(&model.weights) {
            (model.graph, model.weights) = (graph, weights);
            form = "batch norm as in the original network";
        }
        model.grids.clear(); // an ordinary model again
        let parents = BTreeMap::from([("model".to_owned(), origin.hash)]);
        model.save(&self.out, "quantize unpack", &serde_json::Value::Null, parents)?;
        Ok(format!(
            "{}: {} parameters, {form}",
            self.out.display(),
            cli::thousands(model.graph.parameter_count()),
        ))
    }
}
