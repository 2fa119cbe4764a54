//! The CUDA executor against the CPU engine and against candle's own operations in f64, on whatever
//! CUDA device there is: a GPU, or the stand-in driver of tools/cuda, which runs the same kernels on the CPU.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stderr)] // tests say what they measured

#[path = "../../reference/tests/plain/case.rs"]
mod case;
mod kernels;
#[path = "../../reference/tests/plain/sketch.rs"]
mod sketch;
#[path = "../../reference/tests/plain/stock.rs"]
mod stock;

use case::{Case, LOSS, batch, f64s, largest, same_statistics, step};
use cuda::Network;
use executor::{Executor, Rule, State, Update};
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Array, Graph, Weights};
use sketch::{on_grids, random_graph, random_weights, resnet};
use std::cell::RefCell;

fn network(graph: &Graph, weights: &Weights, grids: &Grids, size: usize) -> Network {
    Network::new(graph, weights, grids, size, 0).unwrap()
}

fn compare(
    graph: &Graph,
    size: usize,
    batches: &[usize],
    seed: u64,
    tally: &RefCell<(usize, usize)>,
) {
    let weights = &random_weights(graph, seed);
    let mut cuda = network(graph, weights, &Grids::new(), size);
    Case::new(graph, weights, size, tally, seed).compare(&mut [&mut cuda], batches, seed);
}

#[test]
fn random_networks_equal_the_others() {
    let tally = RefCell::new((0, 0));
    let (mut compared, mut seed) = (0, 1000);
    while compared < 60 {
        seed += 1;
        let rng = &mut Rng::new(seed, "graph", 0);
        let size = 5 + rng.below(14);
        let graph = random_graph(rng, size);
        if graph.shapes(size).is_ok() {
            compare(&graph, size, &[4, 1, 6], seed, &tally);
            compared += 1;
        }
    }
    let (near, all) = *tally.borrow();
    eprintln!("{compared} networks, {near} of {all} gradients near");
    assert!(all - near <= all / 50, "only {near} of {all} gradients are near");
}

#[test]
fn real_networks_equal_the_others() {
    let tally = RefCell::new((0, 0));
    let student = graph::families::studentnet([5, 11, 17, 30, 33, 29, 40, 50], 4).unwrap();
    compare(&student, 32, &[6, 3], 1, &tally);
    compare(&resnet(0.13), 40, &[5, 2], 3, &tally);
    let (near, all) = *tally.borrow();
    assert!(all - near <= all / 20, "only {near} of {all} gradients are near");
}

/// All but a hundredth of the values are within 2e-4 of the largest, and none is off by more than `most`.
fn same(what: &str, a: &State, b: &State, most: f64) {
    assert_eq!(a.steps, b.steps);
    for (part, a, b) in [
        ("variables", &a.variables, &b.variables),
        ("average", &a.average, &b.average),
        ("first momenta", &a.momenta[0], &b.momenta[0]),
        ("second momenta", &a.momenta[1], &b.momenta[1]),
    ] {
        assert_eq!(a.len(), b.len(), "{what}: {part}");
        let near = 2e-4 * largest(f64s(b).into_iter()).max(1e-3);
        let off: Vec<f64> =
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect();
        let far = off.iter().filter(|v| **v > near).count();
        let worst = largest(off.iter().copied());
        eprintln!("{what}: {part} off by {worst:.1e}, {far} of {} above {near:.1e}", a.len());
        assert!(far <= a.len() / 100 && worst <= most.max(near), "{what}: {part}");
    }
}

/// Three steps of both optimizers with everything an update can do; six on grids.
#[test]
fn training_is_that_of_the_cpu() {
    // Without biases before batch norms: their gradients are rounding alone, and Adam makes whole steps of it.
    let plain = resnet(0.13);
    for (seed, rule, lr) in [(1, Rule::AdamW, 0.001), (2, Rule::Sgd, 0.01)] {
        let plain = (plain.clone(), random_weights(&plain, seed), Grids::new());
        let (graph, weights, grids) = on_grids(seed);
        for (what, (graph, weights, grids), size, steps, lr) in [
            ("resnet18", plain, 32, 3, lr),
            ("on grids", (graph, weights, grids), 12, 6, 10.0 * lr),
        ] {
            let mut cpu = engine::Network::new(&graph, &weights, &grids, size).unwrap();
            let mut cuda = network(&graph, &weights, &grids, size);
            let start = cpu.counting().unwrap();
            for k in 0..steps {
                let update = Update {
                    weight_decay: 0.1,
                    clip: 0.5,
                    ema: 0.9,
                    settled: k >= 4,
                    // Head and body alike, the head alone, the body slower.
                    body: [1.0, 0.0, 0.5][k as usize % 3],
                    rested: i32::from(k % 3 == 2),
                    stored: k % 2 == 1,
                    slim: 0.01,
                    ..Update::new(rule, lr)
                };
                let batch = batch(&graph, 6, size, seed + k);
                let [a, b] = step([&mut cpu, &mut cuda], &batch, &update);
                assert!((a - b).abs() < 1e-4 * a.max(1.0), "{what}, {rule:?}, step {k}: {a} {b}");
            }
            let state = cuda.download().unwrap();
            // Where a gradient is rounding alone AdamW makes whole steps of it, to either side.
            let most = if rule == Rule::AdamW { 2.0 * f64::from(lr) * steps as f64 } else { 0.0 };
            same(&format!("{what}, {rule:?}"), &state, &cpu.download().unwrap(), most);
            let moved = largest(start.iter().zip(&state.variables).map(|(a, b)| f64::from(a - b)));
            assert!(moved > 1e-3, "nothing was trained");
            let mut other = network(&graph, &weights, &grids, size);
            other.upload(state.clone()).unwrap();
            assert_eq!(other.download().unwrap(), state, "a state goes up as it came down");
        }
    }
}

/// Of equal values the first is the largest, on every executor: where a convolution has no weights all its values are
/// equal, and its gradients say which pixels under a window counted.
#[test]
fn of_equal_values_the_first_is_the_largest() {
    let text = "input 3;a:conv 3>4 k3 p1;max k3 s2 p1;gap;fc:linear 4>3";
    for pool in ["max k3 s2 p1", "max k2 s2", "max k3 s2 same"] {
        let graph: Graph = text.replace("max k3 s2 p1", pool).parse().unwrap();
        let mut weights = random_weights(&graph, 1);
        let none = Array::filled(&weights["a.weight"].shape, 0.0);
        weights.insert("a.weight".to_owned(), none);
        let mut cpu = engine::Network::new(&graph, &weights, &Grids::new(), 12).unwrap();
        let mut cuda = network(&graph, &weights, &Grids::new(), 12);
        step([&mut cpu, &mut cuda], &batch(&graph, 3, 12, 1), &Update::new(Rule::Sgd, 0.1));
        let (cpu, cuda) = (cpu.download().unwrap(), cuda.download().unwrap());
        assert!(largest(f64s(&cpu.momenta[0]).into_iter()) > 1e-3, "{pool}: no gradients");
        same(pool, &cuda, &cpu, 0.0);
    }
}

/// Fresh statistics of batch norms, of three batches.
#[test]
fn statistics_are_those_of_the_cpu() {
    let graph = resnet(0.13);
    let weights = random_weights(&graph, 1);
    let mut cpu = engine::Network::new(&graph, &weights, &Grids::new(), 24).unwrap();
    let mut cuda = network(&graph, &weights, &Grids::new(), 24);
    same_statistics([&mut cuda, &mut cpu]);
}

/// Twice the same: the same bytes. After the first step nothing is allocated on the device.
#[test]
fn steps_repeat_and_allocate_nothing() {
    for (name, graph) in [("studentnet", student()), ("resnet18", resnet(0.2))] {
        let weights = random_weights(&graph, 1);
        let run = || {
            let mut network = network(&graph, &weights, &Grids::new(), 32);
            let update = Update { clip: 1.0, ema: 0.9, ..Update::new(Rule::AdamW, 1e-3) };
            let (mut after_first, mut launches) = (0, 0);
            network.set_losses(0.5).unwrap();
            for step in 0..3 {
                let before = network.launches();
                network.step(batch(&graph, 4, 32, step), LOSS, &update).unwrap();
                launches = network.launches() - before;
                if step == 0 {
                    after_first = network.allocations();
                }
            }
            assert_eq!(network.allocations(), after_first, "a step allocates");
            (network.losses().unwrap(), network.download().unwrap(), launches)
        };
        let first = run();
        eprintln!("{name}: {} launches and products a step", first.2);
        assert!(run() == first, "another run, other bytes");
    }
}

fn student() -> Graph {
    graph::families::studentnet([16, 32, 64, 128, 256, 256, 256, 256], 4).unwrap()
}
