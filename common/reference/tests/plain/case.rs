//! What executors are compared by: pictures, batches, and candle's own operations in f64.

use crate::stock;
use candle_core::DType;
use executor::{Batch, Executor, Loss, Update};
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Graph, Op, Weights};
use std::cell::RefCell;

/// Largest difference, relative to the largest value.
pub(crate) fn off(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).abs() / largest).fold(0.0, f64::max)
}

pub(crate) fn f64s(v: &[f32]) -> Vec<f64> {
    v.iter().map(|x| f64::from(*x)).collect()
}

pub(crate) fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |m, v| m.max(v.abs()))
}

pub(crate) fn pictures(b: usize, size: usize, seed: u64, k: u64) -> Vec<f32> {
    let rng = &mut Rng::new(seed, "pictures", k);
    (0..b * 3 * size * size).map(|_| rng.normal()).collect()
}

pub(crate) fn batch(graph: &Graph, b: usize, size: usize, seed: u64) -> Batch {
    let rng = &mut Rng::new(seed, "targets", 0);
    let n = b * graph.classes();
    let mut labels = vec![0.0; n];
    (0..b).for_each(|i| labels[i * graph.classes() + rng.below(graph.classes())] = 1.0);
    let teacher = (0..n).map(|_| rng.normal()).collect();
    Batch { pictures: pictures(b, size, seed, 9), labels, teacher }
}

pub(crate) const LOSS: Loss = Loss { alpha: 0.7, temperature: 2.0 };

/// Losses of a step of each of two.
pub(crate) fn step(both: [&mut dyn Executor; 2], batch: &Batch, update: &Update) -> [f64; 2] {
    both.map(|executor| {
        executor.set_losses(0.0).unwrap();
        executor.step(batch.clone(), LOSS, update).unwrap();
        executor.losses().unwrap()
    })
}

/// Fresh statistics of batch norms, of three batches of pictures of 24 px, by each of two that begin with the same
/// variables.
pub(crate) fn same_statistics([a, b]: [&mut dyn Executor; 2]) {
    let start = a.counting().unwrap();
    let [a, b] = [a, b].map(|executor| {
        executor.recalibrate(&mut (0..3).map(|k| pictures(4, 24, 1, k))).unwrap();
        executor.counting().unwrap()
    });
    assert!(off(&a, &f64s(&b)) < 1e-5, "{}", off(&a, &f64s(&b)));
    assert_ne!(a, start);
}

/// A network whose passes are compared.
pub(crate) struct Case<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a Weights,
    pub(crate) size: usize,
    /// Pixels of the smallest picture that a batch norm sees.
    pub(crate) fewest: usize,
    /// Gradients that were near, and all.
    pub(crate) tally: &'a RefCell<(usize, usize)>,
    pub(crate) at: String,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        weights: &'a Weights,
        size: usize,
        tally: &'a RefCell<(usize, usize)>,
        seed: u64,
    ) -> Self {
        let at = format!("seed {seed}, {size} px: {graph}");
        let shapes = graph.shapes(size).unwrap();
        let nodes = graph.nodes().iter().zip(shapes);
        let norms = nodes.filter(|(n, _)| matches!(n.op, Op::BatchNorm(_)));
        let fewest = norms.map(|(_, [h, w, _])| h * w).min().unwrap_or(1_000_000);
        Self { graph, weights, size, fewest, tally, at }
    }

    /// Executors against the engine: loss, gradients and answers, with batches that shrink and grow.
    pub(crate) fn compare(&self, others: &mut [&mut dyn Executor], batches: &[usize], seed: u64) {
        let Self { graph, weights, size, at, .. } = self;
        let mut engine = engine::Network::new(graph, weights, &Grids::new(), *size).unwrap();
        let layout = engine.parametrisation().layout().clone();
        for &b in batches {
            let batch = batch(graph, b, *size, seed + b as u64);
            let (mut logits, mut r, mut loss) = (Vec::new(), Vec::new(), 0.0);
            let pass = engine.passes(batch.pictures.clone(), |y, grad| {
                let Batch { labels, teacher, .. } = &batch;
                loss = engine::loss::loss(y, labels, teacher, graph.classes(), LOSS, grad);
                (logits, r) = (y.to_vec(), grad.to_vec());
                Ok(())
            });
            pass.unwrap();
            for other in &mut *others {
                let (found, gradient) = other.gradient(batch.clone(), LOSS).unwrap();
                assert!((loss - found).abs() < 1e-4 * loss.max(1.0), "loss {found}, {loss} {at}");
                self.check(&batch.pictures, &r, &logits, &layout.unpack(&gradient).unwrap());
            }
        }
        let x = pictures(3, *size, seed, 7);
        let answers = f64s(&engine.logits(&x).unwrap());
        for other in others {
            let e = off(&other.logits(&x).unwrap(), &answers);
            assert!(e < 1e-4, "answers {e} {at}");
        }
    }

    /// Compares `found`, the gradients of Σ logits · `r`, and the logits with candle's own operations.
    ///
    /// A gradient is near if it is within 1e-4 of the network's largest, of its own largest, or within
    /// ten times what candle's own operations are off in f32. Not all can be: what a batch norm takes
    /// away again has a gradient of rounding alone, where a channel is all but constant it divides by
    /// nearly nothing, and an activation at a bound or one of two equal maxima may fall to either side.
    /// But none may be off by more than a fiftieth of the network's largest, if every batch norm sees at
    /// least eight values.
    pub(crate) fn check(&self, x: &[f32], r: &[f32], logits: &[f32], found: &Weights) {
        let Self { graph, weights, size, at, fewest, .. } = self;
        let stock = |dtype| stock::pass(graph, weights, x, *size, r, dtype).unwrap();
        let (expected, gradients) = stock(DType::F64);
        let e = off(logits, &expected);
        assert!(e < 1e-4, "logits {e} {at}");
        let values = fewest * r.len() / graph.classes();
        if values == 1 {
            // A batch norm of a single value: the gradient before it is rounding alone, 1/√ε as large.
            return;
        }
        let all = largest(gradients.values().flatten().copied());
        let (_, rounded) = stock(DType::F32);
        let rounding =
            |name: &str| largest(rounded[name].iter().zip(&gradients[name]).map(|(a, b)| a - b));
        let anywhere = largest(gradients.keys().map(|n| rounding(n)));
        for (name, g) in &gradients {
            let difference =
                largest(found[name].values.iter().zip(g).map(|(a, b)| f64::from(*a) - b));
            let near = 1e-4 * (all + largest(g.iter().copied())) + 10.0 * rounding(name) + anywhere;
            let most = 0.02 * all + near;
            assert!(difference <= most || values < 8, "{name} {difference} > {most} {at}");
            let mut tally = self.tally.borrow_mut();
            tally.1 += 1;
            tally.0 += usize::from(difference <= near);
        }
    }
}
