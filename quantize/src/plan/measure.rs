//! What is measured on calibration pictures, and kept when the stage is interrupted.

use anyhow::{Context, Result};
use artifacts::{Images, Model};
use common::cli::{self, Progress};
use common::device::Device;
use common::forward::forward_all;
use common::interrupt::{Partial, Watch};
use common::score;
use executor::{Batch, Executor, Loss, State};
use graph::Weights;
use graph::rng::Rng;
use std::collections::BTreeMap;

/// Answers of the float network on calibration pictures.
pub(super) struct Measure<'a> {
    model: &'a Model,
    images: &'a Images,
    /// The calibration pictures.
    chosen: Vec<usize>,
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

/// Pictures whose gradients are added up before they are squared; their signs are independent, so that the mean
/// of the square is that of the pictures one by one.
const TOGETHER: usize = 4;
/// Draws of signs.
const DRAWS: u64 = 2;

impl<'a> Measure<'a> {
    pub(super) fn new(
        model: &'a Model,
        images: &'a Images,
        pictures: usize,
        device: Device,
    ) -> Result<Self> {
        let (all, count) = (images.len(), pictures.min(images.len()));
        // Spread over all, as pictures are often sorted by class.
        let chosen: Vec<usize> = (0..count).map(|i| i * all / count).collect();
        let executor = device.executor(model)?;
        let (classes, answers) = (Vec::new(), Vec::new());
        let mut measure = Self { model, images, chosen, executor, classes, answers };
        let logits = measure.logits(&model.weights)?;
        measure.classes = logits.chunks(model.classes.len().max(1)).map(score::argmax).collect();
        measure.answers = log_probabilities(&logits, model.classes.len());
        Ok(measure)
    }

    pub(super) fn pictures(&self) -> usize {
        self.chosen.len()
    }

    fn logits(&mut self, weights: &Weights) -> Result<Vec<f32>> {
        let variables = self.executor.parametrisation().variables(weights, &self.model.grids)?;
        self.executor.upload(State { variables, ..State::default() })?;
        let Self { model, .. } = *self;
        let fill = |i: usize, x: &mut [f32]| {
            model.input.normalization.apply(self.images.pixels(self.chosen[i]), x);
            Ok(())
        };
        let (n, floats) = (self.chosen.len(), self.images.preparation.bytes());
        forward_all(&mut *self.executor, n, floats, fill, |_, _| Ok(()))
    }

    /// Of the network with these weights: mean Kullback–Leibler divergence of its answers from the
    /// float network's, in nats, and the share of pictures that get the same class.
    pub(super) fn of(&mut self, weights: &Weights) -> Result<(f64, f64)> {
        let logits = self.logits(weights)?;
        let pictures = self.pictures() as f64;
        let same = score::correct(&logits, &self.classes) as f64 / pictures;
        let answers = log_probabilities(&logits, self.model.classes.len());
        let terms = self.answers.iter().zip(&answers).map(|(p, q)| p.exp() * (p - q));
        Ok((terms.sum::<f64>() / pictures, same))
    }

    /// How fast the answers leave the float network's when a value of this tensor moves: the mean over its values of
    /// ∂²divergence/∂value², nats, by tensor; an error e of every value costs about ½ · curvature · Σ e².
    ///
    /// That is the diagonal of Fisher's information, Jᵀ (diag p − p pᵀ) J over the logits (Martens 2020, "New
    /// insights and perspectives on the natural gradient method"). Its square root times random signs has
    /// it as the mean of its square, so that a backward pass for each draw is enough (Bekas et al. 2007, "An
    /// estimator for the diagonal of a matrix").
    pub(super) fn curvature(&mut self) -> Result<BTreeMap<String, f64>> {
        let model = self.model;
        let weights = &model.weights;
        let (classes, floats) = (model.classes.len(), self.images.preparation.bytes());
        let variables = self.executor.parametrisation().variables(weights, &model.grids)?;
        self.executor.upload(State { variables, ..State::default() })?;
        let mut sums = BTreeMap::<String, f64>::new();
        for draw in 0..DRAWS {
            for (b, chosen) in self.chosen.chunks(TOGETHER).enumerate() {
                let mut pictures = vec![0.0; chosen.len() * floats];
                for (x, i) in pictures.chunks_mut(floats.max(1)).zip(chosen) {
                    model.input.normalization.apply(self.images.pixels(*i), x);
                }
                let rows = self.answers.chunks(classes).skip(b * TOGETHER).take(chosen.len());
                let labels = rows.enumerate().flat_map(|(i, row)| {
                    let mut rng = Rng::new(draw, "curvature", (b * TOGETHER + i) as u64);
                    target(row, || rng.chance(0.5))
                });
                let batch = Batch { labels: labels.collect(), pictures, teacher: Vec::new() };
                let (_, gradient) = self.executor.gradient(batch, Loss::LABELS)?;
                let of = self.executor.parametrisation().layout().unpack(&gradient)?;
                // The loss is a mean over the batch.
                let all = (chosen.len() as f64).powi(2);
                for (name, array) in of {
                    let squares: f64 = array.values.iter().map(|g| f64::from(*g).powi(2)).sum();
                    *sums.entry(name).or_default() +=
                        all * squares / array.values.len().max(1) as f64;
                }
            }
        }
        let passes = (DRAWS as usize * self.pictures()) as f64;
        Ok(sums.into_iter().map(|(name, sum)| (name, sum / passes)).collect())
    }
}

/// Labels `[classes]` at which the gradient of the cross-entropy with respect to the logits, p − labels, is
/// (diag √p − p √pᵀ) · signs.
pub(super) fn target(log_probabilities: &[f64], mut sign: impl FnMut() -> bool) -> Vec<f32> {
    let p: Vec<f64> = log_probabilities.iter().map(|l| l.exp()).collect();
    let signed: Vec<f64> = p.iter().map(|p| if sign() { p.sqrt() } else { -p.sqrt() }).collect();
    let sum: f64 = signed.iter().sum();
    p.iter().zip(signed).map(|(p, s)| (p - (s - p * sum)) as f32).collect()
}

/// Divergences in the order in which they are asked for: what decides it is they alone, so that a stage that was
/// interrupted is given those it had, and measures the rest.
pub(super) struct Log<'a> {
    partial: Option<&'a Partial>,
    pub(super) measured: Vec<f64>,
    at: usize,
    watch: Watch,
    bar: Progress,
}

impl<'a> Log<'a> {
    /// At most `length` measurements.
    pub(super) fn start(partial: Option<&'a Partial>, length: usize) -> Result<Self> {
        let before = partial.map_or(Ok(Vec::new()), Partial::load)?;
        let measured = before.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        let bar = cli::progress(length, "measuring");
        Ok(Self { partial, measured, at: 0, watch: Watch::start()?, bar })
    }

    /// The next: what was kept of it, or `measure`.
    pub(super) fn next(&mut self, measure: impl FnOnce() -> Result<f64>) -> Result<f64> {
        self.at += 1;
        if let Some(known) = self.measured.get(self.at - 1) {
            self.bar.skip(1);
            return Ok(*known);
        }
        self.measured.push(measure()?);
        self.bar.inc(1);
        let (partial, measured) = (self.partial, &self.measured);
        let bytes = || measured.iter().flat_map(|d| d.to_le_bytes()).collect();
        self.watch.between(|| partial.map_or(Ok(()), |p| p.save(bytes())))?;
        measured.last().copied().context("nothing was measured")
    }

    /// The end of the work.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
