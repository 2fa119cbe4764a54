//! One table: every operation by itself × every device of this build. Logits and gradients against candle's own
//! operations in f64, which share no code with any of them; and how long a pass takes.

#![allow(clippy::print_stderr)] // tests say what they measured

#[path = "../reference/tests/plain/case.rs"]
#[allow(dead_code)] // the other tests use the rest
mod case;
#[path = "reference/devices.rs"]
mod devices;
#[path = "../reference/tests/plain/sketch.rs"]
#[allow(dead_code)]
mod sketch;
#[path = "../reference/tests/plain/stock.rs"]
mod stock;

use candle_core::DType;
use case::{LOSS, batch, f64s, off};
use devices::{DEVICES, model};
use executor::Batch;
use graph::{Graph, Weights};
use sketch::random_weights;
use std::collections::BTreeSet;
use std::time::Instant;

/// What it is, its text behind a convolution of 6 channels, and how many it makes of them.
const OPERATIONS: [(&str, &str, usize); 33] = [
    ("dense convolution", "b:conv 6>7 k3 s2 p1 bias", 7),
    ("pointwise convolution", "b:conv 6>7 k1", 7),
    ("strided pointwise convolution", "b:conv 6>7 k1 s2", 7),
    ("depthwise convolution", "b:conv 6>6 k3 p1 g6", 6),
    ("grouped convolution", "b:conv 6>10 k3 s2 p1 g2 bias", 10),
    ("dense convolution, same", "b:conv 6>7 k3 s2 same bias", 7),
    ("dense convolution, same, on 8 × 8", "b:conv 6>6 k2;c:conv 6>7 k5 s2 same", 7),
    ("depthwise convolution, same", "b:conv 6>6 k5 same g6", 6),
    ("depthwise convolution, same, on 8 × 8", "b:conv 6>6 k2;c:conv 6>6 k5 s2 same g6 bias", 6),
    ("max pool, same, on 8 × 8", "b:conv 6>6 k2;max k3 s2 same", 6),
    ("linear layer on 9 × 9", "b:linear 6>5 k9 bias", 5),
    ("batch norm", "b:bn 6", 6),
    ("batch norm of another epsilon", "b:bn 6 eps0.1", 6),
    ("scale and shift", "b:scale 6", 6),
    ("relu", "relu", 6),
    ("relu6", "relu6", 6),
    ("hardswish", "hardswish", 6),
    ("silu", "silu", 6),
    ("sigmoid", "sigmoid", 6),
    ("hardsigmoid", "hardsigmoid", 6),
    ("max pool", "max k3 s2 p1 ceil", 6),
    ("average pool", "avg k3 s2 p1 ceil", 6),
    ("mean", "gap", 6),
    ("blur of 3 taps", "blur 1,2,1 s2", 6),
    ("blur of 4 taps", "blur 1,3,3,1", 6),
    ("sum", "b:conv 6>6 k1;add @2,1", 6),
    ("product", "b:conv 6>6 k1;mul @2,1", 6),
    ("square", "mul @1,1", 6),
    ("product of single pixels", "gap;b:conv 6>6 k1;mul @2,3", 6),
    ("product with a gate", "gap;b:conv 6>6 k1;mul @1,3", 6),
    ("concatenation", "b:conv 6>4 k1;concat @2,1,2", 14),
    ("split", "split 1..4", 3),
    ("shuffle", "shuffle g3", 6),
];

/// Side of the pictures.
const SIZE: usize = 9;

/// By candle's own operations in f64: logits, by the statistics of the batch, loss, and gradients in the layout of
/// the parameters.
fn expected(graph: &Graph, weights: &Weights) -> (Vec<f64>, f64, Vec<f64>) {
    let Batch { pictures, labels, teacher } = batch(graph, 5, SIZE, 5);
    let pass = |r: &[f32]| stock::pass(graph, weights, &pictures, SIZE, r, DType::F64).unwrap();
    let mut r = vec![0.0; 5 * graph.classes()];
    let (logits, _) = pass(&r);
    let as_f32: Vec<f32> = logits.iter().map(|v| *v as f32).collect();
    let loss = engine::loss::loss(&as_f32, &labels, &teacher, graph.classes(), LOSS, &mut r);
    let (_, by_name) = pass(&r);
    let slots = graph::Layout::of(graph).slots().to_vec();
    let gradient = slots.iter().flat_map(|slot| {
        let zeros = || vec![0.0; slot.range.len()];
        by_name.get(&slot.name).cloned().unwrap_or_else(zeros)
    });
    (logits, loss, gradient.collect())
}

#[test]
fn every_operation_is_right_on_every_device() {
    let mut verbs: BTreeSet<String> = BTreeSet::new();
    for (what, operation, channels) in OPERATIONS {
        let text =
            format!("input 3;a:conv 3>6 k3 p1 bias;{operation};gap;f:linear {channels}>4 bias");
        let graph: Graph = text.parse().unwrap();
        for node in text.split(';') {
            let node = node.split_once(':').map_or(node, |(_, rest)| rest);
            verbs.extend(node.split(' ').next().map(str::to_owned));
        }
        let weights = random_weights(&graph, 5);
        let (logits, loss, gradient) = expected(&graph, &weights);
        // By stored statistics batch norm answers something else: what the CPU does, which PyTorch's numbers prove.
        let mut answers = if operation.contains("bn ") { None } else { Some(logits) };
        let mut told = String::new();
        for device in DEVICES {
            let mut executor =
                device.executor(&model(graph.clone(), weights.clone(), SIZE)).unwrap();
            let batch = batch(&graph, 5, SIZE, 5);
            let answer = executor.logits(&batch.pictures).unwrap();
            let first = executor.gradient(batch.clone(), LOSS).unwrap();
            let began = Instant::now();
            let (found_loss, found) = executor.gradient(batch, LOSS).unwrap();
            let took = 1e6 * began.elapsed().as_secs_f64();
            assert_eq!((found_loss, &found), (first.0, &first.1), "{what} on {device}, twice");
            let e = [
                off(&answer, answers.get_or_insert_with(|| f64s(&answer))),
                off(&found, &gradient),
            ];
            told += &format!(", {device} {:.1e} and {:.1e} in {took:.0} µs", e[0], e[1]);
            let is_near = (found_loss - loss).abs() < 1e-5 && e.iter().all(|e| *e < 1e-5);
            assert!(is_near, "{what} on {device}: off by {e:?}, loss {found_loss}, {loss}");
        }
        eprintln!("{what}, answers and gradients: off by{}", &told[1..]);
    }
    let all: BTreeSet<String> = graph::op::VERBS.iter().map(|v| (*v).to_owned()).collect();
    assert_eq!(verbs, all, "operations without a case");
}
