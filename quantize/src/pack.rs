//! `quantize pack`: a model → a coded file of at most so many bytes.

use crate::course::{self, Encoding};
use anyhow::{Result, ensure};
use common::artifact::{self, Artifact};
use common::cli;
use common::codec::{self, Quantized, Rows, Spec};
use common::graph::Weights;
use common::model::Model;
use common::network::Inference;
use common::plan::Plan;
use common::rng::Rng;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Write a model as coded weights; refuse to write more bytes than the budget.
///
/// Batch norm is folded into the convolution before it. 16 bits store half-precision weights; 8
/// bits store, per output channel, a minimum, a step and 256 levels between them; 2 to 7 bits store
/// integers about zero with a step per output channel, entropy-coded. With --plan every tensor has
/// grids of its own; a model that distill --quant trained has them already. The file is read back
/// before it appears: its logits must be those of the network it was made from. The budget is the
/// size of the finished file, header included.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  quantize pack --model student.safetensors --bits 8 --budget 300000 --out model.bin
  quantize pack --model student.safetensors --plan plan.safetensors --out model.bin
  quantize pack --model quantized.safetensors --out model.bin
      for a model trained by distill --quant
  quantize pack --model student.safetensors --format encode8 --out model.pkl
      for the course's own Python")]
pub(crate) struct Pack {
    /// Model to code.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Bits per weight: 2 to 8, or 16. Default: 8, or the grids the model was trained for.
    #[arg(long)]
    bits: Option<u8>,
    /// How grids lie. Default: affine at 8 bits, else channel.
    #[arg(long, value_enum, conflicts_with_all = ["format", "plan"])]
    grid: Option<Grid>,
    /// Plan for this model (quantize plan), instead of the same bits everywhere.
    #[arg(long, value_name = "PLAN", conflicts_with = "bits")]
    plan: Option<PathBuf>,
    /// Form of the file: our own, or the course tutorial's encode8 or encode16 pickle.
    #[arg(long, value_enum, default_value = "crumb", conflicts_with_all = ["bits", "plan"])]
    format: Format,
    /// Largest size of the file, bytes.
    #[arg(long, default_value_t = 300_000, value_name = "BYTES")]
    budget: usize,
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
enum Grid {
    /// From the least to the largest weight of a channel; packed bits, no entropy coding.
    Affine,
    /// About zero, a step per output channel; entropy-coded.
    Channel,
    /// About zero, one step per tensor; entropy-coded.
    Tensor,
    /// 2^bits levels per tensor by k-means; entropy-coded.
    Codebook,
}

/// What goes into the file.
struct Contents {
    spec: Spec,
    payload: Vec<u8>,
    /// The weights that must come back; None where rounding to them is what the payload does.
    weights: Option<Weights>,
}

impl Pack {
    pub(crate) fn run(self) -> Result<String> {
        match self.format {
            Format::Crumb => self.crumb(),
            Format::Encode8 => self.pickle(Encoding::Encode8),
            Format::Encode16 => self.pickle(Encoding::Encode16),
        }
    }

    /// The course's own file.
    fn pickle(self, encoding: Encoding) -> Result<String> {
        let (entries, _) = course::state_dict(&self.model)?;
        let bytes = course::encode(&entries, encoding)?;
        self.check_budget(bytes.len())?;
        artifact::save_bytes(&self.out, &bytes)?;
        Ok(self.summary(bytes.len()))
    }

    fn check_budget(&self, bytes: usize) -> Result<()> {
        ensure!(
            bytes <= self.budget,
            "{} would take {} bytes, {} over the budget of {}: \
             use fewer bits, quantize plan, or prune the model; nothing was written",
            self.model.display(),
            cli::thousands(bytes),
            cli::thousands(bytes - self.budget),
            cli::thousands(self.budget),
        );
        Ok(())
    }

    fn summary(&self, bytes: usize) -> String {
        format!(
            "{}: {} bytes, {} below the budget",
            self.out.display(),
            cli::thousands(bytes),
            cli::thousands(self.budget - bytes),
        )
    }

    fn crumb(self) -> Result<String> {
        let (model, origin) = Model::load(&self.model)?;
        let model = model.folded()?;
        let contents = self.contents(&model, &origin.hash)?;
        let Contents { spec, payload, weights } = contents;
        let (decoded, _) = codec::decode(&model.graph, spec, &payload)?;
        let read_back = match weights {
            Some(weights) => compare(&model, weights, decoded)?,
            None => String::new(),
        };
        let parents = BTreeMap::from([("model".to_owned(), origin.hash)]);
        let (header, tensors) = model.coded(spec, payload, parents)?;
        let bytes = artifact::size(&header, &tensors)?;
        self.check_budget(bytes)?;
        artifact::save(&self.out, &header, tensors)?;
        Ok(self.summary(bytes) + &self.room(bytes)? + &read_back)
    }

    fn contents(&self, model: &Model, hash: &str) -> Result<Contents> {
        let choices = match (&self.plan, self.bits, self.grid) {
            (Some(path), ..) => {
                let (plan, made_for, _) = Plan::load(path)?;
                ensure!(
                    made_for.as_deref() == Some(hash),
                    "{}: a plan for another model than {}; run quantize plan on this one",
                    path.display(),
                    self.model.display()
                );
                let grids = Quantized::new(&model.graph, &model.weights, &plan.choices)?;
                let quantized = Quantized::on(&model.weights, &grids.grids(), plan.lambda)?;
                return grids_of(model, &quantized);
            }
            (None, None, None) if !model.grids.is_empty() => {
                let quantized = Quantized::on(&model.weights, &model.grids, 0.0)?;
                let contents = grids_of(model, &quantized)?;
                // Trained for these grids, so on them: nothing may have moved.
                return Ok(Contents { weights: Some(model.weights.clone()), ..contents });
            }
            (None, Some(16), None) => return plain(model, Spec::Half),
            (None, None | Some(8), None) => return plain(model, Spec::Affine(8)),
            (None, bits, Some(Grid::Affine)) => {
                return plain(model, Spec::Affine(bits.unwrap_or(8)));
            }
            (None, bits, grid) => {
                let rows = match grid {
                    Some(Grid::Tensor) => Rows::Tensor,
                    Some(Grid::Codebook) => Rows::Codebook,
                    _ => Rows::Channel,
                };
                let bits = bits.unwrap_or(8);
                ensure!(
                    (2..=8).contains(&bits),
                    "--bits {bits}: expected 2 to 8, or 16 without --grid"
                );
                codec::uniform_choices(&model.graph, rows, bits)
            }
        };
        grids_of(model, &Quantized::new(&model.graph, &model.weights, &choices)?)
    }

    /// How much larger the network could be.
    fn room(&self, bytes: usize) -> Result<String> {
        let parts = Model::parts(&Artifact::read(&self.out)?)?.unwrap_or_default();
        let weights = parts.iter().filter(|p| p.is_weight);
        let (coded, count) =
            weights.fold((0, 0), |(bytes, n), p| (bytes + p.integers + p.grid, n + p.count));
        let rate = coded as f64 / count.max(1) as f64;
        let more = ((self.budget - bytes) as f64 / rate.max(1e-3)) as usize;
        let more = cli::thousands(more);
        Ok(format!(": room for about {more} more weights at {:.2} bits each", 8.0 * rate))
    }
}

fn plain(model: &Model, spec: Spec) -> Result<Contents> {
    let payload = codec::encode(&model.graph, spec, &model.weights)?;
    Ok(Contents { spec, payload, weights: None })
}

fn grids_of(model: &Model, quantized: &Quantized) -> Result<Contents> {
    let payload = quantized.encode(&model.graph)?;
    Ok(Contents { spec: Spec::Grids, payload, weights: Some(quantized.weights()?) })
}

/// Pictures of noise that the two networks are compared on.
const PICTURES: usize = 8;

/// The largest difference of any logit between the network that was meant and the one decoded.
fn compare(model: &Model, meant: Weights, decoded: Weights) -> Result<String> {
    let floats = 3 * model.input.preparation.size.pow(2);
    let logits = |weights: Weights| -> Result<Vec<f32>> {
        let network = Inference::new(&Model { weights, ..model.clone() })?;
        let noise = |i: usize| {
            let mut rng = Rng::new(0, "read back", i as u64);
            (0..floats).map(move |_| rng.normal())
        };
        network.logits(&(0..PICTURES).flat_map(noise).collect::<Vec<f32>>())
    };
    let (meant, decoded) = (logits(meant)?, logits(decoded)?);
    let difference = meant.iter().zip(&decoded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    ensure!(
        difference == 0.0,
        "the file would decode to another network: logits differ by {difference}; \
         nothing was written"
    );
    Ok(format!("; read back, logits of {PICTURES} pictures differ by {difference}"))
}
