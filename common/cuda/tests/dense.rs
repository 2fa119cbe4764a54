//! Convolutions of all channels, by whichever library makes their products: against candle's own operations in f64,
//! and a state of the CPU engine that goes on on the device.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stderr)] // tests say what they measured

#[allow(dead_code)]
#[path = "../../reference/tests/plain/case.rs"]
mod case;
#[allow(dead_code)] // some of its networks are for others
#[path = "../../reference/tests/plain/sketch.rs"]
mod sketch;
#[path = "../../reference/tests/plain/stock.rs"]
mod stock;

use case::{Case, batch, f64s, off, step};
use cuda::Network;
use executor::{Executor, Rule, Update};
use graph::grid::Grids;
use graph::{Graph, Weights};
use sketch::{on_grids, random_weights, resnet};
use std::cell::RefCell;

fn network(graph: &Graph, weights: &Weights, grids: &Grids, size: usize) -> Network {
    Network::new(graph, weights, grids, size, 0).unwrap()
}

/// Every window that networks have, even and odd channels, as first layer and behind others, with a bias and clamps
/// and without; five pictures and one.
#[test]
fn every_window_equals_f64() {
    let tally = RefCell::new((0, 0));
    let mut seed = 0;
    for window in ["k1", "k1 s2", "k2 s2", "k3 p1", "k3 s2 p1", "k3 s2 same", "k5 p2", "k7 s2 p3"] {
        for (inputs, outputs) in [(3, 8), (16, 12), (7, 5), (1, 9)] {
            for end in ["bias;relu6", "bias;relu", "bias", ";n:bn 99;relu"] {
                let end = end.replace("99", &outputs.to_string());
                let before =
                    if inputs == 3 { String::new() } else { format!("a:conv 3>{inputs} k1;relu;") };
                let text = format!(
                    "input 3;{before}b:conv {inputs}>{outputs} {window} {end};gap;f:linear {outputs}>4 bias"
                );
                let graph: Graph = text.replace(" ;", ";").parse().unwrap();
                seed += 1;
                let weights = &random_weights(&graph, seed);
                let mut cuda = network(&graph, weights, &Grids::new(), 13);
                let case = Case::new(&graph, weights, 13, &tally, seed);
                case.compare(&mut [&mut cuda], &[5, 1], seed);
            }
        }
    }
    let (near, all) = *tally.borrow();
    eprintln!("{seed} networks, {near} of {all} gradients near");
    assert!(all - near <= all / 50, "only {near} of {all} gradients are near");
}

/// Two steps on the CPU, two more on either; then back again.
#[test]
fn a_state_goes_on_on_another_device() {
    let plain = resnet(0.13);
    let plain = (plain.clone(), random_weights(&plain, 1), Grids::new());
    for (graph, weights, grids) in [plain, on_grids(1)] {
        let update = Update { ema: 0.9, weight_decay: 0.1, ..Update::new(Rule::Sgd, 0.01) };
        let mut cpu = engine::Network::new(&graph, &weights, &grids, 24).unwrap();
        let mut cuda = network(&graph, &weights, &grids, 24);
        for k in 0..2 {
            cpu.step(batch(&graph, 4, 24, k), case::LOSS, &update).unwrap();
        }
        let state = cpu.download().unwrap();
        cuda.upload(state.clone()).unwrap();
        assert_eq!(cuda.download().unwrap(), state, "down as it went up");
        assert_eq!(cuda.counting().unwrap(), cpu.counting().unwrap());
        for k in 2..4 {
            let [a, b] = step([&mut cpu, &mut cuda], &batch(&graph, 4, 24, k), &update);
            assert!((a - b).abs() < 1e-4 * a.max(1.0), "{a} {b}");
        }
        let [here, there] = [cpu.download().unwrap(), cuda.download().unwrap()];
        for (a, b) in [
            (&there.variables, &here.variables),
            (&there.average, &here.average),
            (&there.momenta[0], &here.momenta[0]),
        ] {
            assert!(off(a, &f64s(b)) < 2e-3, "{}", off(a, &f64s(b)));
        }
        let (_, there) = cuda.gradient(batch(&graph, 4, 24, 9), case::LOSS).unwrap();
        let (_, here) = cpu.gradient(batch(&graph, 4, 24, 9), case::LOSS).unwrap();
        assert!(off(&there, &f64s(&here)) < 2e-2, "{}", off(&there, &f64s(&here)));
    }
}
