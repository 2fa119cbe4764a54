//! A plan: how a network is to be quantized so that its file keeps to a budget.

use crate::artifact::{self, Artifact, Data, Header, Kind, Provenance, Source, Tensor};
use crate::model::Model;
use anyhow::{Result, bail, ensure};
use codec::{Choices, Quantized};
use graph::Weights;
use graph::grid::Grids;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A grid for every tensor of a folded network, and the rounded network or how rounding trades error for bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Largest size of the finished file, bytes.
    pub budget: usize,
    /// Size of the finished file without further training, bytes.
    pub bytes: usize,
    /// Price of a bit when rounding, in squared scales (see `codec`); with a payload what the error of one number costs
    /// there, nats.
    pub lambda: f32,
    /// Grids, by tensor.
    pub choices: Choices,
    /// The rounded network, as the finished file has it: for roundings that need pictures; empty where the nearest
    /// integers at `lambda` are meant.
    #[serde(skip)]
    pub payload: Vec<u8>,
    /// What single tensors would cost, which decides nothing; none where every tensor got the same bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
}

/// What it costs to quantize one tensor alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Bits per weight that were tried.
    pub bits: Vec<u8>,
    /// Divergence of the answers from the float network's at each of `bits`, nats, by tensor.
    pub nats: BTreeMap<String, Vec<f64>>,
}

/// The tensor of the payload.
const PAYLOAD: &str = "q";

impl Plan {
    /// Read a plan.
    ///
    /// # Errors
    /// Another kind of file.
    pub fn load(path: &Path) -> Result<(Self, Source)> {
        let artifact = Artifact::load(path, &[Kind::Plan])?;
        let mut plan: Self = artifact.body()?;
        if artifact.tensors().any(|t| t.name == PAYLOAD) {
            plan.payload = artifact.u8(PAYLOAD)?.1.to_vec();
        }
        Ok((plan, artifact.source))
    }

    /// Write it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path, provenance: &Provenance) -> Result<()> {
        let header = Header::new(Kind::Plan, provenance, self)?;
        let n = self.payload.len();
        let payload = || Tensor::u8(PAYLOAD, &[n], Data::Bytes(self.payload.clone()));
        artifact::save(path, &header, (n > 0).then(payload).into_iter().collect())
    }

    /// Checks that this is a plan for the tensors of the folded `model`.
    ///
    /// # Errors
    /// A plan for others: one from before last layers were joined, say.
    pub fn check_for(&self, model: &Model) -> Result<()> {
        match self.choices.keys().find(|name| !model.weights.contains_key(*name)) {
            None => Ok(()),
            Some(name) => bail!(
                "the plan is for {name}, which the folded network does not have: run quantize plan again"
            ),
        }
    }

    /// The weights of the folded `model` as this plan rounds them.
    ///
    /// # Errors
    /// A plan for another network.
    pub fn quantized(&self, model: &Model) -> Result<Quantized> {
        self.check_for(model)?;
        if self.payload.is_empty() {
            let nearest = Quantized::new(&model.graph, &model.weights, &self.choices)?;
            return Quantized::on(&model.graph, &model.weights, &nearest.grids(), self.lambda);
        }
        Ok(Quantized::decode(&model.graph, &self.payload)?.0)
    }

    /// What [`Plan::lambda`] is the price of, in words.
    pub fn price(&self) -> String {
        match self.payload.is_empty() {
            true => format!("price of a bit {:.3} squared scales", self.lambda),
            false => format!("price of a weight's error {:.1e} nats", self.lambda),
        }
    }
}

/// The dearest bit tried: at this price nearly every weight of a sensible grid is zero.
const DEAREST: f32 = 1000.0;
/// Halvings of the interval; the price is then known to a thousandth.
const HALVINGS: u32 = 16;

/// `weights` of the folded `model` on `grids`, rounded at the lowest price of a bit at which the
/// finished file keeps to `budget`; and that price.
///
/// # Errors
/// A budget that no price reaches.
pub fn round_to_budget(
    model: &Model,
    weights: &Weights,
    grids: &Grids,
    budget: usize,
) -> Result<(Quantized, f32)> {
    let rounded = |lambda: f32| -> Result<(Quantized, usize)> {
        let quantized = Quantized::on(&model.graph, weights, grids, lambda)?;
        let bytes = model.coded_bytes(&quantized)?;
        Ok((quantized, bytes))
    };
    let nearest = rounded(0.0)?;
    if nearest.1 <= budget {
        return Ok((nearest.0, 0.0));
    }
    let (mut low, mut high) = (0.0f32, DEAREST);
    let mut best = rounded(high)?;
    ensure!(
        best.1 <= budget,
        "on these grids the network takes at least {} bytes, the budget is {budget}: \
         choose fewer bits, or prune the model",
        best.1
    );
    // Prices span several octaves, so the interval is cut at its geometric middle.
    for _ in 0..HALVINGS {
        let middle = (high * low.max(high / 1e6)).sqrt();
        let found = rounded(middle)?;
        if found.1 <= budget {
            (high, best) = (middle, found);
        } else {
            low = middle;
        }
    }
    Ok((best.0, high))
}
