//! Each kernel in all its variants (four channels a thread and one, windows with kernels of their own and others, one
//! block and several) against the CPU engine and candle's own operations in f64, on whatever CUDA device there is.

use crate::case::{Case, LOSS, batch, f64s, largest, off, step};
use crate::network;
use crate::sketch::random_weights;
use executor::{Batch, Executor, Rule, Update};
use graph::Graph;
use graph::grid::{Grid, Grids, Scale};
use std::cell::RefCell;

/// What stands between a first convolution with its activation (nodes 1 and 2) and a mean; how many times c channels it
/// leaves.
const PARTS: [(&str, usize); 22] = [
    ("b:conv {c}>{c} k3 p1 g{c}", 1),
    ("b:conv {c}>{c} k3 p1 g{c} bias;n:bn {c};relu6", 1),
    ("b:conv {c}>{c} k3 s2 p1 g{c} bias;relu6;n:bn {c}", 1),
    ("b:conv {c}>{c} k3 s2 same g{c};n:bn {c};relu", 1),
    ("b:conv {c}>{c} k3 g{c} bias;n:bn {c}", 1),
    ("b:conv {c}>{c} k5 p2 g{c};n:bn {c};hardswish", 1),
    ("b:conv {c}>{c} k5 s2 p2 g{c} bias;relu", 1),
    ("b:conv {c}>{c} k5 s2 same g{c};n:bn {c};silu", 1),
    ("b:conv {c}>{c} k4 s3 p1 g{c}", 1),
    ("b:conv {c}>{d} k3 s2 p1 g{c} bias;relu6", 2),
    ("n:bn {c};relu6;max k2 s2", 1),
    ("n:bn {c};relu;max k3 s2 p1", 1),
    ("s:scale {c};relu6;max k3 s2 same", 1),
    ("max k3 s1 p1;max k4 s3", 1),
    ("max k3 s3;max k2 s2 ceil", 1),
    ("avg k2 s2;avg k3 s1 p1", 1),
    ("avg k3 s2 p1;avg k2 s2 ceil", 1),
    ("b:conv {c}>{c} k1;add @2,3;relu6", 1),
    ("b:conv {c}>{c} k1;n:bn {c};add @4,2;relu;max k2 s2", 1),
    ("gap;hardsigmoid;mul @2,4", 1),
    ("b:conv {c}>{c} k1;concat @2,3;shuffle g2;blur 1,2,1 s2", 2),
    ("sigmoid;mul @2,3;blur 1,4,6,4,1", 1),
];

#[test]
fn every_variant_equals_the_others() {
    let tally = RefCell::new((0, 0));
    // Channels of fours and not, more than a block has side by side; pictures of one block and of several.
    for (c, size, batches) in
        [(8, 12, &[5, 1][..]), (7, 11, &[4, 3]), (132, 9, &[3]), (35, 34, &[3])]
    {
        for (part, times) in PARTS {
            let (part, d) = (part.replace("{c}", &c.to_string()), (2 * c).to_string());
            let part = part.replace("{d}", &d);
            let last = times * c;
            let text =
                format!("input 3;a:conv 3>{c} k3 p1;relu6;{part};gap;f:linear {last}>4 bias");
            let graph: Graph = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            let weights = &random_weights(&graph, 3);
            let mut cuda = network(&graph, weights, &Grids::new(), size);
            Case::new(&graph, weights, size, &tally, 3).compare(&mut [&mut cuda], batches, 3);
        }
    }
    let (near, all) = *tally.borrow();
    eprintln!("{near} of {all} gradients near");
    assert!(all - near <= all / 50, "only {near} of {all} gradients are near");
}

/// A mean a thousand times the deviation: sums of squares alone would be off by more than the variance. Both ways to a
/// batch norm's statistics, its own and a depthwise convolution's before it.
#[test]
fn a_large_mean_leaves_the_variance() {
    for (what, part) in [("its own", "n:bn 3"), ("depthwise", "b:conv 3>3 k3 g3;n:bn 3")] {
        let text = format!("input 3;{part};gap;f:linear 3>4 bias");
        let graph: Graph = text.parse().unwrap();
        let mut weights = random_weights(&graph, 1);
        // Of one sign, so that the mean stays as large.
        if let Some(taps) = weights.get_mut("b.weight") {
            taps.values.iter_mut().for_each(|v| *v = v.abs());
        }
        let mut batch = batch(&graph, 6, 20, 1);
        batch.pictures.iter_mut().for_each(|v| *v += 1000.0);
        let mut cpu = engine::Network::new(&graph, &weights, &Grids::new(), 20).unwrap();
        let mut cuda = network(&graph, &weights, &Grids::new(), 20);
        step([&mut cpu, &mut cuda], &batch, &Update::new(Rule::Sgd, 0.0));
        let [cpu, cuda] = [cpu.counting(), cuda.counting()].map(Result::unwrap);
        let layout = graph::Layout::of(&graph);
        for name in ["n.running_mean", "n.running_var"] {
            let slot = layout.slots().iter().find(|s| s.name == name).unwrap().range.clone();
            let e = off(&cuda[slot.clone()], &f64s(&cpu[slot]));
            eprintln!("{what}: {name} off by {e:.1e}");
            assert!(e < 1e-4, "{what}: {name} is off by {e}");
        }
    }
}

/// Biases before batch norms are not added to any value: by statistics of the batch they change nothing but the stored
/// mean, by stored ones they have gradients. SGD, as it makes no more of a gradient that is rounding alone.
#[test]
fn biases_before_batch_norms_are_those_of_the_cpu() {
    let text = "input 3;a:conv 3>8 k3 p1 bias;n:bn 8;relu6;b:conv 8>8 k3 p1 g8 bias;m:bn 8;relu;\
                c:conv 8>7 k1 bias;o:bn 7;max k2 s2;gap;f:linear 7>4 bias";
    let graph: Graph = text.parse().unwrap();
    let weights = random_weights(&graph, 2);
    let mut cpu = engine::Network::new(&graph, &weights, &Grids::new(), 14).unwrap();
    let mut cuda = network(&graph, &weights, &Grids::new(), 14);
    let start = cpu.counting().unwrap();
    for k in 0..4 {
        let update = Update { stored: k % 2 == 1, ..Update::new(Rule::Sgd, 0.1) };
        let [a, b] = step([&mut cpu, &mut cuda], &batch(&graph, 4, 14, k), &update);
        assert!((a - b).abs() < 1e-5 * a.max(1.0), "step {k}: {a} {b}");
    }
    let [cpu, cuda] = [cpu.counting(), cuda.counting()].map(Result::unwrap);
    let mut moved = 0.0;
    for slot in graph::Layout::of(&graph).slots() {
        let e = off(&cuda[slot.range.clone()], &f64s(&cpu[slot.range.clone()]));
        assert!(e < 1e-5, "{} is off by {e}", slot.name);
        if ["a.bias", "b.bias", "c.bias"].contains(&slot.name.as_str()) {
            let change = cpu[slot.range.clone()].iter().zip(&start[slot.range.clone()]);
            moved += largest(change.map(|(a, b)| f64::from(a - b)));
        }
    }
    assert!(moved > 1e-3, "no bias has moved: {moved}");
}

/// What is no number reaches the loss of its picture, through clamps and pools, and no other picture. (Behind a
/// convolution of all channels with a plain ReLU that is so in training alone; see `op/dense.rs`.)
#[test]
fn what_is_no_number_does_not_hide() {
    for part in
        ["relu6;max k2 s2", "hardswish;avg k3 s2 p1", "b:conv 8>8 k3 p1 g8;relu;max k3 s2 p1"]
    {
        let text = format!("input 3;a:conv 3>8 k3 p1;{part};gap;f:linear 8>4 bias");
        let graph: Graph = text.parse().unwrap();
        let weights = random_weights(&graph, 1);
        let Batch { mut pictures, .. } = batch(&graph, 2, 12, 1);
        pictures[12 * 12 * 3 + 12 * 3 * 5 + 3 * 6] = f32::NAN;
        let logits = network(&graph, &weights, &Grids::new(), 12).logits(&pictures).unwrap();
        assert!(logits[..4].iter().all(|v| v.is_finite()), "{part}: {logits:?}");
        assert!(logits[4..].iter().all(|v| v.is_nan()), "{part}: {logits:?}");
        let cpu = engine::Network::new(&graph, &weights, &Grids::new(), 12);
        eprintln!("{part}: the CPU says {:?}", &cpu.unwrap().logits(&pictures).unwrap()[4..]);
    }
}

/// A weight that is no number, on a grid or not, in front of any activation, makes the loss no number.
#[test]
fn weights_that_are_no_number_do_not_hide_in_training() {
    for activation in ["relu", "relu6", "hardswish"] {
        let text = format!("input 3;a:conv 3>8 k3 p1;{activation};gap;f:linear 8>4 bias");
        let graph: Graph = text.parse().unwrap();
        let weights = random_weights(&graph, 1);
        let grid = Grid { bits: 8, scales: vec![Scale::from_code(-100); 8] };
        for grids in [Grids::new(), Grids::from([("a.weight".to_owned(), grid.clone())])] {
            let mut network = network(&graph, &weights, &grids, 12);
            let mut state = network.download().unwrap();
            let slots = network.parametrisation().layout().slots();
            let slot = slots.iter().find(|s| s.name == "a.weight").unwrap().range.clone();
            state.variables[slot.start + 30] = f32::NAN;
            network.upload(state).unwrap();
            let (loss, _) = network.gradient(batch(&graph, 2, 12, 1), LOSS).unwrap();
            assert!(loss.is_nan(), "{activation}, {} on grids: {loss}", grids.len());
        }
    }
}

/// Kernels count in 31 bits: a batch that needs more is refused before anything runs, with the largest that does not.
#[test]
fn a_batch_of_two_to_the_31_values_is_refused() {
    // 2^24 values of a picture behind the convolution.
    let graph: Graph = "input 3;a:conv 3>4096 k1;gap;f:linear 4096>2".parse().unwrap();
    let weights = random_weights(&graph, 1);
    let mut network = network(&graph, &weights, &Grids::new(), 64);
    let refused = network.gradient(batch(&graph, 128, 64, 1), LOSS).unwrap_err().to_string();
    assert!(refused.contains("try --batch 127"), "{refused}");
}

/// A warp takes the classes of a picture in turns: fewer than it has threads, as many, and more.
#[test]
fn losses_of_any_number_of_classes_are_those_of_the_cpu() {
    for classes in [2, 19, 32, 45] {
        let text = format!("input 3;a:conv 3>8 k3 p1;relu;gap;f:linear 8>{classes} bias");
        let graph: Graph = text.parse().unwrap();
        let weights = random_weights(&graph, 1);
        let mut cpu = engine::Network::new(&graph, &weights, &Grids::new(), 6).unwrap();
        let batch = batch(&graph, 5, 6, 1);
        let (loss, expected) = cpu.gradient(batch.clone(), LOSS).unwrap();
        let mut cuda = network(&graph, &weights, &Grids::new(), 6);
        let (found, gradient) = cuda.gradient(batch, LOSS).unwrap();
        assert!((found - loss).abs() < 1e-6 * loss, "{classes} classes: {found}, {loss}");
        let e = off(&gradient, &f64s(&expected));
        assert!(e < 1e-5, "{classes} classes: gradients are off by {e}");
    }
}
