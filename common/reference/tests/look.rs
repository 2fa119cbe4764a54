//! A look at single nodes, beside the network as a whole and finite differences.

use executor::Executor;
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Graph, Weights};
use reference::look::{Map, result, slopes};
use reference::{Network, look};

const SIZE: usize = 7;
const CLASSES: usize = 3;

fn network() -> (Graph, Weights) {
    let text = "input 3;a:conv 3>8 k3 p1 bias;silu;b:conv 8>8 k3 s2 p1 g8 bias;sigmoid;c:conv 8>6 k1;add @5,5;gap;\
                f:linear 6>3 bias";
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 4);
    (graph, weights)
}

fn pictures(n: usize) -> Map {
    let mut rng = Rng::new(1, "pictures", 0);
    let values = (0..n * SIZE * SIZE * 3).map(|_| rng.normal()).collect();
    Map { shape: [n, SIZE, SIZE, 3], values }
}

/// The results of all nodes, the last being the logits.
fn walk(graph: &Graph, weights: &Weights, pictures: &Map) -> Vec<Map> {
    let mut results: Vec<Map> = Vec::new();
    for node in graph.nodes() {
        let inputs: Vec<&Map> = node.inputs.iter().map(|j| &results[*j]).collect();
        results.push(result(node, weights, pictures, &inputs).unwrap());
    }
    results
}

#[test]
fn node_by_node_the_answers_are_the_same() {
    let (graph, weights) = network();
    let pictures = pictures(4);
    let results = walk(&graph, &weights, &pictures);
    let cpu = candle_core::Device::Cpu;
    let mut whole = Network::new(&graph, &weights, &Grids::new(), SIZE, &cpu).unwrap();
    assert_eq!(results.last().unwrap().values, whole.logits(&pictures.values).unwrap());
    assert_eq!(results[0], pictures);
    assert_eq!(results[3].shape, [4, 4, 4, 8]);
    let strange = result(&graph.nodes()[1], &Weights::new(), &pictures, &[&pictures]);
    assert!(strange.unwrap_err().to_string().contains("a.weight is missing"));
}

/// A bias moves all numbers of its channel at once, so the sum of their derivatives is the derivative by it.
#[test]
fn slopes_are_those_of_finite_differences() {
    let (graph, weights) = network();
    let pictures = pictures(2);
    let probe: Vec<f32> = (0..2 * CLASSES).map(|i| [0.5, -1.0, 0.8, 0.1, 0.7, -0.4][i]).collect();
    let nodes = [1, 3, 8];
    let found = look::slopes(&graph, &weights, &pictures, &nodes, |_| probe.clone()).unwrap();
    let value = |weights: &Weights| -> f64 {
        let logits = walk(&graph, weights, &pictures).pop().unwrap();
        logits.values.iter().zip(&probe).map(|(l, p)| f64::from(l * p)).sum()
    };
    for (slope, name) in found.iter().zip(["a", "b", "f"]) {
        let channels = slope.shape[3];
        for c in [0, channels - 1] {
            let by = |step: f32| {
                let mut moved = weights.clone();
                moved.get_mut(&format!("{name}.bias")).unwrap().values[c] += step;
                value(&moved)
            };
            let exact = (by(0.02) - by(-0.02)) / 0.04;
            let sum: f64 = slope.values.chunks(channels).map(|place| f64::from(place[c])).sum();
            assert!((sum - exact).abs() < 2e-3 * (1.0 + exact.abs()), "{name} {c}: {sum} {exact}");
        }
    }
    // The probe is made from the logits.
    let logits = walk(&graph, &weights, &pictures).pop().unwrap();
    slopes(&graph, &weights, &pictures, &[1], |l| {
        assert_eq!(l, logits.values);
        l.to_vec()
    })
    .unwrap();
}
