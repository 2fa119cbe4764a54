//! The engine against the reference: candle's tensors and autograd, on networks made at random.

use common::codec::Grids;
use common::graph::{Graph, Op, Weights};
use common::model::{Input, Model};
use common::nets;
use common::network::{Inference, Training, reference};
use common::photos::{Fit, Preparation};
use common::rng::Rng;
use common::view::Normalization;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A random network for pictures of `size`: convolutions of every kind in every order with batch norms,
/// activations, pools and residual sums between them.
fn random_graph(rng: &mut Rng, size: usize) -> Graph {
    let mut text = String::from("input 3");
    let (mut channels, mut side, mut last) = (3, size, 0);
    for layer in 0..3 + rng.below(5) {
        let start = last;
        let node = |text: &mut String, last: &mut usize, what: String| {
            write!(text, ";{what}").unwrap();
            *last += 1;
        };
        let (before, before_side) = (channels, side);
        let kernel = [1, 1, 2, 3, 5][rng.below(5)].min(side);
        let (stride, padding) = (1 + rng.below(2), rng.below(kernel));
        let (kernel, stride, padding) = if rng.chance(0.4) {
            (3.min(side), 1, 3.min(side) / 2)
        } else {
            (kernel, stride, padding)
        };
        let groups = [1, 1, channels, 2][rng.below(4)];
        let groups = if channels % groups == 0 { groups } else { 1 };
        let out = if rng.chance(0.5) && groups == channels {
            channels
        } else {
            groups * (1 + rng.below(20 / groups + 1))
        };
        let bias = if rng.chance(0.5) { " bias" } else { "" };
        node(
            &mut text,
            &mut last,
            format!(
                "c{layer}:conv {channels}>{out} k{kernel} s{stride} p{padding} g{groups}{bias}"
            ),
        );
        (channels, side) = (out, (side + 2 * padding - kernel) / stride + 1);
        if rng.chance(0.7) {
            node(&mut text, &mut last, format!("n{layer}:bn {channels}"));
        }
        if rng.chance(0.3) && channels == before && side == before_side && start > 0 {
            let here = last;
            node(&mut text, &mut last, format!("add @{here},{start}"));
        }
        if rng.chance(0.8) {
            node(&mut text, &mut last, ["relu", "relu6"][rng.below(2)].to_owned());
        }
        if rng.chance(0.4) && side > 3 {
            let (k, s, p) = [(2, 2, 0), (3, 2, 1), (3, 3, 0), (2, 1, 0)][rng.below(4)];
            node(&mut text, &mut last, format!("max k{k} s{s} p{p}"));
            side = (side + 2 * p - k) / s + 1;
        }
    }
    write!(text, ";gap;f:linear {channels}>4 bias").unwrap();
    text.parse().unwrap_or_else(|e| panic!("{text}: {e:#}"))
}

fn random_weights(graph: &Graph, seed: u64) -> Weights {
    let mut weights = nets::initial_weights(graph, seed);
    for (name, a) in &mut weights {
        let rng = &mut Rng::new(seed, name, 0);
        if name.ends_with("running_var") {
            a.values.fill_with(|| rng.between(0.5, 2.0));
        } else if a.shape.len() == 1 {
            a.values.fill_with(|| rng.between(-1.0, 1.0));
        }
    }
    weights
}

fn model(graph: Graph, weights: Weights, size: usize) -> Model {
    let preparation = Preparation { size, fit: Fit::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Grids::new() }
}

/// Largest difference, relative to the largest value.
fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max)
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |m, v| m.max(v.abs()))
}

/// Whether this is the bias of a convolution whose batch norm takes the mean away again.
fn is_cancelled(graph: &Graph, name: &str) -> bool {
    let readers = graph.readers();
    graph.nodes().iter().enumerate().any(|(i, node)| {
        let is_norm = |r: &usize| matches!(graph.nodes()[*r].op, Op::BatchNorm { .. });
        name == format!("{}.bias", node.name)
            && matches!(node.op, Op::Conv { .. })
            && readers[i].iter().all(is_norm)
    })
}

fn gradients(training: &mut Training) -> BTreeMap<String, Vec<f32>> {
    let mut found = BTreeMap::new();
    training.update(|name, _, gradient| {
        found.insert(name.to_owned(), gradient.to_vec());
    });
    found
}

/// One training pass of the engine, batch after batch, against the reference; then evaluation.
fn compare(graph: &Graph, size: usize, batches: &[usize], seed: u64) {
    let at = format!("seed {seed}, {size} px: {graph}");
    let m = model(graph.clone(), random_weights(graph, seed), size);
    let mut training = Training::new(&m).unwrap();
    for (k, &b) in batches.iter().enumerate() {
        let rng = &mut Rng::new(seed, "pictures", k as u64);
        let x: Vec<f32> = (0..b * 3 * size * size).map(|_| rng.normal()).collect();
        let grad: Vec<f32> = (0..b * graph.classes()).map(|_| rng.normal()).collect();
        let expected = reference::pass(graph, &m.weights, x.clone(), size, &grad).unwrap();
        let before = training.weights();
        let y: Vec<f32> =
            training.forward(x.clone()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(off(&y, &expected.logits) < 1e-4, "logits {} {at}", off(&y, &expected.logits));
        training.backward(&grad, 0.0).unwrap();
        let found = gradients(&mut training);
        // What a batch norm takes away again, shifts and scales, has a gradient of zero but for the rounding
        // of sums as large as the others.
        let all = largest(found.values().flatten().copied());
        for (name, g) in &expected.gradients {
            if name.contains("running") {
                continue;
            }
            let difference = largest(found[name].iter().zip(g).map(|(a, b)| a - b));
            // Few values under a batch norm: small deviations, which it divides by.
            let few = expected.moments.values().any(|m| m.count < 8);
            let rounding = match (is_cancelled(graph, name), few) {
                (true, _) => 5e-3,
                (_, true) => 1e-3,
                _ => 1e-4,
            };
            let tolerance = 1e-3 * largest(g.iter().copied()) + rounding * all;
            assert!(difference <= tolerance, "{name} {difference} > {tolerance} {at}");
        }
        let after = training.weights();
        for (name, m) in &expected.moments {
            let buffer = |w: &Weights, end: &str| w[&format!("{name}.{end}")].values.clone();
            let mean: Vec<f32> = buffer(&before, "running_mean")
                .iter()
                .zip(&m.mean)
                .map(|(b, m)| 0.9 * b + 0.1 * m)
                .collect();
            assert!(off(&buffer(&after, "running_mean"), &mean) < 1e-4, "{name} {at}");
            let unbiased = m.count as f32 / (m.count.max(2) - 1) as f32;
            let var: Vec<f32> = buffer(&before, "running_var")
                .iter()
                .zip(&m.variance)
                .map(|(b, v)| 0.9 * b + 0.1 * v * unbiased)
                .collect();
            assert!(off(&buffer(&after, "running_var"), &var) < 1e-4, "{name} {at}");
        }
        let network = Inference::new(&m).unwrap();
        let expected = reference::logits(graph, &m.weights, x.clone(), size).unwrap();
        let y = network.logits(&x).unwrap();
        assert!(off(&y, &expected) < 1e-4, "evaluation {} {at}", off(&y, &expected));
    }
}

/// 150 networks: kernels 1 to 5, strides, paddings, groups, odd sizes, channel counts that no vector
/// divides, batches of 1 and batches that shrink and grow.
#[test]
fn engine_equals_reference_on_random_networks() {
    for seed in 0..150 {
        let rng = &mut Rng::new(seed, "graph", 0);
        let size = 5 + rng.below(14);
        let graph = random_graph(rng, size);
        if graph.shapes(size).is_ok() {
            compare(&graph, size, &[4, 1, 7, 4], seed);
        }
    }
}

/// The families, at widths that pruning leaves.
#[test]
fn engine_equals_reference_on_real_networks() {
    let student = nets::studentnet([5, 11, 17, 30, 33, 29, 40, 50], 4).unwrap();
    compare(&student, 32, &[6, 3], 1);
    compare(&student, 45, &[3], 2);
    let resnet = nets::Arch::Resnet18.build(0.13, 4).unwrap();
    compare(&resnet, 40, &[5, 2], 3);
    // Folded networks are trained too, on grids.
    let folded = model(student.clone(), random_weights(&student, 4), 32).folded().unwrap();
    compare(&folded.graph, 32, &[4], 5);
}

/// The same bits for any number of threads.
#[test]
fn threads_do_not_change_a_bit() {
    let graph = nets::studentnet([16, 32, 64, 121, 130, 130, 130, 140], 4).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let m = model(graph.clone(), random_weights(&graph, 1), 64);
            let mut training = Training::new(&m).unwrap();
            let rng = &mut Rng::new(1, "pictures", 0);
            let x: Vec<f32> = (0..9 * 3 * 64 * 64).map(|_| rng.normal()).collect();
            let y: Vec<f32> =
                training.forward(x.clone()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            training.backward(&y, 0.0).unwrap();
            let logits = Inference::new(&m).unwrap().logits(&x).unwrap();
            (y, gradients(&mut training), training.weights(), logits)
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(4) == one);
}

/// After the first batch of a size no buffer is added.
#[test]
fn buffers_are_reused() {
    let graph = nets::Arch::Resnet18.build(0.2, 4).unwrap();
    let m = model(graph.clone(), random_weights(&graph, 1), 40);
    let mut training = Training::new(&m).unwrap();
    let step = |training: &mut Training| {
        training.forward(vec![0.5; 6 * 3 * 40 * 40]).unwrap();
        training.backward(&[0.1; 6 * 4], 0.0).unwrap();
        training.bytes()
    };
    let first = step(&mut training);
    for _ in 0..3 {
        assert_eq!(step(&mut training), first);
    }
}
