//! Graphs as nobody would write them: texts of random networks with numbers, words and links changed at random.
//! What is still a network runs, and answers what candle's own operations answer; nothing panics.

#![allow(clippy::print_stderr)] // tests say what they measured

#[path = "plain/sketch.rs"]
#[allow(dead_code)] // the other tests use the rest
mod sketch;
#[path = "plain/stock.rs"]
mod stock;

use candle_core::DType;
use engine::Network;
use executor::Executor;
use graph::grid::Grids;
use graph::rng::Rng;
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Op};
use sketch::{random_graph, random_weights};

/// Numbers that meet a limit, or nearly.
const NUMBERS: [usize; 14] = [0, 1, 2, 3, 5, 7, 14, 15, 16, 64, 255, 4096, 1 << 20, usize::MAX];

/// Largest sizes that are run.
const MOST_FLOATS: u64 = 1 << 16;
const MOST_PARAMETERS: usize = 1 << 14;
const MOST_MULTIPLICATIONS: u64 = 1 << 22;

/// `text` with a few changes.
fn mutated(text: &str, rng: &mut Rng) -> String {
    let mut nodes: Vec<String> = text.split(';').map(str::to_owned).collect();
    for _ in 0..=rng.below(3) {
        let at = rng.below(nodes.len());
        match rng.below(5) {
            0 => {
                let other = nodes[rng.below(nodes.len())].clone();
                nodes.insert(at, other);
            }
            1 if nodes.len() > 2 => {
                nodes.remove(at);
            }
            2 => {
                let link = rng.below(nodes.len());
                nodes[at] = format!("{} @{link}", nodes[at]);
            }
            3 => {
                let words = [" ceil", " same", " bias", " s2", " p1", " g1", " k15", " k2"];
                nodes[at] += words[rng.below(words.len())];
            }
            _ => nodes[at] = with_number(&nodes[at], rng),
        }
    }
    nodes.join(";")
}

/// `node` with another number in the place of one of its own: any, or a neighbour.
fn with_number(node: &str, rng: &mut Rng) -> String {
    let ends: Vec<usize> = (0..node.len())
        .filter(|i| node.as_bytes()[*i].is_ascii_digit())
        .filter(|i| !node.as_bytes().get(i + 1).is_some_and(u8::is_ascii_digit))
        .collect();
    if ends.is_empty() {
        return node.to_owned();
    }
    let end = ends[rng.below(ends.len())] + 1;
    let digits = node[..end].bytes().rev().take_while(u8::is_ascii_digit).count();
    let number: usize = node[end - digits..end].parse().unwrap_or(0);
    let other = match rng.below(3) {
        0 => number.saturating_add(1),
        1 => number.saturating_sub(1),
        _ => NUMBERS[rng.below(NUMBERS.len())],
    };
    format!("{}{other}{}", &node[..end - digits], &node[end..])
}

/// The largest difference of the engine's logits from those of candle's own operations in f64, by the
/// statistics of the batch; None where a batch norm sees too few values for them to mean anything.
fn difference(graph: &Graph, size: usize, seed: u64) -> Option<f64> {
    let weights = random_weights(graph, seed);
    let mut network = Network::new(graph, &weights, &Grids::new(), size).unwrap();
    let rng = &mut Rng::new(seed, "pictures", 0);
    let x: Vec<f32> = (0..3 * 3 * size * size).map(|_| rng.normal()).collect();
    assert_eq!(network.logits(&x).unwrap().len(), 3 * graph.classes());
    let logits = network.passes(x.clone(), |y, gradient| {
        gradient.fill(1.0);
        Ok(y.to_vec())
    });
    let logits = logits.unwrap();
    let shapes = graph.shapes(size).unwrap();
    let norms = graph.nodes().iter().zip(&shapes).filter(|(n, _)| matches!(n.op, Op::BatchNorm(_)));
    if norms.into_iter().any(|(_, [h, w, _])| h * w < 4) {
        return None;
    }
    let r = vec![1.0; logits.len()];
    let (expected, _) = stock::pass(graph, &weights, &x, size, &r, DType::F64).unwrap();
    let largest = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let off = logits.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs() / largest);
    Some(off.fold(0.0, f64::max))
}

#[test]
fn what_is_a_network_runs_and_what_is_none_is_refused() {
    let (mut refused, mut large, mut ran, mut compared) = (0, 0, 0, 0);
    let mut worst = (0.0, String::new());
    for seed in 0..2000 {
        let rng = &mut Rng::new(seed, "mutation", 0);
        let size = 3 + rng.below(14);
        let text = mutated(&random_graph(rng, size).to_string(), rng);
        let Ok(graph) = text.parse::<Graph>() else {
            refused += 1;
            continue;
        };
        assert_eq!(graph.to_string().parse::<Graph>().as_ref(), Ok(&graph), "{text}");
        let Ok(schedule) = Schedule::new(&graph, size, Fusing::NONE) else {
            refused += 1;
            continue;
        };
        if schedule.floats() > MOST_FLOATS
            || graph.parameter_count() > MOST_PARAMETERS
            || graph.multiplications(size).unwrap() > MOST_MULTIPLICATIONS
        {
            large += 1;
            continue;
        }
        ran += 1;
        if let Some(off) = difference(&graph, size, seed) {
            compared += 1;
            if off > worst.0 {
                worst = (off, format!("seed {seed}, {size} px: {text}"));
            }
        }
    }
    eprintln!(
        "{refused} refused, {large} too large, {ran} ran, {compared} compared, off by {:.1e} at most: {}",
        worst.0, worst.1
    );
    assert!(ran > 200 && compared > 120 && refused > 500, "{ran} {compared} {refused}");
    assert!(worst.0 < 1e-3, "{worst:?}");
}
