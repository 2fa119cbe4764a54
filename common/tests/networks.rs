//! Networks as data: counts, shapes, folding, channel groups, and their outputs against PyTorch.

use common::array::Array;
use common::graph::{Graph, Weights};
use common::model::{Input, Model};
use common::nets::{self, Arch, resnet18, studentnet};
use common::network::{Inference, Training};
use common::photos::{Fit, Preparation};
use common::rng::Rng;
use common::view::Normalization;

const WIDTHS: [usize; 8] = [16, 32, 64, 128, 256, 256, 256, 256];

fn model(graph: Graph, weights: Weights, size: usize) -> Model {
    let preparation = Preparation { size, fit: Fit::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Default::default() }
}

/// Weights with every tensor random, batch-norm statistics included.
fn random(graph: &Graph, seed: u64) -> Weights {
    let mut weights = nets::initial_weights(graph, seed);
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
    let network = Inference::new(&model(graph, weights, size)).unwrap();
    network.logits(&picture(size, 1)).unwrap()
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
    assert_eq!(count(Arch::Resnet18.build(1.0, 11).unwrap()), 11_182_155);
    let student = Arch::Studentnet.build(1.0, 11).unwrap();
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
    let shapes = Arch::Studentnet.build(1.0, 11).unwrap().shapes(256).unwrap();
    assert!(shapes.contains(&[128, 16, 16]) && shapes.contains(&[256, 16, 16]));
    assert_eq!(shapes.last(), Some(&[11, 1, 1]));
    let resnet = Arch::Resnet18.build(1.0, 11).unwrap();
    assert!(resnet.shapes(224).unwrap().contains(&[512, 7, 7]));
    // 28 px: 14 after the stem, 7 after the pool, 4, 2, 1.
    assert!(resnet.shapes(28).unwrap().contains(&[512, 1, 1]));
    let error = Arch::Studentnet.build(1.0, 11).unwrap().shapes(8).unwrap_err();
    assert!(format!("{error:#}").contains("8 px"), "{error:#}");
}

/// That the folded network computes the same is shown by `networks_equal_torch`, which runs it.
#[test]
fn folding_leaves_no_batch_norm() {
    for arch in [Arch::Resnet18, Arch::Studentnet] {
        let graph = arch.build(0.25, 7).unwrap();
        let (folded, weights) = graph.fold(&random(&graph, 3)).unwrap();
        assert!(!folded.to_string().contains("bn "), "{folded}");
        assert!(!weights.keys().any(|k| k.contains("running")), "{:?}", weights.keys());
    }
}

#[test]
fn unfolding_gives_back_every_name_and_the_same_answers() {
    for arch in [Arch::Resnet18, Arch::Studentnet] {
        let graph = arch.build(0.25, 7).unwrap();
        let weights = random(&graph, 3);
        let (folded, folded_weights) = graph.fold(&weights).unwrap();
        let (again, unfolded) = nets::unfold(&folded_weights).unwrap();
        assert_eq!(again, graph);
        assert!(unfolded.keys().eq(weights.keys()), "{arch:?}");
        let before = logits(folded, folded_weights, 32);
        assert_close(&logits(again, unfolded, 32), &before, 1e-5, &format!("{arch:?}"));
    }
}

/// A channel whose γ and β are zero everywhere contributes nothing: cutting it must not change the
/// logits. This holds only if every tensor that shares the channel is in its group.
#[test]
fn cutting_silent_channels_changes_nothing() {
    for (arch, size) in [(Arch::Resnet18, 32), (Arch::Studentnet, 32)] {
        let graph = arch.build(0.25, 5).unwrap();
        let mut weights = random(&graph, 4);
        let groups = graph.channel_groups();
        let mut removed = Vec::new();
        for group in groups.iter().filter(|g| g.removable && !g.norms.is_empty()) {
            let units: Vec<_> = group.units.iter().skip(1).step_by(3).collect();
            for norm in &group.norms {
                for unit in &units {
                    let i = group.index_in(unit, &format!("{norm}.weight")).unwrap();
                    for end in ["weight", "bias"] {
                        weights.get_mut(&format!("{norm}.{end}")).unwrap().values[i] = 0.0;
                    }
                }
            }
            removed.push((group, units));
        }
        let before = logits(graph.clone(), weights.clone(), size);
        let (cut, cut_weights) = graph.cut(&weights, &removed).unwrap();
        assert!(cut.parameter_count() < graph.parameter_count() * 6 / 10, "{arch:?}");
        let after = logits(cut, cut_weights, size);
        assert_close(&after, &before, 1e-5, &format!("{arch:?}"));
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
    let weights = nets::initial_weights(&graph, 1);
    let groups = graph.channel_groups();
    let all = |g: &common::graph::channels::Group| g.removable;
    let group = groups.iter().find(|g| all(g)).unwrap();
    assert!(graph.cut(&weights, &[(group, group.units.iter().collect())]).is_err());
    let fixed = groups.iter().find(|g| !g.removable).unwrap();
    assert!(graph.cut(&weights, &[(fixed, fixed.units.iter().take(1).collect())]).is_err());
}

#[test]
fn weights_are_checked_by_name_and_shape() {
    let graph = studentnet([4; 8], 3).unwrap();
    let weights = nets::initial_weights(&graph, 1);
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

/// Deterministic weights a Python program can make as well: see `reference/torch_networks.py`.
fn formula(graph: &Graph) -> Weights {
    let mut weights = nets::initial_weights(graph, 0);
    for (t, (name, array)) in weights.iter_mut().enumerate() {
        let fan: usize = array.shape[1..].iter().product::<usize>().max(1);
        for (i, v) in array.values.iter_mut().enumerate() {
            let wave = f64::sin(0.7 * i as f64 + t as f64);
            *v = match name.rsplit('.').next() {
                Some("running_var") => 1.0 + 0.5 * wave,
                Some("running_mean") => 0.1 * wave,
                _ if array.shape.len() == 1 => 0.5 + 0.5 * wave,
                _ => wave * (3.0 / fan as f64).sqrt(),
            } as f32;
        }
    }
    weights
}

fn formula_picture(size: usize) -> Vec<f32> {
    (0..2 * 3 * size * size).map(|i| f64::sin(0.37 * i as f64) as f32).collect()
}

include!("reference/torch_networks.rs");

/// Logits in evaluation; after one training pass, the gradient of Σ logits · sin and the running
/// statistics, against PyTorch.
#[test]
fn networks_equal_torch() {
    for case in TORCH {
        let graph = case.arch.build(case.width, 11).unwrap();
        let m = model(graph.clone(), formula(&graph), case.size);
        let network = Inference::new(&m).unwrap();
        let y = network.logits(&formula_picture(case.size)).unwrap();
        assert_close(&y[..4], &case.logits, 1e-4, "evaluation");

        let mut training = Training::new(&m).unwrap();
        let y = training.forward(formula_picture(case.size)).unwrap();
        let flat: Vec<f32> = y.flatten_all().unwrap().to_vec1().unwrap();
        assert_close(&flat[..4], &case.training_logits, 1e-3, "training");
        let r: Vec<f32> = (0..flat.len()).map(|i| f64::sin(i as f64) as f32).collect();
        training.backward(&r, 0.0).unwrap();
        let mut norms = std::collections::BTreeMap::new();
        training.update(|name, _, gradient| {
            norms.insert(name.to_owned(), kernels::optim::square_sum(gradient).sqrt() as f32);
        });
        for (name, norm) in case.gradient_norms {
            assert_close(&[norms[*name]], &[*norm], 2e-3 * norm.max(1.0) / norm, name);
        }
        let now = training.weights();
        for (name, sum) in case.buffer_sums {
            let got: f64 = now[*name].values.iter().map(|v| f64::from(*v)).sum();
            assert_close(&[got as f32], &[*sum], 1e-4, name);
        }
    }
}
