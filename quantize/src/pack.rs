//! `quantize pack`: a model → a coded file of at most so many bytes.

use crate::calibrate::Calibrate;
use crate::state_dict::{state_dict, tell_views};
use anyhow::{Context, Result, ensure};
use artifacts::{Artifact, Calibration, Kind, Model, Plan, Provenance, Source, artifact};
use checkpoint::course::{self, Encoding};
use codec::{Quantized, Rows, Spec};
use common::cli;
use common::device::Device;
use graph::rng::Rng;
use graph::{Array, Weights};
use std::path::{Path, PathBuf};
use views::FixedViews;

/// Write a model as coded weights; refuse to write more bytes than the budget.
///
/// Batch norm is folded into the convolution before it. 16 bits store half-precision weights; 2 to 8
/// bits store integers about zero with a scale per output channel, entropy-coded; --grid affine
/// stores, per output channel, a minimum, a scale and 2^bits levels between them, packed. With --plan
/// every weight is rounded as the plan did; a model that distill --quant trained is on its grids
/// already. The file is read back from disk before it gets its name: its weights must be, bit for bit,
/// those that rounding meant, and how far its logits are from the model's is printed. The budget is the
/// size of the finished file, header included.
///
/// --views writes into the header which views of a picture answer together, 24 to 56 bytes. --calibrate
/// writes into it what the packed weights' answers to labelled pictures show; it takes some 120 bytes,
/// changes no answer, and whatever reads the file goes by it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize pack --model student.safetensors --bits 8 --budget 300000 --out model.bin
  quantize pack --model student.safetensors --plan plan.safetensors --out model.bin
  quantize pack --model quantized.safetensors --out model.bin
      for a model trained by distill --quant
  quantize pack --model quantized.safetensors --views flip,shift=4 --out model.bin
      for the mean answer of ten views
  quantize pack --model quantized.safetensors --calibrate validation.safetensors --out model.bin
      for probabilities that can be believed, and \"none of these\"
  quantize pack --model student.safetensors --format encode8 --out model.pkl
      for the course's own Python")]
pub(crate) struct Pack {
    /// Model to code.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Bits per weight: 2 to 8, or 16. Default: 8, or the grids the model was trained for.
    #[arg(long)]
    bits: Option<u8>,
    /// How grids lie. Default: channel, or the grids the model was trained for.
    #[arg(long, value_enum, conflicts_with = "plan")]
    grid: Option<GridKind>,
    /// Plan for this model (quantize plan), instead of the same bits everywhere.
    #[arg(long, value_name = "PLAN", conflicts_with = "bits")]
    plan: Option<PathBuf>,
    /// Form of the file: our own, or the course tutorial's encode8 or encode16 pickle.
    #[arg(long, value_enum, default_value = "crumb")]
    format: Format,
    /// Largest size of the file, bytes [default: the plan's budget, or 300,000].
    #[arg(long, value_name = "BYTES")]
    budget: Option<usize>,
    /// Views of a picture whose mean logits are the file's answer: none, or a list of flip (each view mirrored
    /// left-right, too), shift=P (four views, moved by P pixels up, down, left, right), zoom=P (one view more, the
    /// middle without P pixels at each side, enlarged); whole pixels, at most a quarter of a side. Whoever reads the
    /// file asks for all of them: so many views take so many times the time for a picture. Training and planning
    /// measure the plain view alone [default: those of the model].
    #[arg(long, value_name = "LIST")]
    views: Option<FixedViews>,
    #[command(flatten)]
    calibrate: Calibrate,
    /// Where to write the coded file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Forms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// FORMAT.md, kind "coded".
    Crumb,
    /// One range of 256 levels per tensor, batch norm as it is, NumPy pickle.
    Encode8,
    /// Half precision, batch norm as it is, NumPy pickle.
    Encode16,
}

/// How the grid of a weight lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum GridKind {
    /// From the least to the largest weight of a channel; packed bits, no entropy coding.
    Affine,
    /// About zero, a scale per output channel; entropy-coded.
    Channel,
    /// About zero, one scale per tensor; entropy-coded.
    Tensor,
    /// 2^bits levels per tensor by k-means; entropy-coded.
    Codebook,
}

/// The budget where nothing else says one: the course's.
const BUDGET: usize = 300_000;

/// What the course's formats leave to choose.
const LEVELS: &str = "encode8 has 256 levels per tensor, encode16 half precision";

/// What to do where a calibrated file is too large by less than what the calibration takes.
const CALIBRATED: &str =
    "with its calibration, which takes at most 136 bytes (quantize plan can leave them free)";

/// The same of views.
const VIEWED: &str =
    "with its views, which take at most 56 bytes (quantize plan can leave them free)";

/// What goes into the file.
struct Contents {
    spec: Spec,
    payload: Vec<u8>,
    /// The weights that must come back.
    weights: Weights,
    budget: usize,
}

impl Pack {
    pub(crate) fn run(self) -> Result<String> {
        let inputs: Vec<&Path> =
            [Some(self.model.as_path()), self.plan.as_deref(), self.calibrate.images()]
                .into_iter()
                .flatten()
                .collect();
        let _claim = artifact::claim(&self.out, &inputs)?;
        let out = self.out.clone();
        let told = match self.format {
            Format::Crumb => self.crumb(),
            Format::Encode8 => self.pickle(Encoding::Encode8),
            Format::Encode16 => self.pickle(Encoding::Encode16),
        }?;
        cli::record(&out, "quantize pack", 0);
        Ok(told)
    }

    /// The course's own file.
    fn pickle(self, encoding: Encoding) -> Result<String> {
        let ours = self.bits.is_some() || self.grid.is_some() || self.plan.is_some();
        ensure!(
            !ours,
            "--bits, --grid and --plan cannot be used with the course's formats: {LEVELS}"
        );
        ensure!(
            self.calibrate.images().is_none(),
            "--calibrate cannot be used with the course's formats: they have no place for it"
        );
        ensure!(
            self.views.is_none(),
            "--views cannot be used with the course's formats: they have no place for it"
        );
        let budget = self.budget.unwrap_or(BUDGET);
        let artifact = Artifact::load(&self.model, &[Kind::Model, Kind::Coded, Kind::Bundle])?;
        let entries = state_dict(&artifact)?;
        let bytes = course::encode(&entries, encoding)?;
        self.check_budget(bytes.len(), budget)?;
        let mut found = Weights::new();
        artifact::save_bytes_checked(&self.out, &bytes, |file| {
            found = read_pickle(file, &entries, encoding)?;
            Ok(())
        })?;
        let mut told = self.summary(bytes.len(), budget);
        if artifact.source.kind != Kind::Bundle {
            let model = Model::from_artifact(&artifact)?;
            tell_views(&model);
            told += &difference(&model, &Model { weights: found, ..model.clone() })?;
        }
        Ok(told)
    }

    fn check_budget(&self, bytes: usize, budget: usize) -> Result<()> {
        ensure!(
            bytes <= budget,
            "{} would take {} bytes, {} over the budget of {}: \
             use fewer bits, quantize plan, or prune the model; nothing was written",
            self.model.display(),
            cli::count(bytes),
            cli::count(bytes - budget),
            cli::count(budget),
        );
        Ok(())
    }

    fn summary(&self, bytes: usize, budget: usize) -> String {
        format!(
            "{}: {} bytes, {} below the budget",
            self.out.display(),
            cli::count(bytes),
            cli::count(budget - bytes),
        )
    }

    fn crumb(self) -> Result<String> {
        let (original, source) = Model::load(&self.model)?;
        let mut model = original.folded()?;
        if let Some(views) = self.views {
            let size = model.input.preparation.size;
            ensure!(views.fit(size), "--views {views}: more than a quarter of a side of {size} px");
            model.views = views;
        }
        let Contents { spec, payload, weights, budget } = self.contents(&model, &source)?;
        let mut provenance = Provenance::new("quantize pack", &())?.from("model", &source);
        let packed = Model { weights, ..model };
        let measured = self.calibrate.measure(&packed)?;
        let calibration = measured.as_ref().map(|m| m.calibration);
        if let Some(measured) = &measured {
            provenance = provenance.from("calibration", &measured.images);
        }
        let (header, tensors) = packed.calibrated(spec, payload, &provenance, calibration)?;
        let bytes = artifact::size(&header, &tensors)?;
        let mut fits = self.check_budget(bytes, budget);
        if measured.is_some() {
            fits = fits.context(CALIBRATED);
        }
        if self.views.is_some() {
            fits = fits.context(VIEWED);
        }
        if self.plan.is_some() {
            fits = fits.with_context(|| {
                format!("a plan is rounded for one size: quantize plan --budget {budget}")
            });
        }
        fits?;
        let mut told = self.summary(bytes, budget);
        artifact::save_checked(&self.out, &header, tensors, |file| {
            let artifact = Artifact::read(file)?;
            let found = Model::from_artifact(&artifact)?;
            ensure!(
                found.weights == packed.weights && found.graph == packed.graph,
                "read back, the file holds other weights than were meant; nothing was written"
            );
            ensure!(
                found.views == packed.views,
                "read back, the file has other views than were meant; nothing was written"
            );
            ensure!(
                Calibration::of(&artifact)? == calibration,
                "read back, the file is calibrated otherwise than was meant; nothing was written"
            );
            told += &room(&artifact, budget)?;
            told += &difference(&original, &found)?;
            Ok(())
        })?;
        Ok(told + measured.as_ref().map_or("", |m| &m.told))
    }

    fn contents(&self, model: &Model, source: &Source) -> Result<Contents> {
        let budget = self.budget.unwrap_or(BUDGET);
        let choices = match (&self.plan, self.bits, self.grid) {
            (Some(path), ..) => {
                let (plan, made) = Plan::load(path)?;
                made.check_made_for("model", source)?;
                let quantized = plan.quantized(model).with_context(|| made.name.clone())?;
                return coded(model, &quantized, self.budget.unwrap_or(plan.budget));
            }
            (None, None, None) if !model.grids.is_empty() => {
                let quantized = Quantized::on(&model.graph, &model.weights, &model.grids, 0.0)?;
                let contents = coded(model, &quantized, budget)?;
                // Trained for these grids, so on them: nothing may have moved.
                return Ok(Contents { weights: model.weights.clone(), ..contents });
            }
            (None, bits, grid) => {
                let bits = bits.unwrap_or(8);
                let rows = match grid {
                    None => {
                        let (spec, payload) = model.with_bits(bits)?;
                        return contents(model, spec, payload, budget);
                    }
                    Some(GridKind::Affine) => {
                        let spec = Spec::Affine(bits);
                        let payload = codec::encode(&model.graph, spec, &model.weights)?;
                        return contents(model, spec, payload, budget);
                    }
                    Some(GridKind::Tensor) => Rows::Tensor,
                    Some(GridKind::Codebook) => Rows::Codebook,
                    Some(GridKind::Channel) => Rows::Channel,
                };
                ensure!(
                    (2..=8).contains(&bits),
                    "--bits {bits}: expected 2 to 8, or 16 without --grid"
                );
                codec::uniform_choices(&model.graph, rows, bits)
            }
        };
        coded(model, &Quantized::new(&model.graph, &model.weights, &choices)?, budget)
    }
}

/// A payload, with the weights that it means.
fn contents(model: &Model, spec: Spec, payload: Vec<u8>, budget: usize) -> Result<Contents> {
    let (weights, _) = codec::decode(&model.graph, spec, &payload)?;
    Ok(Contents { spec, payload, weights, budget })
}

fn coded(model: &Model, quantized: &Quantized, budget: usize) -> Result<Contents> {
    let payload = quantized.encode(&model.graph)?;
    Ok(Contents { spec: Spec::Grids, payload, weights: quantized.weights()?, budget })
}

/// How much larger the network could be.
fn room(artifact: &Artifact, budget: usize) -> Result<String> {
    let parts = Model::parts(artifact)?;
    let parts =
        parts.with_context(|| format!("{}: read back, it is not coded", artifact.source.name))?;
    let weights = parts.iter().filter(|p| p.is_weight);
    let (coded, count) =
        weights.fold((0, 0), |(bytes, n), p| (bytes + p.integers + p.grid, n + p.count));
    let bytes_each = coded as f64 / count.max(1) as f64;
    let more = ((budget - artifact.source.bytes) as f64 / bytes_each.max(1e-3)) as usize;
    let more = cli::count(more);
    Ok(format!(": room for about {more} more weights at {:.2} bits each", 8.0 * bytes_each))
}

/// Pictures of noise that the two networks are compared on.
const PICTURES: usize = 8;

/// How far the logits of the network in the file are from those of the model.
fn difference(model: &Model, file: &Model) -> Result<String> {
    let floats = model.input.preparation.bytes();
    let noise = |i: usize| {
        let mut rng = Rng::new(0, "read back", i as u64);
        (0..floats).map(move |_| rng.normal())
    };
    let pictures: Vec<f32> = (0..PICTURES).flat_map(noise).collect();
    let [a, b] = [model, file].map(|m| Device::Cpu.executor(m)?.logits(&pictures));
    let (a, b) = (a?, b?);
    let largest = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    Ok(format!(
        "; read back from disk, logits of {PICTURES} pictures of noise are off by at most \
         {off:.2e}, the largest being {largest:.2e}"
    ))
}

/// The weights in a pickle of the course, which must be `entries` to within half a level.
fn read_pickle(file: &Path, entries: &[(String, Array)], encoding: Encoding) -> Result<Weights> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bundle = checkpoint::read(&bytes)?.tensors;
    ensure!(bundle.len() == entries.len(), "read back, {} of {}", bundle.len(), entries.len());
    let mut weights = Weights::new();
    for ((name, meant), (found_name, found)) in entries.iter().zip(&bundle) {
        let found = found.to_array()?;
        ensure!(name == found_name && meant.shape == found.shape, "read back, {name} is missing");
        let tolerance = if meant.shape.is_empty() { 0.0 } else { encoding.error(&meant.values) };
        let off = meant.values.iter().zip(&found.values);
        let off = off.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        ensure!(
            off <= tolerance,
            "read back, {name} is off by {off:e}, more than the {tolerance:e} of rounding; \
             nothing was written"
        );
        weights.insert(name.clone(), found);
    }
    Ok(weights)
}
