//! How a network gets into a budget of bytes.

use artifacts::plan::{Plan, round_to_budget};
use artifacts::{Framing, Input, Model, Preparation, Provenance};
use codec::{Quantized, Rows, Spec, uniform_choices};
use graph::Graph;
use graph::grid::Grids;
use views::{FixedViews, Normalization};

fn model() -> Model {
    let text = "input 3;a:conv 3>64 k3 p1 bias;relu;gap;f:linear 64>10 bias";
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size: 8, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..10).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

/// Nearest where that fits, else the lowest price of a bit that does: a five-hundredth less does not.
#[test]
fn bits_cost_no_more_than_the_budget_asks() {
    let m = model();
    let choices = uniform_choices(&m.graph, Rows::Channel, 5);
    let grids = Quantized::new(&m.graph, &m.weights, &choices).unwrap().grids();
    let at = |price: f32| {
        let quantized = Quantized::on(&m.graph, &m.weights, &grids, price).unwrap();
        let bytes = m.coded_bytes(&quantized).unwrap();
        (quantized, bytes)
    };
    let (nearest, bytes) = at(0.0);
    assert_eq!(round_to_budget(&m, &m.weights, &grids, bytes).unwrap(), (nearest, 0.0));
    for less in [1, 50, 300] {
        let (found, price) = round_to_budget(&m, &m.weights, &grids, bytes - less).unwrap();
        assert!(price > 0.0 && found == at(price).0, "{less}: {price}");
        assert!(at(price).1 <= bytes - less, "{less}: {price} gives {}", at(price).1);
        assert!(at(0.998 * price).1 > bytes - less, "{less}: less than {price} would do");
    }
}

#[test]
fn a_budget_that_no_price_reaches_is_refused() {
    let m = model();
    let choices = uniform_choices(&m.graph, Rows::Channel, 5);
    let grids = Quantized::new(&m.graph, &m.weights, &choices).unwrap().grids();
    let told = round_to_budget(&m, &m.weights, &grids, 10).unwrap_err().to_string();
    let dearest = Quantized::on(&m.graph, &m.weights, &grids, 1000.0).unwrap();
    let least = m.coded_bytes(&dearest).unwrap();
    assert!(told.contains(&format!("at least {least} bytes, the budget is 10")), "{told}");
}

/// Of a network so large that no file holds it at the dearest price, all of it being zero: budgets are met as well, and
/// what is too small is told with the least that a file of so many weights takes, a byte for 256.
#[test]
fn large_networks_keep_to_a_budget_too() {
    let mut m = model();
    m.graph =
        "input 3;a:conv 3>64 k3;relu;b:conv 64>512 k3;gap;f:linear 512>11 bias".parse().unwrap();
    m.weights = graph::init::weights(&m.graph, 1);
    m.classes.push("10".to_owned());
    let choices = uniform_choices(&m.graph, Rows::Tensor, 4);
    let grids = Quantized::new(&m.graph, &m.weights, &choices).unwrap().grids();
    let at = |price| Quantized::on(&m.graph, &m.weights, &grids, price).unwrap();
    assert!(at(1000.0).encode(&m.graph).is_err(), "too small to show anything");
    let least = m.coded_bytes(&at(1000.0)).unwrap();
    assert!(least > m.graph.parameter_count() / 256, "{least}");
    let nearest = m.coded_bytes(&at(0.0)).unwrap();
    for budget in [nearest - nearest / 1000, nearest / 2] {
        let (rounded, _) = round_to_budget(&m, &m.weights, &grids, budget).unwrap();
        let bytes = m.coded_bytes(&rounded).unwrap();
        assert!(bytes <= budget && bytes > budget - budget / 500, "{bytes} of {budget}");
    }
    let told = round_to_budget(&m, &m.weights, &grids, 100).unwrap_err().to_string();
    assert!(told.contains(&format!("at least {least} bytes, the budget is 100")), "{told}");
}

#[test]
fn bits_alone_mean_half_precision_or_grids() {
    let m = model();
    let coding = |bits| m.with_bits(bits).map(|(spec, _)| spec);
    assert_eq!(coding(16).unwrap(), Spec::Half);
    for bits in 2..=8 {
        assert_eq!(coding(bits).unwrap(), Spec::Grids, "{bits}");
    }
    for bits in [0, 1, 9, 15, 17] {
        assert!(coding(bits).unwrap_err().to_string().contains("expected 2 to 8, or 16"), "{bits}");
    }
    // Entropy-coded they take less than as 256 packed levels a channel.
    let affine = codec::encode(&m.graph, Spec::Affine(8), &m.weights).unwrap();
    assert!(m.with_bits(8).unwrap().1.len() < affine.len());
}

/// A plan that holds the rounded network gives back these integers and their grids, from disk, too; one that holds
/// none rounds to the nearest at its price.
#[test]
fn a_plan_may_hold_the_rounded_network() {
    let m = model();
    let choices = uniform_choices(&m.graph, Rows::Channel, 4);
    let mut rounded = Quantized::new(&m.graph, &m.weights, &choices).unwrap();
    let moved = rounded.0.get_mut("a.weight").unwrap();
    moved.codes.iter_mut().for_each(|q| *q = -*q);
    let payload = rounded.encode(&m.graph).unwrap();
    let plain = Plan {
        budget: 9000,
        bytes: 1,
        lambda: 0.1,
        choices: uniform_choices(&m.graph, Rows::Channel, 5),
        payload: Vec::new(),
        sensitivity: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.safetensors");
    let provenance = Provenance::new("test", &()).unwrap();
    for plan in [plain.clone(), Plan { payload, ..plain.clone() }] {
        plan.save(&path, &provenance).unwrap();
        assert_eq!(Plan::load(&path).unwrap().0, plan);
    }
    let found = Plan::load(&path).unwrap().0;
    assert_eq!(found.quantized(&m).unwrap(), rounded);
    let choices = uniform_choices(&m.graph, Rows::Channel, 5);
    let grids = Quantized::new(&m.graph, &m.weights, &choices).unwrap().grids();
    let nearest = Quantized::on(&m.graph, &m.weights, &grids, 0.1).unwrap();
    assert!(plain.quantized(&m).unwrap() == nearest && nearest.grids() == grids);
    // Of another network.
    let mut other = model();
    other.graph = "input 3;a:conv 3>64 k3 p1 bias;relu;gap;f:linear 64>11 bias".parse().unwrap();
    assert!(found.quantized(&other).is_err());
}
