//! `quantize plan`: which grid for which tensor, so that the finished file keeps to a budget.

mod assignment;
mod sensitivity;

use crate::rounding::{self, Rounding};
use anyhow::{Result, ensure};
use artifacts::plan::{self, round_to_budget};
use artifacts::{Artifact, Images, Model, Provenance, artifact};
use assignment::{Layer, assign};
use codec::{Choices, Quantized, Rows};
use comfy_table::{CellAlignment, Table, presets};
use common::cli;
use common::device::Device;
use common::interrupt::Partial;
use graph::grid::Grids;
use sensitivity::Measure;
use serde::Serialize;
use std::path::PathBuf;

/// Choose grids for every tensor so that the finished file keeps to a budget.
///
/// Each tensor is quantized alone at several widths, and the divergence of the network's answers
/// from the float model's is measured on calibration pictures. From these the assignment with the
/// least divergence under the budget follows; the price of a bit in rounding then lands the file
/// just below it. Prints the exact size and the accuracy of the planned network before anything is
/// written. quantize pack writes the file of a plan; distill --quant trains for it first.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize plan --model student.safetensors --images validation.safetensors --budget 300000 \\
      --out plan.safetensors
  quantize pack --model student.safetensors --plan plan.safetensors --out model.bin")]
pub(crate) struct Plan {
    /// Model to plan for.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Images artifact to measure on, with labels.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// Where to write the plan; without it the plan is only printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do nothing if --out was made by this very command from these very files before.
    #[arg(long, requires = "out")]
    reuse: bool,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    compute: cli::Compute,
}

/// What decides the result besides files.
#[derive(Serialize, clap::Args)]
struct Flags {
    /// Largest size of the finished file, bytes.
    #[arg(long, default_value_t = 300_000, value_name = "BYTES")]
    budget: usize,
    /// The same bits for every weight, 2 to 8, instead of what measurements say.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u8>,
    /// Calibration pictures: so many of --images, evenly spread.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    flags: &'a Flags,
    #[serde(skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

impl Plan {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.compute.start()?;
        let claim = |out| artifact::claim(out, &[&self.model, &self.images]);
        let _claim = self.out.as_deref().map(claim).transpose()?;
        let (model, source) = Model::load(&self.model)?;
        let images = Images::load(&self.images)?;
        model.check_images(&images)?;
        let model = model.folded()?;
        let record = Record { flags: &self.flags, device };
        let provenance = Provenance::new("quantize plan", &record)?
            .from("images", &images.source)
            .from("model", &source);
        if let Some(out) = &self.out
            && self.reuse
            && Artifact::is_made_by(out, &provenance)
        {
            return Ok(cli::keep(out));
        }
        let partial = self.out.as_deref().map(|out| Partial::beside(out, &provenance, &()));
        let partial = partial.transpose()?;
        let mut measure = Measure::new(&model, &images, self.flags.pictures as usize, device)?;
        let budget = self.flags.budget;
        let (choices, sensitivity) = match self.flags.bits {
            Some(bits) => (codec::uniform_choices(&model.graph, Rows::Channel, bits), None),
            None => {
                let layers = sensitivity::layers(&model, &mut measure, partial.as_ref())?;
                let choices = search(&model, &layers, budget)?;
                cli::print(&table(&layers, &choices)?)?;
                (choices, Some(sensitivity::told(&layers)))
            }
        };
        let grids = grids(&model, &choices)?;
        let (mut quantized, mut lambda) = round_to_budget(&model, &model.weights, &grids, budget)?;
        let mut payload = Vec::new();
        if self.flags.bits.is_none() {
            let rounding = Rounding::new(&model, &images, measure.chosen())?;
            let (rounded, price) = rounding::to_budget(&rounding, budget)?;
            payload = rounded.encode(&model.graph)?;
            (quantized, lambda) = (rounded, price as f32);
        }
        let bytes = model.coded_bytes(&quantized)?;
        let (divergence, top1) = measure.of(&quantized.weights()?)?;
        let n = measure.pictures();
        let found = format!(
            "{} bytes, {} below the budget; top-1 {top1:.4} on {n} pictures, float {:.4}; \
             divergence {divergence:.4} nats; price of a bit {lambda:.3} squared scales",
            cli::count(bytes),
            cli::count(budget - bytes),
            measure.float_top1(),
        );
        let Some(out) = self.out else { return Ok(found) };
        plan::Plan { budget, bytes, lambda, choices, payload, sensitivity }
            .save(&out, &provenance)?;
        cli::record(&out, "quantize plan", 0);
        if let Some(partial) = &partial {
            partial.remove();
        }
        Ok(format!("{}: {found}", out.display()))
    }
}

/// Refinements of the estimate by the size of the real file.
const ROUNDS: usize = 6;

/// The grids of `choices`.
fn grids(model: &Model, choices: &Choices) -> Result<Grids> {
    Ok(Quantized::new(&model.graph, &model.weights, choices)?.grids())
}

/// The assignment whose file comes out nearest below the budget at the price of a bit that
/// sensitivities were measured at.
fn search(model: &Model, layers: &[Layer], budget: usize) -> Result<Choices> {
    // What the estimates leave out: header, biases, and where contexts and real code differ.
    let mut other = 0.0;
    let mut choices = assign(&model.graph, layers, budget as f64)?;
    for _ in 0..ROUNDS {
        let on = Quantized::on(
            &model.graph,
            &model.weights,
            &grids(model, &choices)?,
            assignment::PRICE,
        )?;
        let real = model.coded_bytes(&on)? as f64;
        let estimate: f64 = layers.iter().map(|l| l.chosen_bytes(&choices)).sum();
        if real - estimate == other {
            break;
        }
        other = real - estimate;
        ensure!(
            budget as f64 > other,
            "a budget of {budget} bytes: header and biases alone take {other:.0}"
        );
        choices = assign(&model.graph, layers, budget as f64 - other)?;
    }
    Ok(choices)
}

/// A line per weight: its grid, its bytes, and what every width would cost.
fn table(layers: &[Layer], choices: &Choices) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let widths = assignment::BITS.map(|b| format!("nats at {b}"));
    let fixed = ["tensor", "weights", "bits", "bytes"].map(String::from);
    table.set_header(fixed.into_iter().chain(widths));
    for layer in layers {
        let choice = choices[&layer.name];
        // Sixteen sixteenths of an octave are a bit.
        let bits = f32::from(choice.bits) - f32::from(choice.coarser) / 16.0;
        let mut row = vec![
            layer.name.clone(),
            cli::count(layer.count).to_string(),
            format!("{bits:.2}"),
            cli::count(layer.chosen_bytes(choices).round() as usize).to_string(),
        ];
        row.extend(layer.divergence.iter().map(|d| format!("{d:.4}")));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table.trim_fmt())
}
