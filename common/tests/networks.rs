//! Networks as data: counts, shapes, folding, channel groups, and their outputs against PyTorch.

use common::device::Device;
use executor::{Batch, Executor, Loss, Rule, Update};
use graph::families::{self, Knobs, resnet18, studentnet};
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Array, Graph, Weights};
use std::collections::BTreeMap;

const WIDTHS: [usize; 8] = [16, 32, 64, 128, 256, 256, 256, 256];

#[path = "reference/devices.rs"]
mod devices;
use devices::{DEVICES, model};

/// Weights with every tensor random, batch-norm statistics included.
fn random(graph: &Graph, seed: u64) -> Weights {
    let mut weights = graph::init::weights(graph, seed);
    for (name, array) in &mut weights {
        if array.shape.len() == 1 {
            let rng = &mut Rng::new(seed, name, 1);
            let (lo, hi) = if name.ends_with("running_var") { (0.5, 2.0) } else { (-0.5, 1.0) };
            array.values.fill_with(|| rng.between(lo, hi));
        }
    }
    weights
}

fn picture(size: usize, seed: u64) -> Vec<f32> {
    let rng = &mut Rng::new(seed, "picture", 0);
    (0..2 * 3 * size * size).map(|_| rng.normal()).collect()
}

fn logits(graph: Graph, weights: Weights, size: usize) -> Vec<f32> {
    Device::Cpu.executor(&model(graph, weights, size)).unwrap().logits(&picture(size, 1)).unwrap()
}

fn family(name: &str, width: f32, classes: usize) -> Graph {
    families::find(name).unwrap().build(&Knobs { width, ..Knobs::standard(classes) }).unwrap()
}

/// One network of every family, and some with the operations that none has yet.
fn every_network() -> Vec<(String, Graph, usize)> {
    let mut all: Vec<(String, Graph, usize)> =
        families::ALL.iter().map(|f| (f.name.to_owned(), family(f.name, 0.25, 7), 32)).collect();
    all.extend(OPERATIONS.iter().map(|t| (t.name.to_owned(), t.graph.parse().unwrap(), t.size)));
    all
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    let scale = b.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance * scale, "{what}: {x} instead of {y}");
    }
    assert_eq!(a.len(), b.len(), "{what}");
}

/// The course's numbers: torchvision's ResNet-18 with 11 classes; the tutorial's student at full
/// width and after its pruning steps ×0.95 and ×0.9 (students' reports print these tables); 118.4 M
/// multiplications at 256 px.
#[test]
fn counts_equal_the_course() {
    let count = |g: Graph| g.parameter_count();
    assert_eq!(count(family("resnet18", 1.0, 11)), 11_182_155);
    let student = family("studentnet", 1.0, 11);
    assert_eq!(student.parameter_count(), 256_779);
    let macs = student.multiplications(256).unwrap() as f64;
    assert!((macs / 1e6 - 118.4).abs() < 0.05, "{macs}");
    let pruned = |m: f64| {
        let mut widths = WIDTHS;
        widths[3..7].iter_mut().for_each(|w| *w = (*w as f64 * m) as usize);
        count(studentnet(widths, 11).unwrap())
    };
    for (m, n) in [(0.95, 236_066), (0.9025, 217_850), (0.857_375, 200_354), (0.9, 216_518)] {
        assert_eq!(pruned(m), n, "width × {m}");
    }
}

#[test]
fn shapes_follow_the_windows() {
    let shapes = family("studentnet", 1.0, 11).shapes(256).unwrap();
    assert!(shapes.contains(&[16, 16, 128]) && shapes.contains(&[16, 16, 256]));
    assert_eq!(shapes.last(), Some(&[1, 1, 11]));
    let resnet = family("resnet18", 1.0, 11);
    assert!(resnet.shapes(224).unwrap().contains(&[7, 7, 512]));
    // 28 px: 14 after the stem, 7 after the pool, 4, 2, 1.
    assert!(resnet.shapes(28).unwrap().contains(&[1, 1, 512]));
    let error = family("studentnet", 1.0, 11).shapes(8).unwrap_err();
    assert!(format!("{error:#}").contains("8 px"), "{error:#}");
}

/// Answers without folding: the engine with stored statistics.
fn unfolded_logits(graph: &Graph, weights: &Weights, size: usize) -> Vec<f32> {
    let parameters = graph::Layout::of(graph).pack(weights).unwrap();
    let mode = engine::pass::Mode::Inference;
    let mut engine = engine::pass::Engine::new(graph, size, mode).unwrap();
    engine.forward(&parameters, picture(size, 1)).unwrap().to_vec()
}

#[test]
fn folding_leaves_no_batch_norm_and_the_same_answers() {
    for (name, graph, size) in every_network() {
        let weights = random(&graph, 3);
        let (folded, folded_weights) = graph.fold(weights.clone()).unwrap();
        assert!(!folded.to_string().contains("bn "), "{folded}");
        assert!(!folded_weights.keys().any(|k| k.contains("running")), "{name}");
        let before = unfolded_logits(&graph, &weights, size);
        assert_close(&logits(folded, folded_weights, size), &before, 1e-5, &name);
    }
}

#[test]
fn unfolding_gives_back_every_name_and_the_same_answers() {
    for (name, graph, size) in every_network() {
        let weights = random(&graph, 3);
        let (folded, folded_weights) = graph.fold(weights.clone()).unwrap();
        let before = logits(folded.clone(), folded_weights.clone(), size);
        // A program that builds the network with another ε is given weights for that.
        for epsilon in [None, Some(1e-3)] {
            let graph = epsilon.map_or(graph.clone(), |e| graph.with_epsilon(e).unwrap());
            let (again, unfolded) = if families::find(&name).is_ok() {
                families::unfold(&folded, &folded_weights, epsilon).unwrap()
            } else {
                graph.unfold(&folded_weights).unwrap()
            };
            assert_eq!(again, graph);
            assert!(unfolded.keys().eq(weights.keys()), "{name}");
            assert_close(&logits(again, unfolded, size), &before, 1e-5, &name);
        }
    }
}

/// A channel whose filters, biases, γ and β are zero contributes nothing: cutting it must not change
/// the logits. This holds only if every tensor that shares the channel is in its group.
#[test]
fn cutting_silent_channels_changes_nothing() {
    for (name, graph, size) in every_network() {
        let mut weights = random(&graph, 4);
        let groups = graph.channel_groups();
        let roles: BTreeMap<_, _> = graph.parameters().map(|p| (p.name, p.role)).collect();
        let mut removed = Vec::new();
        for group in groups.iter().filter(|g| g.removable) {
            let units: Vec<_> = group.units.iter().skip(1).step_by(2).collect();
            for (axis, i) in units.iter().flat_map(|u| group.slices(u)) {
                if axis.dim == 0 && roles[&axis.tensor].is_trained() {
                    let array = weights.get_mut(&axis.tensor).unwrap();
                    let slice = array.values.len() / array.shape[0];
                    array.values[i * slice..(i + 1) * slice].fill(0.0);
                }
            }
            removed.push((group, units));
        }
        let before = logits(graph.clone(), weights.clone(), size);
        let (cut, cut_weights) = graph.cut(&weights, &removed).unwrap();
        let (left, all) = (cut.parameter_count(), graph.parameter_count());
        assert!(left < all * 8 / 10, "{name}: {left} of {all}");
        let after = logits(cut, cut_weights, size);
        assert_close(&after, &before, 1e-5, &name);
    }
}

#[test]
fn groups_of_resnet_follow_its_shortcuts() {
    let graph = resnet18([4, 8, 16, 32], 3).unwrap();
    let text: Vec<String> = graph.channel_groups().iter().map(ToString::to_string).collect();
    // The residual stream of layer 1: stem, both blocks' ends, and every reader.
    let stream =
        text.iter().find(|t| t.contains("conv1.weight dim 0 [0..4]") && t.contains("bn1.weight"));
    let stream = stream.expect("a group with the stem");
    for member in [
        "layer1.0.conv2.weight dim 0",
        "layer1.1.bn2.running_var dim 0",
        "layer1.0.conv1.weight dim 1",
        "layer2.0.conv1.weight dim 1",
        "layer2.0.downsample.0.weight dim 1",
    ] {
        assert!(stream.contains(member), "{member} not in {stream}");
    }
    let fixed: Vec<&String> = text.iter().filter(|t| t.contains("(fixed)")).collect();
    assert_eq!(fixed.len(), 2, "colours and classes: {fixed:?}");
}

#[test]
fn cutting_everything_is_refused() {
    let graph = studentnet([4; 8], 3).unwrap();
    let weights = graph::init::weights(&graph, 1);
    let groups = graph.channel_groups();
    let all = |g: &graph::channels::Group| g.removable;
    let group = groups.iter().find(|g| all(g)).unwrap();
    assert!(graph.cut(&weights, &[(group, group.units.iter().collect())]).is_err());
    let fixed = groups.iter().find(|g| !g.removable).unwrap();
    assert!(graph.cut(&weights, &[(fixed, fixed.units.iter().take(1).collect())]).is_err());
}

#[test]
fn weights_are_checked_by_name_and_shape() {
    let graph = studentnet([4; 8], 3).unwrap();
    let weights = graph::init::weights(&graph, 1);
    let broken = |change: &dyn Fn(&mut Weights)| {
        let mut w = weights.clone();
        change(&mut w);
        format!("{:#}", graph.check_weights(&w).unwrap_err())
    };
    assert!(broken(&|w| drop(w.remove("cnn.3.0.bias"))).contains("cnn.3.0.bias"));
    assert!(broken(&|w| drop(w.insert("x".into(), Array::filled(&[1], 0.0)))).contains('x'));
    let wrong = broken(&|w| drop(w.insert("fc.0.bias".into(), Array::filled(&[4], 0.0))));
    assert!(wrong.contains("[4]") && wrong.contains("[3]"), "{wrong}");
}

#[path = "reference/formula.rs"]
mod formula;
use formula::{formula, formula_picture, off};

/// What PyTorch says of a network.
struct Torch {
    name: &'static str,
    /// A graph's text, or a family and its width.
    graph: &'static str,
    size: usize,
    logits: [f32; 22],
    training_logits: [f32; 22],
    gradient_norms: &'static [(&'static str, f32)],
    buffer_sums: &'static [(&'static str, f32)],
    /// Losses of three steps, and logits afterwards.
    adamw: ([f32; 3], [f32; 22]),
    sgd: ([f32; 3], [f32; 22]),
}

include!("reference/torch_networks.rs");
include!("reference/torch_operations.rs");

fn torch() -> impl Iterator<Item = &'static Torch> {
    FAMILIES.iter().chain(OPERATIONS)
}

fn torch_graph(case: &Torch) -> Graph {
    match case.graph.split_once(' ') {
        Some((name, width)) if name != "input" => family(name, width.parse().unwrap(), 11),
        _ => case.graph.parse().unwrap(),
    }
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32
}

/// The engine's passes against PyTorch: all logits in evaluation and in training; the norm of every
/// gradient of Σ logits · sin; all running statistics. The bias before a batch norm has a gradient of
/// zero but for the rounding of sums as large as the others.
#[test]
fn passes_equal_torch() {
    for case in torch() {
        let graph = torch_graph(case);
        let (weights, picture) = (formula(&graph), formula_picture(case.size));
        let mut network = engine::Network::new(&graph, &weights, &Grids::new(), case.size).unwrap();
        let y = network.logits(&picture).unwrap();
        assert!(off(&y, &case.logits) < 1e-5, "{}: {}", case.name, off(&y, &case.logits));
        let mut logits = Vec::new();
        let pass = network.passes(picture, |y, grad| {
            logits = y.to_vec();
            grad.iter_mut().enumerate().for_each(|(i, g)| *g = f64::sin(i as f64) as f32);
            Ok(())
        });
        pass.unwrap();
        let e = off(&logits, &case.training_logits);
        assert!(e < 1e-4, "{} in training: {e}", case.name);
        let layout = network.parametrisation().layout().clone();
        let gradients = layout.unpack(network.gradients()).unwrap();
        let largest = case.gradient_norms.iter().fold(0.0f32, |m, (_, n)| m.max(*n));
        for (name, expected) in case.gradient_norms {
            let found = norm(&gradients[*name].values);
            let tolerance = 1e-3 * expected + 1e-5 * largest;
            assert!(
                (found - expected).abs() <= tolerance,
                "{}: gradient of {name}: norm {found}, PyTorch {expected}",
                case.name
            );
        }
    }
}

/// Three steps with each optimizer on each executor against PyTorch: losses, and all logits after
/// them, by running statistics that the steps moved.
#[test]
fn steps_equal_torch_on_every_device() {
    for (case, device) in torch().flat_map(|c| DEVICES.map(|d| (c, d))) {
        let graph = torch_graph(case);
        let m = model(graph.clone(), formula(&graph), case.size);
        for (rule, lr, (losses, after)) in
            [(Rule::AdamW, 1e-4, &case.adamw), (Rule::Sgd, 1e-3, &case.sgd)]
        {
            let at = format!("{} on {device}, {rule:?}", case.name);
            let mut executor = device.executor(&m).unwrap();
            for (step, expected) in losses.iter().enumerate() {
                let loss = take_step(&mut *executor, case.size, rule, lr);
                let tolerance = 2e-4 * expected.max(1.0);
                assert!((loss as f32 - expected).abs() < tolerance, "{at}, step {step}: {loss}");
            }
            let logits = executor.logits(&formula_picture(case.size)).unwrap();
            assert!(off(&logits, after) < 2e-3, "{at}: {}", off(&logits, after));
            assert_eq!(executor.download().unwrap().steps, 3);
        }
    }
}

fn take_step(executor: &mut dyn Executor, size: usize, rule: Rule, lr: f32) -> f64 {
    let mut labels = vec![0.0; 22];
    (labels[3], labels[11 + 7]) = (1.0, 1.0);
    let batch = Batch { pictures: formula_picture(size), labels, teacher: Vec::new() };
    let update = Update { weight_decay: 0.01, ..Update::new(rule, lr) };
    executor.set_losses(0.0).unwrap();
    executor.step(batch, Loss::LABELS, &update).unwrap();
    executor.losses().unwrap()
}

/// Running statistics after one pass, against PyTorch.
#[test]
fn statistics_move_as_in_torch() {
    for (case, device) in torch().flat_map(|c| DEVICES.map(|d| (c, d))) {
        let graph = torch_graph(case);
        let mut executor =
            device.executor(&model(graph.clone(), formula(&graph), case.size)).unwrap();
        take_step(&mut *executor, case.size, Rule::Sgd, 1e-9);
        let state = executor.download().unwrap();
        let (weights, _) = executor.parametrisation().stored(&state.variables).unwrap();
        for (name, expected) in case.buffer_sums {
            let found: f64 = weights[*name].values.iter().map(|v| f64::from(*v)).sum();
            let size = norm(&weights[*name].values);
            let error = (found as f32 - expected).abs();
            assert!(error <= 1e-4 * size, "{} on {device}: {name}: {found}", case.name);
        }
    }
}
