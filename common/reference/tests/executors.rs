//! The engine against two others on networks made at random: the candle executor, whose
//! custom operations share the engine's kernels but not its schedule, fusing, buffers or gradients'
//! bookkeeping; and candle's own operations in f64 (`plain::stock`), which share nothing.

#![allow(clippy::print_stderr)] // tests say what they measured

#[path = "plain/case.rs"]
mod case;
#[path = "plain/sketch.rs"]
mod sketch;
#[path = "plain/stock.rs"]
mod stock;

use candle_core::Device;
use case::{Case, LOSS, batch, f64s, largest, off, pictures, same_statistics, step};
use engine::Network;
use executor::{Executor, Rule, Update};
use graph::Graph;
use graph::grid::Grids;
use graph::rng::Rng;
use sketch::{on_grids, random_graph, random_weights, resnet};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A forward and a backward pass of the engine, batch after batch; then the engine beside the candle executor.
fn compare(
    graph: &Graph,
    size: usize,
    batches: &[usize],
    seed: u64,
    tally: &RefCell<(usize, usize)>,
) {
    let weights = &random_weights(graph, seed);
    let case = Case::new(graph, weights, size, tally, seed);
    let none = Grids::new();
    let mut engine = Network::new(graph, weights, &none, size).unwrap();
    let layout = engine.parametrisation().layout().clone();
    for (k, &b) in batches.iter().enumerate() {
        let x = pictures(b, size, seed, k as u64);
        let rng = &mut Rng::new(seed, "gradient", k as u64);
        let r: Vec<f32> = (0..b * graph.classes()).map(|_| rng.normal()).collect();
        let logits = engine.passes(x.clone(), |y, grad| {
            grad.copy_from_slice(&r);
            Ok(y.to_vec())
        });
        case.check(&x, &r, &logits.unwrap(), &layout.unpack(engine.gradients()).unwrap());
    }
    let mut candle = reference::Network::new(graph, weights, &none, size, &Device::Cpu).unwrap();
    case.compare(&mut [&mut engine, &mut candle], &[5], seed);
}

/// 150 networks: every operation, kernels 1 to 5, strides, paddings, groups, odd sizes, channel counts
/// that no vector divides, batches of 1 and batches that shrink and grow.
#[test]
fn the_engine_equals_the_others_on_random_networks() {
    let mut seen = BTreeMap::<String, usize>::new();
    let tally = RefCell::new((0, 0));
    let (mut compared, mut misfits, mut seed) = (0, 0, 0);
    while compared < 150 {
        seed += 1;
        let rng = &mut Rng::new(seed, "graph", 0);
        let size = 5 + rng.below(14);
        let graph = random_graph(rng, size);
        if graph.shapes(size).is_err() {
            misfits += 1;
            continue;
        }
        compare(&graph, size, &[4, 1, 7, 4], seed, &tally);
        compared += 1;
        for node in graph.nodes() {
            let text = node.op.about().text();
            let verb = text.split(' ').next().unwrap();
            *seen.entry(verb.to_owned()).or_default() += 1;
        }
    }
    let (near, all) = *tally.borrow();
    eprintln!(
        "{compared} networks compared, {misfits} drawn that fit no picture; {near} of {all} gradients \
         near: {seen:?}"
    );
    assert!(all - near <= all / 50, "only {near} of {all} gradients are near");
    assert!(misfits < 30, "{misfits} of {seed} networks fit no picture");
    for &verb in graph::op::VERBS {
        assert!(seen.get(verb).is_some_and(|n| *n >= 5), "{verb} occurs too seldom: {seen:?}");
    }
}

/// The families, at widths that pruning leaves.
#[test]
fn the_engine_equals_the_others_on_real_networks() {
    let tally = RefCell::new((0, 0));
    let student = graph::families::studentnet([5, 11, 17, 30, 33, 29, 40, 50], 4).unwrap();
    compare(&student, 32, &[6, 3], 1, &tally);
    compare(&student, 45, &[3], 2, &tally);
    let resnet = resnet(0.13);
    compare(&resnet, 40, &[5, 2], 3, &tally);
    let (near, all) = *tally.borrow();
    assert!(all - near <= all / 20, "only {near} of {all} gradients are near");
}

/// Trained on grids, both optimizers, clipping and averaging: losses and all
/// variables stay together, and what is stored lies on the grids.
#[test]
fn training_on_grids_is_the_same_on_both() {
    for (seed, rule, lr) in [(1, Rule::AdamW, 0.01), (2, Rule::Sgd, 0.3)] {
        let (graph, weights, grids) = on_grids(seed);
        let mut engine = Network::new(&graph, &weights, &grids, 12).unwrap();
        let mut candle =
            reference::Network::new(&graph, &weights, &grids, 12, &Device::Cpu).unwrap();
        for k in 0..6 {
            let update = Update {
                weight_decay: 0.1,
                clip: 0.5,
                ema: 0.9,
                settled: k >= 4,
                // Head and body alike, the head alone, the body slower.
                body: [1.0, 0.0, 0.5][k as usize % 3],
                rested: i32::from(k % 3 == 2),
                stored: k % 2 == 1,
                ..Update::new(rule, lr)
            };
            let batch = batch(&graph, 6, 12, seed + k);
            let [a, b] = step([&mut engine, &mut candle], &batch, &update);
            assert!((a - b).abs() < 1e-4 * b.max(1.0), "{rule:?}, step {k}: {a} {b}");
        }
        let (a, b) = (engine.download().unwrap(), candle.download().unwrap());
        assert_eq!(a.steps, b.steps);
        for (what, a, b) in [
            ("variables", &a.variables, &b.variables),
            ("average", &a.average, &b.average),
            ("momenta", &a.momenta[0], &b.momenta[0]),
        ] {
            let e = off(a, &f64s(b));
            assert!(e < 2e-4, "{rule:?}: {what} {e}");
        }
        let start = engine.parametrisation().variables(&weights, &grids).unwrap();
        let moved = largest(start.iter().zip(&a.variables).map(|(a, b)| f64::from(a - b)));
        assert!(moved > 1e-3, "nothing was trained");
        let (stored, now) = engine.parametrisation().stored(a.counting()).unwrap();
        for (name, grid) in &now {
            let columns = stored[name].values.len() / grid.scales.len();
            for (row, s) in stored[name].values.chunks(columns).zip(&grid.scales) {
                for v in row {
                    let q = v / s.value();
                    assert!(q == q.round() && q.abs() <= f32::from(graph::grid::top(grid.bits)));
                }
            }
        }
        assert!(now != grids, "scales are learned");
    }
}

/// Fresh statistics of batch norms, of three batches.
#[test]
fn statistics_are_the_same_on_both() {
    let graph = resnet(0.13);
    let weights = random_weights(&graph, 1);
    let mut engine = Network::new(&graph, &weights, &Grids::new(), 24).unwrap();
    let mut candle =
        reference::Network::new(&graph, &weights, &Grids::new(), 24, &Device::Cpu).unwrap();
    same_statistics([&mut engine, &mut candle]);
}

/// The same bits for any number of threads.
#[test]
fn threads_do_not_change_a_bit() {
    let graph = graph::families::studentnet([16, 32, 64, 121, 130, 130, 130, 140], 4).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let weights = random_weights(&graph, 1);
            let mut network = Network::new(&graph, &weights, &Grids::new(), 64).unwrap();
            let batch = batch(&graph, 9, 64, 1);
            let update = Update {
                weight_decay: 0.01,
                clip: 1.0,
                ema: 0.9,
                ..Update::new(Rule::AdamW, 1e-3)
            };
            network.step(batch.clone(), LOSS, &update).unwrap();
            let logits = network.logits(&batch.pictures).unwrap();
            (
                network.losses().unwrap(),
                network.gradients().to_vec(),
                network.download().unwrap(),
                logits,
            )
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(4) == one);
}

/// After the first batch of a size no buffer is added.
#[test]
fn buffers_are_reused() {
    let graph = resnet(0.2);
    let weights = random_weights(&graph, 1);
    let mut network = Network::new(&graph, &weights, &Grids::new(), 40).unwrap();
    let mut step = || {
        network.gradient(batch(&graph, 6, 40, 1), LOSS).unwrap();
        network.bytes()
    };
    let first = step();
    for _ in 0..3 {
        assert_eq!(step(), first);
    }
}

/// What only an engine for answers does: pools behind first layers and pointwise convolutions, with rows and columns
/// that no window covers, depthwise convolutions made where they are read, of any stride and kernel, bands of maps.
#[test]
fn answers_made_tile_by_tile_are_those_of_candle() {
    for (text, size) in [
        (
            "input 3;conv 3>6 k3 p1 bias;relu6;max k2 s2;conv 6>6 k5 s2 p2 g6 bias;relu;conv 6>9 k1 bias;max k3 s3",
            67,
        ),
        (
            "input 3;conv 3>40 k7 s2 p3 bias;max k2 s2;conv 40>40 k3 p1 g40 bias;relu6;conv 40>33 k1 bias;max k2 s2",
            91,
        ),
        (
            "input 3;conv 3>3 k3 p1 g3 bias;conv 3>8 k1 bias;conv 8>8 k3 p1 g8;relu;conv 8>1 k1;conv 1>4 k3 s3",
            131,
        ),
        (
            "input 3;conv 3>14 k3 bias;relu;max k2 s2;conv 14>14 k3 s2 g14;conv 14>70 k1;relu6;max k2 s2",
            40,
        ),
    ] {
        let last = text.rsplit('>').next().and_then(|t| t.split(' ').next()).unwrap();
        let named = |(i, op): (usize, &str)| match op.starts_with("conv") {
            true => format!("n{i}:{op};"),
            false => format!("{op};"),
        };
        let body: String = text.split(';').enumerate().map(named).collect();
        let graph: Graph = format!("{body}gap;fc:linear {last}>4 bias").parse().unwrap();
        let weights = graph::init::weights(&graph, 5);
        let rng = &mut Rng::new(7, "pictures", 0);
        let x: Vec<f32> = (0..3 * 3 * size * size).map(|_| rng.normal()).collect();
        let cpu = candle_core::Device::Cpu;
        let mut plain =
            reference::Network::new(&graph, &weights, &Grids::new(), size, &cpu).unwrap();
        let mut engine = engine::Network::new(&graph, &weights, &Grids::new(), size).unwrap();
        let (ours, theirs) = (engine.logits(&x).unwrap(), plain.logits(&x).unwrap());
        let most = theirs.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 1e-5 * most, "{text}: {a} {b}");
        }
    }
}
