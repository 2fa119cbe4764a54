//! `infer export`: a model → ONNX.

use crate::onnx;
use anyhow::Result;
use artifacts::{Model, Source, artifact};
use common::cli;
use std::path::PathBuf;

/// Write a model as ONNX, for other runtimes.
///
/// Operator set 13, f32, free batch size. Input "pictures" [N, 3, size, size] in 0..1, output
/// "logits" [N, classes]. Batch norm is folded, colour normalization is part of the network; the
/// metadata says how pictures are resized and what the classes are called. Of a model with views
/// (quantize pack --views) they are part of the network, too: it makes them, and averages their logits.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  infer export --model model.bin --onnx model.onnx")]
pub(crate) struct Export {
    /// Model to export, plain or coded.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The ONNX file to write.
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
}

impl Export {
    pub(crate) fn run(self) -> Result<String> {
        let _claim = artifact::claim(&self.onnx, &[&self.model])?;
        let (model, source) = Model::load(&self.model)?;
        let bytes = bytes(model, &source)?;
        artifact::save_bytes(&self.onnx, &bytes)?;
        Ok(format!("{}: {} bytes", self.onnx.display(), cli::count(bytes.len())))
    }
}

/// The ONNX file of `model`, which was read from `source`.
///
/// # Errors
/// Weights that do not fit the graph.
pub(crate) fn bytes(model: Model, source: &Source) -> Result<Vec<u8>> {
    let (graph, weights) = model.graph.fold(model.weights)?;
    let views = (!model.views.is_plain()).then(|| ("views", model.views.to_string()));
    let metadata = [
        ("preparation", serde_json::to_string(&model.input.preparation)?),
        ("classes", serde_json::to_string(&model.classes)?),
        ("made_from", source.hash.clone()),
    ];
    let metadata: Vec<_> = metadata.into_iter().chain(views).collect();
    onnx::file(&graph, &weights, &model.input, &model.views, &metadata)
}
