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
use executor::{Executor, Precision, Rule, Update};
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

/// √Σ(a − b)² relative to √Σb².
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let squares = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>();
    let lacks = squares(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    (lacks / squares(&mut b.iter().map(|b| f64::from(*b)))).sqrt()
}

/// Without maxima and clamps, where a little more or less would send a gradient another way; convolutions of all
/// channels are pointwise behind the first, so the CPU rounds the factors of the same products.
const SMOOTH: &str = "input 3;a:conv 3>24 k3 s2 p1;an:bn 24;b:conv 24>41 k1;bn:bn 41;c:conv 41>41 k3 s2 p1 g41;cn:bn 41;\
                      d:conv 41>64 k1;dn:bn 64;avg k2 s2;e:conv 64>70 k1 bias;gap;f:linear 70>5 bias";

/// Whether the stand-in driver of tools/cuda is what runs, whose products round in a way that is known: factors to the
/// nearest, sums in f64. How tensor cores do is the GPU's affair, so that bounds there are wider.
fn is_stand_in() -> bool {
    std::env::var("STAND_IN").is_ok_and(|v| v == "1")
}

/// Products of bf16 are exact in f32, so both executors differ by the rounding of sums, and where that sends a factor to
/// another bf16: forty times less than either differs from f32 on the stand-in driver. Gradients, and the answers.
#[test]
fn products_of_bf16_are_those_of_the_cpu() {
    let graph: Graph = SMOOTH.parse().unwrap();
    let weights = random_weights(&graph, 3);
    let batch = batch(&graph, 5, 20, 1);
    let cpu = |precision| {
        let cpu = engine::Network::new(&graph, &weights, &Grids::new(), 20).unwrap();
        results(&mut cpu.at(precision), &batch)
    };
    let cuda = |precision| {
        results(&mut network(&graph, &weights, &Grids::new(), 20).at(precision).unwrap(), &batch)
    };
    let rounded = cuda(Precision::Bf16);
    for (what, k) in [("gradients", 0), ("answers", 1)] {
        let same = apart(&rounded[k], &cpu(Precision::Bf16)[k]);
        let plain = apart(&rounded[k], &cuda(Precision::F32)[k]);
        eprintln!("{what}: {same:.1e} from the CPU's, {plain:.1e} from those of f32");
        assert!((2f64.powi(-12)..2f64.powi(-6)).contains(&plain), "{what}: {plain} from f32");
        let most = if is_stand_in() { 40.0 } else { 10.0 };
        assert!(same < plain / most, "{what}: {same} from the CPU");
        // 11 digits, not 8. A GPU may cut them off, or take none of the products that do.
        let cut = apart(&cuda(Precision::Tf32)[k], &cuda(Precision::F32)[k]);
        let within = if is_stand_in() { 1e-6..plain / 4.0 } else { 0.0..plain };
        assert!(within.contains(&cut), "{what}: {cut} from tf32 to f32");
    }
    assert!(cuda(Precision::Bf16) == rounded, "another run, other bytes");
}

/// A gradient, and answers to the batch's pictures.
fn results(executor: &mut dyn Executor, batch: &executor::Batch) -> [Vec<f32>; 2] {
    let (_, gradient) = executor.gradient(batch.clone(), case::LOSS).unwrap();
    [gradient, executor.logits(&batch.pictures).unwrap()]
}

/// A window whose weights are zeros but for the pixel in the middle is a pointwise convolution, whatever factors are
/// rounded to; so are its gradients, and that of the weight in the middle. (Without a clamp before the mean the answers of
/// one would be folded further than those of the other.)
#[test]
fn rounded_patches_are_rounded_pictures() {
    let text = "input 3;a:conv 3>7 k1;b:conv 7>6 k1;c:conv 6>9 k1 bias;relu;gap;f:linear 9>4";
    for precision in [Precision::F32, Precision::Bf16, Precision::Tf32] {
        let graph: Graph = text.parse().unwrap();
        let wide: Graph =
            text.replace("7>6 k1", "7>6 k3 p1").replace("6>9 k1", "6>9 k5 p2").parse().unwrap();
        let weights = random_weights(&graph, 5);
        let mut padded = weights.clone();
        for (name, taps) in [("b.weight", 9), ("c.weight", 25)] {
            let mut zeros = random_weights(&wide, 5)[name].clone();
            zeros.values.fill(0.0);
            for (k, v) in weights[name].values.iter().enumerate() {
                zeros.values[k * taps + taps / 2] = *v;
            }
            padded.insert(name.to_owned(), zeros);
        }
        let batch = batch(&graph, 3, 8, 1);
        let run = |graph: &Graph, weights: &Weights| {
            let mut network = network(graph, weights, &Grids::new(), 8).at(precision).unwrap();
            let [gradient, answers] = results(&mut network, &batch);
            (network.parametrisation().layout().unpack(&gradient).unwrap(), answers)
        };
        let ((narrow, a), (wide, b)) = (run(&graph, &weights), run(&wide, &padded));
        // A GPU may add up the wide one in another order, which may send a factor of the next layer to another bf16, and
        // may make one of both in f32 where tf32 is allowed.
        let most = match precision {
            _ if is_stand_in() => 1e-6,
            Precision::F32 => 1e-5,
            Precision::Bf16 => 1e-4,
            Precision::Tf32 => 2e-3,
        };
        assert!(apart(&a, &b) < most, "{precision}: {}", apart(&a, &b));
        for (name, taps) in [("a.weight", 1), ("b.weight", 9), ("c.weight", 25), ("c.bias", 1)] {
            let middle: Vec<f32> =
                wide[name].values.iter().skip(taps / 2).step_by(taps).copied().collect();
            let off = apart(&middle, &narrow[name].values);
            assert!(off < most, "{precision}, {name}: {off}");
        }
    }
}
