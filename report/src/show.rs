//! `report show`: what a file is, what it was made from, what it holds.

use anyhow::Result;
use artifacts::{Artifact, Calibration, Kind, Model, Plan};
use codec::Part;
use comfy_table::{CellAlignment, Table, presets};
use common::cli::count;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// Show what an artifact is: kind, lineage, tensors, parameter and multiplication counts.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  report show model.bin
  report show artifacts/smoke/teacher.safetensors
  report show artifacts/smoke/plan.safetensors")]
pub(crate) struct Show {
    /// Any artifact: images, model, logits, answers, plan, coded model, bundle or state.
    file: PathBuf,
}

impl Show {
    pub(crate) fn run(self) -> Result<String> {
        let artifact = Artifact::read(&self.file)?;
        let source = &artifact.source;
        let mut out = String::new();
        line(&mut out, "file", &source.name)?;
        line(&mut out, "bytes", &count(source.bytes).to_string())?;
        line(&mut out, "kind", &source.kind.to_string())?;
        line(&mut out, "schema", &artifact.schema.to_string())?;
        line(&mut out, "hash", &source.hash)?;
        line(&mut out, "made by", &source.provenance.stage)?;
        for (role, hash) in &source.provenance.parents {
            line(&mut out, "from", &format!("{role} {hash}"))?;
        }
        fields(&mut out, "with", &source.provenance.settings)?;
        match source.kind {
            Kind::Model | Kind::Coded => {
                if let Some(c) = Calibration::of(&artifact)? {
                    out += &calibration(&c)?;
                }
                out += &network(&Model::from_artifact(&artifact)?)?;
                if let Some(parts) = Model::parts(&artifact)? {
                    out += &waterfall(&artifact, &parts)?;
                }
            }
            Kind::Plan => out += &plan(&artifact.body()?)?,
            Kind::Images | Kind::Logits | Kind::Answers | Kind::State => {
                fields(&mut out, "", &artifact.json)?
            }
            Kind::Bundle => {}
        }
        // Of a bundle in the order of the file it came from.
        let order: Vec<String> = match source.kind {
            Kind::Bundle => artifact.body()?,
            _ => Vec::new(),
        };
        out += &tensors(&artifact, &order);
        Ok(out)
    }
}

fn line(out: &mut String, key: &str, value: &str) -> Result<()> {
    Ok(writeln!(out, "{key:<12} {value}")?)
}

/// A line per field of a JSON object: under `key`, or without one under the field's own name.
fn fields(out: &mut String, key: &str, value: &Value) -> Result<()> {
    let Some(entries) = value.as_object() else { return Ok(()) };
    for (name, value) in entries {
        match (key, value) {
            ("", Value::Object(_)) => fields(out, name, value)?,
            ("", _) => line(out, name, &plain(value))?,
            _ => line(out, key, &format!("{name} {}", plain(value)))?,
        }
    }
    Ok(())
}

/// A value as one writes it: no quotes, no braces, fractions as the f32 they were.
fn plain(value: &Value) -> String {
    let all = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => (n.as_f64().unwrap_or(0.0) as f32).to_string(),
        Value::Array(items) => all(&mut items.iter().map(plain)),
        Value::Object(entries) => {
            all(&mut entries.iter().map(|(k, v)| format!("{k} {}", plain(v))))
        }
        other => other.to_string(),
    }
}

/// What probabilities are worth.
fn calibration(found: &Calibration) -> Result<String> {
    let mut out = String::new();
    line(&mut out, "temperature", &found.temperature.to_string())?;
    let rejected = 100.0 * found.rejected;
    let told = format!("{} ({rejected:.2} % of its pictures of known classes)", found.threshold);
    line(&mut out, "unknown below", &told)?;
    Ok(out)
}

fn network(model: &Model) -> Result<String> {
    let mut out = String::new();
    let (size, normalization) = (model.input.preparation.size, model.input.normalization);
    line(&mut out, "parameters", &count(model.graph.parameter_count()).to_string())?;
    let macs = count(model.graph.multiplications(size)? as usize);
    line(&mut out, "MACs", &format!("{macs} per picture of {size} × {size}"))?;
    line(&mut out, "classes", &model.classes.join(", "))?;
    line(&mut out, "pictures", &model.input.preparation.to_string())?;
    let colours = |v: [f32; 3]| v.map(|c| c.to_string()).join(", ");
    line(&mut out, "mean", &colours(normalization.mean))?;
    line(&mut out, "std", &colours(normalization.std))?;
    if !model.views.is_plain() {
        let views = model.views;
        line(&mut out, "views", &format!("{views}: the mean of {}", views.count()))?;
    }
    writeln!(out, "\nnetwork (name: operation → channels × height × width)")?;
    let text = model.graph.to_string();
    for (i, (node, [h, w, c])) in text.split(';').zip(model.graph.shapes(size)?).enumerate() {
        writeln!(out, "{i:>4}  {node:<44} → {c} × {h} × {w}")?;
    }
    Ok(out)
}

/// What the file will be, and the grid of each tensor.
fn plan(plan: &Plan) -> Result<String> {
    let mut out = String::new();
    line(&mut out, "budget", &format!("{} bytes", count(plan.budget)))?;
    line(&mut out, "planned", &format!("{} bytes", count(plan.bytes)))?;
    line(&mut out, "rounded at", &plan.price())?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["tensor", "bits", "scales", "coarser by"]);
    for (name, choice) in &plan.choices {
        let rows = serde_json::to_value(choice.rows)?;
        let octaves = format!("{} octaves", f32::from(choice.coarser) / 16.0);
        table.add_row([name.clone(), choice.bits.to_string(), plain(&rows), octaves]);
    }
    writeln!(out, "\n{}", table.trim_fmt())?;
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
        let values: usize = parts.iter().map(|p| p.count).sum();
        let coded: usize = parts.iter().map(|p| p.integers).sum();
        let entropy: f64 = parts.iter().map(|p| p.entropy).sum();
        let each = 8.0 * coded as f64 / values.max(1) as f64;
        let ratio = coded as f64 / entropy.max(1.0);
        let numbers = [bytes, grid, values].map(|n| count(n).to_string());
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
    let header = count(artifact.source.bytes - grids - integers);
    writeln!(out, "{header} bytes of header, the graph among them")?;
    Ok(out)
}

/// A line per tensor, those that `order` names first and as it has them.
fn tensors(artifact: &Artifact, order: &[String]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["tensor", "dtype", "shape", "bytes"]);
    let mut any = false;
    let place: BTreeMap<&str, usize> = order.iter().map(String::as_str).zip(0..).collect();
    let mut all: Vec<_> = artifact.tensors().collect();
    all.sort_by_key(|t| place.get(t.name).copied().unwrap_or(usize::MAX));
    for t in all {
        let shape = format!("{:?}", t.shape);
        table.add_row([t.name.to_owned(), t.dtype, shape, count(t.bytes).to_string()]);
        any = true;
    }
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if any { format!("\n{}", table.trim_fmt()) } else { String::new() }
}
