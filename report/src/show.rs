//! `report show`: what a file is, what it was made from, what it holds.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use common::artifact::{Artifact, Kind};
use common::cli::thousands;
use common::codec::Part;
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
            if let Some(parts) = Model::parts(&artifact)? {
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

/// Where a coded file's bytes go, tensor by tensor.
fn waterfall(artifact: &Artifact, parts: &[Part]) -> Result<String> {
    let mut out = String::new();
    let sum = |f: &dyn Fn(&Part) -> usize| parts.iter().map(f).sum::<usize>();
    let (grids, integers) = (sum(&|p| p.grid), sum(&|p| p.integers));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["bytes", "grids", "values", "bits each", "/ entropy", ""]);
    let mut row = |bytes: usize, grid: usize, parts: &[&Part], name: &str| {
        let count: usize = parts.iter().map(|p| p.count).sum();
        let coded: usize = parts.iter().map(|p| p.integers).sum();
        let entropy: f64 = parts.iter().map(|p| p.entropy).sum();
        let each = 8.0 * coded as f64 / count.max(1) as f64;
        let ratio = coded as f64 / entropy.max(1.0);
        let numbers = [thousands(bytes), thousands(grid), thousands(count)];
        let rates = [format!("{each:.3}"), format!("{ratio:.3}")];
        table.add_row(numbers.into_iter().chain(rates).chain([name.to_owned()]));
    };
    for p in parts {
        row(p.grid + p.integers, p.grid, &[p], &p.name);
    }
    let weights: Vec<&Part> = parts.iter().filter(|p| p.is_weight).collect();
    let vectors: Vec<&Part> = parts.iter().filter(|p| !p.is_weight).collect();
    for (parts, name) in [(weights, "all weights"), (vectors, "all biases")] {
        let grid = parts.iter().map(|p| p.grid).sum();
        let integers: usize = parts.iter().map(|p| p.integers).sum();
        row(integers + grid, grid, &parts, name);
    }
    for column in table.column_iter_mut().take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "\n{}", table.trim_fmt())?;
    let header = thousands(artifact.size() - grids - integers);
    writeln!(out, "{header} bytes of header, the graph among them")?;
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
