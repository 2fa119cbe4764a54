//! What PyTorch calls a state dict: tensors by name, in the network's order.

use anyhow::{Context, Result};
use artifacts::{Artifact, Kind, Model};
use common::cli;
use graph::Array;

/// The tensors of a model or bundle in the order of the PyTorch state dict.
pub(crate) fn state_dict(artifact: &Artifact) -> Result<Vec<(String, Array)>> {
    if artifact.source.kind == Kind::Bundle {
        let names: Vec<String> = artifact.body()?;
        let load = |n: String| {
            let array = artifact.numbers(&n)?;
            Ok((n, array))
        };
        return names.into_iter().map(load).collect();
    }
    let model = Model::from_artifact(artifact)
        .with_context(|| format!("{}: malformed model", artifact.source.name))?;
    Ok(of_model(model))
}

/// Says what a state dict has no place for.
pub(crate) fn tell_views(model: &Model) {
    if !model.views.is_plain() {
        cli::note(&format!("a state dict has no place for the model's views, {}", model.views));
    }
}

/// The tensors of a model, likewise.
pub(crate) fn of_model(mut model: Model) -> Vec<(String, Array)> {
    let mut entries = Vec::new();
    for node in model.graph.nodes() {
        let count = format!("{}.num_batches_tracked", node.name);
        for name in node.parameters().into_iter().map(|p| p.name).chain([count]) {
            if let Some(array) = model.weights.remove(&name) {
                entries.push((name, array));
            }
        }
    }
    entries
}
