//! `quantize plan`: which grid for which tensor, so that the finished file keeps to a budget.

mod exchange;
mod measure;
mod sensitivity;
#[cfg(test)]
mod tests;
mod waterline;

use anyhow::Result;
use artifacts::plan::{self, Sensitivity, round_to_budget};
use artifacts::{Artifact, Images, Model, Provenance, artifact};
use codec::{Choices, Levels, Quantized, Rows};
use comfy_table::{CellAlignment, Table, presets};
use common::cli;
use common::device::Device;
use common::interrupt::Partial;
use measure::{Log, Measure};
use serde::Serialize;
use std::path::PathBuf;
use waterline::Waterline;

/// Choose grids for every tensor so that the finished file keeps to a budget.
///
/// How much the network's answers owe to every tensor is measured on calibration pictures, best those it
/// was trained on: the others are to judge it. From that follow grids at which a byte is worth the same
/// everywhere. Then each tensor is made coarser and finer in turn, and what lessens the divergence of the
/// answers from the float model's at the same size stays. Prints the exact size, and how many
/// pictures get the float network's class, before anything is written, and what each tensor would cost alone at 2 to 8 bits.
/// quantize pack writes the file of a plan; distill --quant trains for it first.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize plan --model student.safetensors --images training.safetensors --budget 300000 \\
      --out plan.safetensors
  quantize pack --model student.safetensors --plan plan.safetensors --out model.bin")]
pub(crate) struct Plan {
    /// Model to plan for.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Images artifact to measure on; best the training pictures. Labels are not asked for.
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
        let partial = self.out.as_deref().map(|out| Partial::beside(out, &provenance, &ORDER));
        let partial = partial.transpose()?;
        let mut measure = Measure::new(&model, &images, self.flags.pictures as usize, device)?;
        let budget = self.flags.budget;
        let (quantized, lambda, choices, sensitivity) = match self.flags.bits {
            Some(bits) => {
                let choices = codec::uniform_choices(&model.graph, Rows::Channel, bits);
                let grids = Quantized::new(&model.graph, &model.weights, &choices)?.grids();
                let (rounded, lambda) = round_to_budget(&model, &model.weights, &grids, budget)?;
                (rounded, lambda, choices, None)
            }
            None => {
                let line = Waterline::new(&model, &measure.curvature()?)?;
                let mut log = Log::start(partial.as_ref(), measurements(line.weights().len()))?;
                let (rounded, choices, told) = search(&line, &mut measure, &mut log, budget)?;
                cli::print(&table(&rounded, &told)?)?;
                (rounded, 0.0, choices, Some(told))
            }
        };
        let bytes = model.coded_bytes(&quantized)?;
        let (divergence, same) = measure.of(&quantized.weights()?)?;
        let n = measure.pictures();
        let found = format!(
            "{} bytes, {} below the budget; {same:.4} of {n} pictures get the float network's class; \
             divergence {divergence:.4} nats; price of a bit {lambda:.3} squared scales",
            cli::count(bytes),
            cli::count(budget - bytes),
        );
        let Some(out) = self.out else { return Ok(found) };
        plan::Plan { budget, bytes, lambda, choices, sensitivity }.save(&out, &provenance)?;
        cli::record(&out, "quantize plan", 0);
        if let Some(partial) = &partial {
            partial.remove();
        }
        Ok(format!("{}: {found}", out.display()))
    }
}

/// Height of the water that the search sets out from, sixteenths of an octave.
const START: f64 = -180.0;

/// How the measurements of an interrupted stage follow each other: others are not gone on from.
const ORDER: &str = "exchange, then each tensor alone";

/// The plan of least divergence that keeps to `budget`: its network, and what to say of every tensor.
fn search(
    line: &Waterline,
    measure: &mut Measure,
    log: &mut Log,
    budget: usize,
) -> Result<(Quantized, Choices, Sensitivity)> {
    // Before anything that takes long.
    let start = line.land(&line.even(START), budget)?;
    let level = exchange::exchange(line, budget, &start, measure, log)?;
    let rounded = line.round(&line.fill(&level, budget)?)?;
    let told = sensitivity::sensitivity(line.model(), measure, log)?;
    log.finish();
    Ok((rounded.clone(), line.choices(&rounded)?, told))
}

/// Measurements of a search with so many weights, at most.
const fn measurements(weights: usize) -> usize {
    weights * sensitivity::BITS.len() + exchange::measurements(weights)
}

/// A line per weight: its grid, its bytes, and what every width would cost.
fn table(rounded: &Quantized, sensitivity: &Sensitivity) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let widths = sensitivity::BITS.map(|b| format!("nats at {b}"));
    let fixed = ["tensor", "weights", "step", "bits each", "bytes"].map(String::from);
    table.set_header(fixed.into_iter().chain(widths));
    for (name, nats) in &sensitivity.nats {
        let Some(integers) = rounded.0.get(name) else { continue };
        let (count, bytes) = (integers.codes.len(), integers.entropy());
        let step = match &integers.levels {
            Levels::Uniform(scales) => format!("{:.2e}", scales[0].value()),
            Levels::Codebook(_) => String::new(),
        };
        let mut row = vec![
            name.clone(),
            cli::count(count).to_string(),
            step,
            format!("{:.2}", 8.0 * bytes / count.max(1) as f64),
            cli::count(bytes.round() as usize).to_string(),
        ];
        row.extend(nats.iter().map(|d| format!("{d:.4}")));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table.trim_fmt())
}
