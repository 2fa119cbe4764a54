//! `report show`: what a file is, what it was made from, what it holds.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use common::artifact::{Artifact, Kind};
use common::cli::thousands;
use common::codec::Breakdown;
use common::model::Model;
use std::fmt::Write;
use std::path::PathBuf;

/// Show what an artifact is: kind, lineage, tensors, parameter and multiplication counts.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  report show model.bin
  report show artifacts/smoke/teacher.safetensors")]
pub(crate) struct Show {
    /// Any artifact: images, model, logits, coded model or bundle.
    file: PathBuf,
}

impl Show {
    pub(crate) fn run(self) -> Result<String> {
        let artifact = Artifact::read(&self.file)?;
        let header = &artifact.header;
        let mut out = String::new();
        let kind = serde_json::to_string(&header.kind)?;
        let mut line = |key: &str, value: &str| writeln!(out, "{key:<12} {value}");
        line("file", &self.file.display().to_string())?;
        line("bytes", &thousands(artifact.size()))?;
        line("kind", kind.trim_matches('"'))?;
        line("schema", &header.schema.to_string())?;
        line("hash", &artifact.hash)?;
        line("made by", &header.stage)?;
        for (role, hash) in &header.parents {
            line("from", &format!("{role} {hash}"))?;
        }
        if !header.settings.is_null() {
            line("settings", &header.settings.to_string())?;
        }
        if matches!(header.kind, Kind::Model | Kind::Coded) {
            out += &network(&Model::from_artifact(&artifact)?)?;
            if let Some(parts) = Model::breakdown(&artifact)? {
                out += &waterfall(&artifact, &parts)?;
            }
        } else if !matches!(header.kind, Kind::Bundle | Kind::State) {
            line("about", &header.body.to_string())?;
        }
        out += &tensors(&artifact);
        Ok(out)
    }
}

fn network(model: &Model) -> Result<String> {
    let mut out = String::new();
    let size = model.input.preparation.size;
    let mut line = |key: &str, value: &str| writeln!(out, "{key:<12} {value}");
    line("parameters", &thousands(model.graph.parameter_count()))?;
    let macs = model.graph.multiplications(size)? as usize;
    line("MACs", &format!("{} per picture of {size} × {size}", thousands(macs)))?;
    line("classes", &model.classes.join(", "))?;
    line("input", &serde_json::to_string(&model.input)?)?;
    writeln!(out, "\nnetwork (name: operation → channels × height × width)")?;
    let text = model.graph.to_string();
    for (i, (node, [c, h, w])) in text.split(';').zip(model.graph.shapes(size)?).enumerate() {
        writeln!(out, "{i:>4}  {node:<44} → {c} × {h} × {w}")?;
    }
    Ok(out)
}

/// Where a coded file's bytes go.
fn waterfall(artifact: &Artifact, parts: &Breakdown) -> Result<String> {
    let mut out = String::new();
    let header = artifact.size() - parts.vectors - parts.weights;
    let bits = 8.0 * parts.weights as f64 / parts.count.max(1) as f64;
    writeln!(out, "\nbytes")?;
    writeln!(out, "{:>10}  header, graph included", thousands(header))?;
    writeln!(out, "{:>10}  biases and grids", thousands(parts.vectors))?;
    let (weights, count) = (thousands(parts.weights), thousands(parts.count));
    writeln!(out, "{weights:>10}  {count} weights, {bits:.3} bits each")?;
    if let Some(entropy) = parts.entropy {
        let ratio = parts.weights as f64 / entropy.max(1.0);
        let entropy = thousands(entropy.round() as usize);
        writeln!(
            out,
            "{entropy:>10}  order-0 entropy of their integers; coded / entropy {ratio:.3}"
        )?;
    }
    Ok(out)
}

fn tensors(artifact: &Artifact) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["tensor", "dtype", "shape", "bytes"]);
    for t in artifact.tensors() {
        let shape = format!("{:?}", t.shape);
        table.add_row([t.name.to_owned(), t.dtype, shape, thousands(t.bytes)]);
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{}", table.trim_fmt())
}
