//! What pruning needs of training: L1 on the factors of batch norms, and statistics measured afresh.

use candle_core::Device;
use engine::Network;
use executor::{Batch, Executor, Loss, Rule, Update};
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Array, Graph, Weights};

const SIZE: usize = 4;

fn network() -> (Graph, Weights) {
    let text = "input 3;a:conv 3>4 k3 p1;n:bn 4;relu;b:conv 4>5 k1;m:bn 5;gap;f:linear 5>2 bias";
    let graph: Graph = text.parse().unwrap();
    let mut weights = graph::init::weights(&graph, 1);
    weights.insert("n.weight".into(), Array::new(vec![4], vec![0.5, -0.25, 0.0, 2.0]).unwrap());
    (graph, weights)
}

fn pictures(seed: u64, b: usize) -> Vec<f32> {
    let rng = &mut Rng::new(seed, "pictures", 0);
    (0..b * SIZE * SIZE * 3).map(|_| 2.0 * rng.normal() + 1.0).collect()
}

fn batch() -> Batch {
    let labels = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]].concat();
    Batch { pictures: pictures(1, 3), labels, teacher: Vec::new() }
}

/// By hand: a step of SGD with Nesterov momentum 0.9 moves by 1.9 · lr · gradient at first, so λ moves
/// γ by 1.9 · lr · λ · sign γ more, and nothing else.
#[test]
fn slimming_pulls_factors_to_zero_on_both_executors() {
    let (graph, weights) = network();
    let (lr, lambda) = (0.01, 0.3);
    let after = |slim: f32, on_candle: bool| {
        let update = Update { slim, ..Update::new(Rule::Sgd, lr) };
        let layout = graph::Layout::of(&graph);
        let variables = if on_candle {
            let grids = Grids::new();
            let mut n =
                reference::Network::new(&graph, &weights, &grids, SIZE, &Device::Cpu).unwrap();
            n.step(batch(), Loss::LABELS, &update).unwrap();
            n.counting().unwrap()
        } else {
            let mut n = Network::new(&graph, &weights, &Grids::new(), SIZE).unwrap();
            n.step(batch(), Loss::LABELS, &update).unwrap();
            n.counting().unwrap()
        };
        layout.unpack(&variables).unwrap()
    };
    for on_candle in [false, true] {
        let (with, without) = (after(lambda, on_candle), after(0.0, on_candle));
        for (name, array) in &with {
            let is_gamma = matches!(name.as_str(), "n.weight" | "m.weight");
            for (i, (a, b)) in array.values.iter().zip(&without[name].values).enumerate() {
                let v = weights[name].values[i];
                let sign = if v == 0.0 { 0.0 } else { v.signum() };
                let pull = if is_gamma { 1.9 * lr * lambda * sign } else { 0.0 };
                assert!((b - a - pull).abs() < 1e-6, "{name}[{i}], candle {on_candle}: {b} {a}");
            }
        }
    }
}

/// Statistics become the mean over batches of mean and unbiased variance; of the first batch norm they
/// are those of the convolution, computed here by loops.
#[test]
fn recalibration_averages_over_batches() {
    let (graph, weights) = network();
    let mut network = Network::new(&graph, &weights, &Grids::new(), SIZE).unwrap();
    let batches = [pictures(2, 3), pictures(3, 5), pictures(4, 2)];
    network.recalibrate(&mut batches.iter().cloned()).unwrap();
    let found = graph::Layout::of(&graph).unpack(&network.counting().unwrap()).unwrap();

    let kernel = &weights["a.weight"].values;
    let conv = |x: &[f32], o: usize| -> Vec<f64> {
        let n = SIZE as isize;
        let at = |p: usize, y: isize, x0: isize, c: usize| {
            let inside = (0..n).contains(&y) && (0..n).contains(&x0);
            let i = ((p as isize * n + y) * n + x0) * 3 + c as isize;
            if inside { f64::from(x[i as usize]) } else { 0.0 }
        };
        let mut out = Vec::new();
        for p in 0..x.len() / (SIZE * SIZE * 3) {
            for (y, x0) in (0..n).flat_map(|y| (0..n).map(move |x| (y, x))) {
                let mut sum = 0.0;
                for (c, t) in (0..3).flat_map(|c| (0..9).map(move |t| (c, t))) {
                    let (dy, dx) = (t as isize / 3 - 1, t as isize % 3 - 1);
                    let w = f64::from(kernel[(o * 3 + c) * 9 + t]);
                    sum += w * at(p, y + dy, x0 + dx, c);
                }
                out.push(sum);
            }
        }
        out
    };
    for o in 0..4 {
        let (mut mean, mut variance) = (0.0, 0.0);
        for x in &batches {
            let y = conv(x, o);
            let m = y.iter().sum::<f64>() / y.len() as f64;
            mean += m / 3.0;
            let squares = y.iter().map(|v| (v - m).powi(2)).sum::<f64>();
            variance += squares / (y.len() - 1) as f64 / 3.0;
        }
        let off = |name: &str, expected: f64| (f64::from(found[name].values[o]) - expected).abs();
        assert!(off("n.running_mean", mean) < 1e-5, "channel {o}");
        assert!(off("n.running_var", variance) < 1e-4 * variance, "channel {o}");
    }
    // Nothing else moves.
    for (name, array) in &weights {
        assert!(name.contains("running") || found[name] == *array, "{name}");
    }
}
