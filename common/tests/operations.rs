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
use case::{LOSS, batch, off};
use devices::{DEVICES, model};
use graph::{Graph, Weights};
use sketch::random_weights;
use std::collections::BTreeSet;
use std::time::Instant;

/// What it is, its text behind a convolution of 6 channels, and how many it makes of them.
const OPERATIONS: [(&str, &str, usize); 26] = [
    ("dense convolution", "b:conv 6>7 k3 s2 p1 bias", 7),
    ("pointwise convolution", "b:conv 6>7 k1", 7),
    ("strided pointwise convolution", "b:conv 6>7 k1 s2", 7),
    ("depthwise convolution", "b:conv 6>6 k3 p1 g6", 6),
    ("grouped convolution", "b:conv 6>10 k3 s2 p1 g2 bias", 10),
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
    ("product with a gate", "gap;b:conv 6>6 k1;mul @1,3", 6),
    ("concatenation", "b:conv 6>4 k1;concat @2,1,2", 14),
    ("split", "split 1..4", 3),
    ("shuffle", "shuffle g3", 6),
];

/// Side of the pictures.
const SIZE: usize = 9;

/// Logits and gradients of Σ loss in f64, in the layout of the parameters.
fn expected(graph: &Graph, weights: &Weights) -> (Vec<f64>, Vec<f64>) {
    let batch = batch(graph, 5, SIZE, 5);
    let zeros = vec![0.0; 5 * graph.classes()];
    let (logits, _) =
        stock::pass(graph, weights, &batch.pictures, SIZE, &zeros, DType::F64).unwrap();
    let as_f32: Vec<f32> = logits.iter().map(|v| *v as f32).collect();
    let mut r = zeros;
    engine::loss::loss(&as_f32, &batch.labels, &batch.teacher, graph.classes(), LOSS, &mut r);
    let (_, by_name) = stock::pass(graph, weights, &batch.pictures, SIZE, &r, DType::F64).unwrap();
    let slots = graph::Layout::of(graph).slots().to_vec();
    let gradient = slots.iter().flat_map(|slot| {
        let zeros = || vec![0.0; slot.range.len()];
        by_name.get(&slot.name).cloned().unwrap_or_else(zeros)
    });
    (logits, gradient.collect())
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
        let (_, gradient) = expected(&graph, &weights);
        let mut told = String::new();
        for device in DEVICES {
            let mut executor =
                device.executor(&model(graph.clone(), weights.clone(), SIZE)).unwrap();
            let batch = batch(&graph, 5, SIZE, 5);
            let (_, found) = executor.gradient(batch.clone(), LOSS, 0.0).unwrap();
            let e = off(&found, &gradient);
            let began = Instant::now();
            executor.gradient(batch, LOSS, 0.0).unwrap();
            told += &format!(", {device} {e:.1e} in {:.0} µs", 1e6 * began.elapsed().as_secs_f64());
            assert!(e < 1e-5, "{what} on {device}: gradients are off by {e}");
        }
        eprintln!("{what}: off by{}", &told[1..]);
    }
    let all: BTreeSet<String> = graph::op::VERBS.iter().map(|v| (*v).to_owned()).collect();
    assert_eq!(verbs, all, "operations without a case");
}

/// Answers, by a network without batch norms: those of all devices are those in f64.
#[test]
fn every_answer_is_right_on_every_device() {
    for (what, operation, channels) in OPERATIONS.iter().filter(|o| !o.1.contains("bn ")) {
        let text =
            format!("input 3;a:conv 3>6 k3 p1 bias;{operation};gap;f:linear {channels}>4 bias");
        let graph: Graph = text.parse().unwrap();
        let weights = random_weights(&graph, 5);
        let (logits, _) = expected(&graph, &weights);
        let pictures = batch(&graph, 5, SIZE, 5).pictures;
        for device in DEVICES {
            let mut executor =
                device.executor(&model(graph.clone(), weights.clone(), SIZE)).unwrap();
            let e = off(&executor.logits(&pictures).unwrap(), &logits);
            assert!(e < 1e-5, "{what} on {device}: answers are off by {e}");
        }
    }
}
