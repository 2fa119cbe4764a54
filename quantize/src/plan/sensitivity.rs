//! What each tensor's grid costs the network, measured.

use anyhow::{Context, Result, ensure};
use artifacts::plan::Sensitivity;
use artifacts::{Images, Model};
use codec::{Choice, Integers, Rows};
use common::device::Device;
use common::forward::Asked;
use common::interrupt::{Partial, Watch};
use common::{cli, score};
use executor::{Executor, State};
use graph::{Role, Weights};
use views::View;

/// Bits at which every tensor is measured.
pub(super) const BITS: [u8; 7] = [2, 3, 4, 5, 6, 7, 8];

/// A weight.
pub(super) struct Layer {
    pub(super) name: String,
    /// Divergence when it alone is quantized, nats, at each of [`BITS`].
    pub(super) divergence: Vec<f64>,
}

/// Answers of the float network to some views.
pub(super) struct Measure<'a> {
    model: &'a Model,
    asked: Asked<'a>,
    /// These views, each with its picture.
    chosen: Vec<(usize, View)>,
    /// Of the network, whatever weights it is given.
    executor: Box<dyn Executor>,
    /// The float network's classes.
    classes: Vec<usize>,
    /// Its log-probabilities `[pictures, classes]`.
    answers: Vec<f64>,
}

/// Log-softmax of rows of `classes` logits.
fn log_probabilities(logits: &[f32], classes: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(logits.len());
    for row in logits.chunks(classes.max(1)) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        let sum: f64 = row.iter().map(|v| f64::from(v - largest).exp()).sum();
        out.extend(row.iter().map(|v| f64::from(v - largest) - sum.ln()));
    }
    out
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        model: &'a Model,
        images: &'a Images,
        chosen: Vec<(usize, View)>,
        device: Device,
    ) -> Result<Self> {
        ensure!(!chosen.is_empty(), "{}: no pictures", images.source.name);
        let mut executor = device.executor(model)?;
        let asked = Asked::new(&mut *executor, images, &model.input.normalization)?;
        let (classes, answers) = (Vec::new(), Vec::new());
        let mut measure = Self { model, asked, chosen, executor, classes, answers };
        let logits = measure.logits(&model.weights)?;
        measure.classes = logits.chunks(model.classes.len().max(1)).map(score::argmax).collect();
        measure.answers = log_probabilities(&logits, model.classes.len());
        Ok(measure)
    }

    fn logits(&mut self, weights: &Weights) -> Result<Vec<f32>> {
        let variables = self.executor.parametrisation().variables(weights, &self.model.grids)?;
        self.executor.upload(State { variables, ..State::default() })?;
        let view = |i: usize| self.chosen[i];
        self.asked.logits(&mut *self.executor, self.chosen.len(), view, |_, _| Ok(()))
    }

    /// Of the network with these weights: mean Kullback–Leibler divergence of its answers from the
    /// float network's, in nats, and the share of pictures that get the same class.
    pub(super) fn of(&mut self, weights: &Weights) -> Result<(f64, f64)> {
        let logits = self.logits(weights)?;
        let pictures = self.chosen.len() as f64;
        let same = score::correct(&logits, &self.classes) as f64 / pictures;
        let answers = log_probabilities(&logits, self.model.classes.len());
        let terms = self.answers.iter().zip(&answers).map(|(p, q)| p.exp() * (p - q));
        Ok((terms.sum::<f64>() / pictures, same))
    }
}

/// What was measured, for the plan to keep.
pub(super) fn told(layers: &[Layer]) -> Sensitivity {
    let nats = layers.iter().map(|l| (l.name.clone(), l.divergence.clone())).collect();
    Sensitivity { bits: BITS.to_vec(), nats }
}

/// Keeps divergences for whoever goes on.
pub(super) fn keep<'a>(
    partial: Option<&Partial>,
    measured: impl IntoIterator<Item = &'a f64>,
) -> Result<()> {
    let bytes = measured.into_iter().flat_map(|d| d.to_le_bytes()).collect();
    partial.map_or(Ok(()), |p| p.save(bytes))
}

/// Every weight of the network, alone at the nearest integers of every width; goes on from `partial`, which holds
/// the divergences measured so far.
pub(super) fn layers(
    model: &Model,
    measure: &mut Measure,
    partial: Option<&Partial>,
    watch: &mut Watch,
) -> Result<Vec<Layer>> {
    let weights: Vec<String> =
        model.graph.parameters().filter(|p| p.role == Role::Weight).map(|p| p.name).collect();
    let bar = cli::progress(weights.len() * BITS.len(), "measuring");
    let before = partial.map_or(Ok(Vec::new()), Partial::load)?;
    let mut measured: Vec<f64> =
        before.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let mut layers = Vec::new();
    for (i, name) in weights.into_iter().enumerate() {
        let missing = || format!("tensor {name} is missing");
        let array = model.weights.get(&name).with_context(missing)?;
        let all = i * BITS.len()..(i + 1) * BITS.len();
        for (at, bits) in all.clone().zip(BITS) {
            if at < measured.len() {
                bar.skip(1);
                continue;
            }
            let choice = Choice { rows: Rows::Channel, bits, coarser: 0 };
            let mut weights = model.weights.clone();
            weights.insert(name.clone(), Integers::new(array, choice, 0.0)?.array()?);
            measured.push(measure.of(&weights)?.0);
            bar.inc(1);
            watch.between(|| keep(partial, &measured))?;
        }
        layers.push(Layer { name, divergence: measured[all].to_vec() });
    }
    bar.finish_and_clear();
    Ok(layers)
}
