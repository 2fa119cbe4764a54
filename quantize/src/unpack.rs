//! `quantize unpack`: a coded file → ordinary f32 tensors.

use anyhow::Result;
use common::cli;
use graph::families;
use model::{Model, Provenance, artifact};
use std::path::PathBuf;

/// Decode a coded file into a plain model: f32 safetensors with PyTorch's names.
///
/// Packing folded batch norm away. A network of a known family gets batch norms that change nothing, so that
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
        let _claim = artifact::claim(&self.out, &[&self.model])?;
        let (mut model, source) = Model::load(&self.model)?;
        let mut form = "batch norm folded";
        if let Ok((graph, weights)) = families::unfold(&model.graph, &model.weights) {
            (model.graph, model.weights) = (graph, weights);
            form = "batch norm as in the original network";
        }
        model.grids.clear(); // an ordinary model again
        model.save(&self.out, &Provenance::new("quantize unpack", &())?.from("model", &source))?;
        Ok(format!(
            "{}: {} parameters, {form}",
            self.out.display(),
            cli::count(model.graph.parameter_count()),
        ))
    }
}
