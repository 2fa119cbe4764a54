//! `quantize unpack`: a coded file → ordinary f32 tensors.

use crate::state_dict::{of_model, state_dict, tell_views};
use anyhow::{Context, Result, ensure};
use artifacts::{Artifact, Kind, Model, Provenance, artifact};
use common::cli;
use graph::{Array, Op, families};
use std::path::PathBuf;

/// Decode a coded file into a plain model: f32 tensors with PyTorch's names.
///
/// Packing folded batch norm away. A network of a known family gets batch norms that change nothing, so that
/// PyTorch's load_state_dict finds every name it expects, and last layers that packing joined are two again: the
/// convolution makes the logits, the last layer hands them on. Another stays folded. --epsilon is that of the
/// program that will load them: no state dict holds it. --format torch writes what torch.load reads, of plain
/// models and bundles too.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize unpack --model model.bin --out decoded.safetensors
  quantize unpack --model model.bin --format torch --out state_dict.pt")]
pub(crate) struct Unpack {
    /// Coded file.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Form of the file.
    #[arg(long, value_enum, default_value = "safetensors")]
    format: Format,
    /// Epsilon of the batch norms that folding took away [default: the family's own, 1e-3 of
    /// MobileNetV3 and PyTorch's 1e-5 of the others].
    #[arg(long, value_name = "E")]
    epsilon: Option<f32>,
    /// Where to write the plain model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Epsilon of the first batch norm; None where there is none, as in a folded network.
fn epsilon_of(model: &Model) -> Option<f32> {
    model
        .graph
        .nodes()
        .iter()
        .find_map(|n| if let Op::BatchNorm(norm) = n.op { Some(norm.epsilon) } else { None })
}

/// Forms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A model artifact.
    Safetensors,
    /// A state dict as torch.save writes it.
    Torch,
}

impl Unpack {
    pub(crate) fn run(self) -> Result<String> {
        let _claim = artifact::claim(&self.out, &[&self.model])?;
        let artifact = Artifact::load(&self.model, &[Kind::Model, Kind::Coded, Kind::Bundle])?;
        if artifact.source.kind == Kind::Bundle {
            ensure!(self.epsilon.is_none(), self.nothing_folded());
            ensure!(
                self.format == Format::Torch,
                "{}: a bundle is plain already; only --format torch makes another file of it",
                self.model.display()
            );
            return self.torch(&state_dict(&artifact)?, "as it was");
        }
        let mut model = Model::from_artifact(&artifact)
            .with_context(|| format!("{}: malformed model", artifact.source.name))?;
        let mut form = "as in the original network".to_owned();
        if epsilon_of(&model).is_none() {
            form = "batch norm folded".to_owned();
            match families::unfold(&model.graph, &model.weights, self.epsilon) {
                Ok((graph, weights)) => {
                    (model.graph, model.weights) = (graph, weights);
                    let norms = epsilon_of(&model);
                    ensure!(self.epsilon.is_none() || norms.is_some(), self.nothing_folded());
                    let epsilon = norms.map(|e| format!(" with epsilon {e:e}")).unwrap_or_default();
                    form = format!("batch norm as in the original network{epsilon}");
                }
                Err(e) if self.epsilon.is_some() => {
                    return Err(e).with_context(|| format!("{}: --epsilon", self.model.display()));
                }
                Err(_) => {}
            }
        } else {
            ensure!(self.epsilon.is_none(), self.nothing_folded());
        }
        model.grids.clear(); // an ordinary model again
        if self.format == Format::Torch {
            tell_views(&model);
            return self.torch(&of_model(model), &form);
        }
        let provenance = Provenance::new("quantize unpack", &())?.from("model", &artifact.source);
        model.save(&self.out, &provenance)?;
        let parameters = cli::count(model.graph.parameter_count());
        Ok(format!("{}: {parameters} parameters, {form}", self.out.display()))
    }

    fn nothing_folded(&self) -> String {
        let file = self.model.display();
        format!(
            "{file}: --epsilon is for batch norms that were folded, and here none was; leave it out"
        )
    }

    /// A state dict, read back before the file gets its name.
    fn torch(&self, entries: &[(String, Array)], form: &str) -> Result<String> {
        let bytes = checkpoint::state_dict::encode(entries)?;
        artifact::save_bytes_checked(&self.out, &bytes, |file| {
            let found = checkpoint::read(&std::fs::read(file)?)?.tensors;
            ensure!(found.len() == entries.len(), "read back, {} tensors", found.len());
            for ((name, meant), (found_name, found)) in entries.iter().zip(&found) {
                let found = found.to_array()?;
                let mut values = meant.values.iter().zip(&found.values);
                let same = name == found_name
                    && meant.shape == found.shape
                    && values.all(|(a, b)| a.to_bits() == b.to_bits());
                ensure!(same, "read back, {name} is another; nothing was written");
            }
            Ok(())
        })?;
        Ok(format!("{}: {} tensors, {form}", self.out.display(), entries.len()))
    }
}
