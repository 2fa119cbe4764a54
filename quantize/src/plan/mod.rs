//! `quantize plan`: which grid for which tensor, so that the finished file keeps to a budget.

mod sensitivity;

use crate::rounding::{self, Rounding};
use anyhow::{Context, Result};
use artifacts::plan::{self, round_to_budget};
use artifacts::{Artifact, Images, Model, Provenance, artifact};
use codec::{Choice, Integers, Levels, Quantized, Rows};
use comfy_table::{CellAlignment, Table, presets};
use common::cli;
use common::device::Device;
use common::interrupt::{Partial, Watch};
use common::spread::spread;
use sensitivity::{Layer, Measure};
use serde::Serialize;
use std::path::PathBuf;
use views::{Policy, View};

/// Of the pictures that decide, so many show what each tensor alone would cost: seven widths of every tensor are tried.
const MEASURED: usize = 100;

/// Choose grids for every tensor so that the finished file keeps to a budget.
///
/// Calibration pictures show what every layer's weights are multiplied with, and how much the answers owe to every
/// channel. Grids are then as wide as makes the rounding of one weight cost the answers the same everywhere, each
/// integer makes up for the errors of those before it, and each layer for those of the layers before it; the price of
/// an error lands the file just below the budget. The plan holds the rounded network, which needs no further
/// training: quantize pack writes its file; distill --quant trains it further on its grids.
/// Prints the exact size before anything is written; how far its answers are from the float network's, to as many other
/// pictures of --images, as far as there are, and to those that decided: where the divergence of the latter is much
/// smaller, more --pictures help; and how far they are, on a hundred pictures, when one tensor alone is rounded to the
/// nearest.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize plan --model student.safetensors --images training.safetensors --budget 300000 \\
      --out plan.safetensors
  quantize pack --model student.safetensors --plan plan.safetensors --out model.bin")]
pub(crate) struct Plan {
    /// Model to plan for.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Images artifact to look at, best the one it was trained on: what decides here has no part in judging. Labels
    /// are not needed.
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
    /// The same bits for every weight, 2 to 8, instead of what pictures say; rounded to what is nearest.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u8>,
    /// Calibration pictures: so many of --images, evenly spread. Memory grows with them: of a layer at a time what it
    /// makes of all of them is held, four bytes a number, by the float network and by the rounded one.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pictures: u32,
    /// Calibrate on a view of each, drawn as in train, and judge by such views of others, instead of by the pictures as
    /// they are. At a quarter of a bit a weight that brought a little (RESULTS.md).
    #[arg(long, conflicts_with = "bits")]
    #[serde(skip_serializing_if = "Option::is_none")]
    augment: Option<Policy>,
    /// Seed of the views [default: 0].
    #[arg(long, requires = "augment")]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

impl Flags {
    /// Of `count` pictures of `size` pixels, what to calibrate on, and of as many others, as far as there are, what to
    /// judge by: views of the same kind, mixed with none of the former.
    fn calibration(&self, count: usize, size: usize) -> [Vec<(usize, View)>; 2] {
        let (policy, seed) = (self.augment.unwrap_or_default(), self.seed.unwrap_or(0));
        let all: Vec<usize> = (0..count).collect();
        let chosen = spread(&all, self.pictures as usize);
        let others: Vec<usize> =
            all.into_iter().filter(|i| chosen.binary_search(i).is_err()).collect();
        let others = spread(&others, chosen.len());
        [chosen, others].map(|pictures| {
            let view = |i: &usize| (*i, View::among(&policy, seed, *i, 0, &pictures, size));
            pictures.iter().map(view).collect()
        })
    }
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
            && plan::Plan::load(out)?.0.check_for(&model).is_ok()
        {
            return Ok(cli::keep(out));
        }
        let partial = self.out.as_deref().map(|out| Partial::beside(out, &provenance, &MEASURED));
        let partial = partial.transpose()?;
        let [chosen, others] = self.flags.calibration(images.len(), images.preparation.size);
        let budget = self.flags.budget;
        let (plan, quantized) = match self.flags.bits {
            Some(bits) => even(&model, bits, budget)?,
            None => {
                let mut watch = Watch::start()?;
                let kept = partial.as_ref();
                let some = spread(&chosen, MEASURED);
                let mut measure = Measure::new(&model, &images, some, device)?;
                let layers = sensitivity::layers(&model, &mut measure, kept, &mut watch)?;
                let mut between = || {
                    let all = layers.iter().flat_map(|l| &l.divergence);
                    watch.between(|| sensitivity::keep(kept, all))
                };
                let rounding = Rounding::new(&model, &images, &chosen)?;
                let rounded = rounding::to_budget(&rounding, budget, &mut between);
                let (rounded, price) = rounded.with_context(|| source.name.clone())?;
                cli::print(&table(&layers, &rounded)?)?;
                (told(&model, &layers, &rounded, price, budget)?, rounded)
            }
        };
        // Where all weights have the same bits, no picture decided.
        let judges =
            if self.flags.bits.is_some() { [Vec::new(), chosen] } else { [chosen, others] };
        let bytes = plan.bytes;
        let found = format!(
            "{} bytes, {} below the budget; {}; {}",
            cli::count(bytes),
            cli::count(budget - bytes),
            judged(&model, &images, judges, &quantized, device)?,
            plan.price(),
        );
        let Some(out) = self.out else { return Ok(found) };
        plan.save(&out, &provenance)?;
        cli::record(&out, "quantize plan", 0);
        if let Some(partial) = &partial {
            partial.remove();
        }
        Ok(format!("{}: {found}", out.display()))
    }
}

/// How the answers of `quantized` are, to what decided on it and to others, as far as there are either.
fn judged(
    model: &Model,
    images: &Images,
    [decided, others]: [Vec<(usize, View)>; 2],
    quantized: &Quantized,
    device: Device,
) -> Result<String> {
    let ([n, m], weights) = ([decided.len(), others.len()], quantized.weights()?);
    let of = |pictures| Measure::new(model, images, pictures, device)?.of(&weights);
    let told = |n: usize, whose: &str, (divergence, same): (f64, f64)| {
        format!(
            "of {n} {whose} a share of {same:.4} gets the float network's class; divergence {divergence:.5} nats"
        )
    };
    Ok(match (n, m) {
        (0, _) => told(m, "pictures", of(others)?),
        (_, 0) => {
            let told = told(n, "pictures that decided", of(decided)?);
            format!(
                "{told}; there are no others, and the answers to others may be much further off"
            )
        }
        _ => {
            let (decided, _) = of(decided)?;
            format!(
                "{}, {decided:.5} on those that decided",
                told(m, "other pictures", of(others)?)
            )
        }
    })
}

/// The plan of so many `bits` for every weight, and its network.
fn even(model: &Model, bits: u8, budget: usize) -> Result<(plan::Plan, Quantized)> {
    let choices = codec::uniform_choices(&model.graph, Rows::Channel, bits);
    let grids = Quantized::new(&model.graph, &model.weights, &choices)?.grids();
    let (quantized, lambda) = round_to_budget(model, &model.weights, &grids, budget)?;
    let bytes = model.coded_bytes(&quantized)?;
    let payload = Vec::new();
    Ok((plan::Plan { budget, bytes, lambda, choices, payload, sensitivity: None }, quantized))
}

/// The plan that holds `rounded`, whose weights' errors cost `price` nats each.
fn told(
    model: &Model,
    layers: &[Layer],
    rounded: &Quantized,
    price: f64,
    budget: usize,
) -> Result<plan::Plan> {
    let choice = |(name, t): (&String, &Integers)| {
        let rows = match &t.levels {
            Levels::Uniform(scales) if scales.len() == 1 => Rows::Tensor,
            Levels::Uniform(_) => Rows::Channel,
            Levels::Codebook(_) => Rows::Codebook,
        };
        (name.clone(), Choice { rows, bits: t.bits, coarser: 0 })
    };
    Ok(plan::Plan {
        budget,
        bytes: model.coded_bytes(rounded)?,
        lambda: price as f32,
        choices: rounded.0.iter().map(choice).collect(),
        payload: rounded.encode(&model.graph)?,
        sensitivity: Some(sensitivity::told(layers)),
    })
}

/// A line per weight: the entropy of its integers, and what every width would cost.
fn table(layers: &[Layer], rounded: &Quantized) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let widths = sensitivity::BITS.map(|b| format!("nats at {b}"));
    let fixed = ["tensor", "weights", "bits", "bytes"].map(String::from);
    table.set_header(fixed.into_iter().chain(widths));
    for layer in layers {
        let Some(integers) = rounded.0.get(&layer.name) else { continue };
        let (count, bytes) = (integers.codes.len(), integers.entropy());
        let mut row = vec![
            layer.name.clone(),
            cli::count(count).to_string(),
            format!("{:.2}", 8.0 * bytes / count.max(1) as f64),
            cli::count(bytes.round() as usize).to_string(),
        ];
        row.extend(layer.divergence.iter().map(|d| format!("{d:.4}")));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What judges is no picture that decided, nor mixed with one; another seed draws other views.
    #[test]
    fn judges_are_mixed_with_nothing_that_decided() {
        let policy: Policy = "flip,cutmix=1".parse().unwrap();
        let flags = |pictures, seed| Flags {
            budget: 1,
            bits: None,
            pictures,
            augment: Some(policy),
            seed: Some(seed),
        };
        let seen = |views: &[(usize, View)]| -> Vec<usize> {
            views.iter().flat_map(|(i, v)| [*i, v.partner.0]).collect()
        };
        let [chosen, others] = flags(20, 1).calibration(50, 8);
        assert_eq!([chosen.len(), others.len()], [20, 20]);
        let (decided, judges) = (seen(&chosen), seen(&others));
        assert!(decided.iter().all(|i| !judges.contains(i)), "{decided:?} {judges:?}");
        assert!(chosen.iter().any(|(i, v)| v.partner.0 != *i), "nothing is mixed");
        assert_ne!(flags(20, 2).calibration(50, 8)[0], chosen);
        assert_eq!(flags(40, 1).calibration(50, 8)[1].len(), 10);
        assert!(flags(50, 1).calibration(50, 8)[1].is_empty());
    }
}
