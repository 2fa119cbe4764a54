//! The training loop: its loss, its schedule's effect, and that a pruned network learns.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::logits::Views;
use artifacts::{Framing, Images, Input, Logits, Model, Preparation, Provenance};
use candle_core::{Tensor, Var};
use codec::{Quantized, Rows};
use common::device::Device;
use common::run::run;
use common::training::{OnGrids, Optimizer, Pictures, Settings, Sizes, Summary, Targets, Training};
use executor::{Loss, Precision};
use graph::grid::Grids;
use graph::{Array, Weights};
use std::path::Path;
use tempfile::TempDir;
use views::{FixedViews, Normalization, Policy};

/// The tutorial's loss and its gradient by PyTorch: `reference/torch_loss.py`. Both losses, that of the
/// engine and that in candle operations.
#[test]
fn distillation_loss_equals_the_tutorial() {
    let student = [1.0, -2.0, 0.5, 3.0, 0.0, -1.0];
    let teacher = [5.0, -1.0, 2.0, -2.0, 4.0, 1.0];
    let labels = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    for (temperature, alpha, loss, gradient) in [
        (
            20.0,
            0.5,
            3.193_952_6,
            [-0.257_976, 0.101_159, 0.156_817, 0.676_308, -0.304_161, -0.372_147],
        ),
        (
            4.0,
            0.9,
            3.484_361_4,
            [-0.317_073, 0.125_685, 0.191_387, 0.788_059, -0.597_269, -0.190_790],
        ),
        (
            1.0,
            0.0,
            2.285_240_4,
            [-0.198_126, 0.015_029, 0.183_096, 0.468_120, 0.023_306, -0.491_426],
        ),
    ] {
        let how = Loss { alpha, temperature };
        let off =
            |g: &[f32]| g.iter().zip(gradient).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mut grad = [0.0; 6];
        let y = engine::loss::loss(&student, &labels, &teacher, 3, how, &mut grad);
        assert!((y - loss).abs() < 1e-5 && off(&grad) < 1e-6, "T {temperature}: {y} {grad:?}");

        let cpu = &candle_core::Device::Cpu;
        let tensor = |v: &[f32]| Tensor::from_slice(v, (2, 3), cpu).unwrap();
        let x = Var::from_tensor(&tensor(&student)).unwrap();
        let y = reference::loss(&x, &tensor(&labels), Some(&tensor(&teacher)), how).unwrap();
        let grads = y.backward().unwrap();
        let y = f64::from(y.to_scalar::<f32>().unwrap());
        let g: Vec<f32> = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!((y - loss).abs() < 1e-5 && off(&g) < 1e-5, "T {temperature}: {y} {g:?}");
    }
}

/// 60 pictures of two classes, 16 px: class 0 is red, class 1 blue, both noisy.
fn colours(dir: &Path) -> Images {
    let mut pixels = Vec::new();
    for i in 0..60usize {
        let noise = |p: usize| ((p % 16 * 31 + p / 16 * 17 + i * 57) % 90) as u8;
        let bright = (0..256).map(|p| 150 + noise(p));
        let dark = (0..256).map(noise);
        if i % 2 == 0 {
            pixels.extend(bright.chain(dark).chain([60; 256]));
        } else {
            pixels.extend(dark.chain([60; 256]).chain(bright));
        }
    }
    let out = dir.join("images.safetensors");
    Unsaved {
        preparation: Preparation { size: 16, framing: Framing::Crop, exif: false },
        classes: ["0", "1"].map(String::from).into(),
        labels: (0..60).map(|i| Some(i % 2)).collect(),
        names: (0..60).map(|i| format!("{}_{i}.png", i % 2)).collect(),
        pixels: Data::Bytes(pixels),
    }
    .save(&out, &Provenance::new("test", &()).unwrap())
    .unwrap();
    Images::load(&out).unwrap()
}

fn settings(epochs: u32) -> Settings {
    Settings {
        epochs,
        batch: 10,
        optimizer: Optimizer::Adamw,
        lr: 0.01,
        warmup: 0.0,
        weight_decay: 0.0,
        clip: 0.0,
        label_smoothing: 0.0,
        ema: 0.0,
        slim: 0.0,
        sizes: Sizes::FULL,
        seed: 1,
        precision: Precision::F32,
    }
}

fn fresh(images: &Images) -> Model {
    let graph = graph::families::studentnet([8, 8, 12, 12, 16, 16, 16, 16], 2).unwrap();
    let weights = graph::init::weights(&graph, 1);
    let (mean, std) = images.mean_std();
    let input =
        Input { preparation: images.preparation, normalization: Normalization { mean, std } };
    let classes = images.classes.clone();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

fn pictures(images: &Images) -> Pictures<'_> {
    Pictures { train: images, validation: images }
}

/// A run on disk, best weights to `out`.
fn train_to(
    out: &Path,
    model: Model,
    images: &Images,
    targets: &Targets,
    s: &Settings,
    on_grids: Option<OnGrids>,
) -> anyhow::Result<Summary> {
    let training = Training::new(model, pictures(images), targets, s, on_grids, Device::Cpu)?;
    run(training, s.epochs, out, &Provenance::new("test", s)?)
}

/// Train and return the summary and the last weights.
fn train(
    dir: &TempDir,
    model: Model,
    images: &Images,
    targets: &Targets,
    s: &Settings,
) -> (Summary, Weights) {
    let out = dir.path().join("model.safetensors");
    let summary = train_to(&out, model, images, targets, s, None).unwrap();
    let (last, _) = Model::load(&out.with_extension("last.safetensors")).unwrap();
    (summary, last.weights)
}

#[test]
fn two_colours_are_learned_and_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let policy: Policy = "flip,shift=0.1,mixup=0.2".parse().unwrap();
    for (rule, lr, ema) in [(Optimizer::Adamw, 0.01, 0.0), (Optimizer::Sgd, 0.05, 0.8)] {
        let s = Settings { optimizer: rule, lr, ema, clip: 5.0, warmup: 1.0, ..settings(15) };
        let (summary, _) = train(&dir, fresh(&images), &images, &Targets::Labels(policy), &s);
        assert_eq!(summary.best, 1.0, "{rule:?}: {summary:?}");
    }
    let log = std::fs::read_to_string(dir.path().join("model.epochs.csv")).unwrap();
    assert_eq!(log.lines().count(), 16, "{log}");
    assert!(log.starts_with("epoch,loss,validation_top1\n1,"), "{log}");
}

#[test]
fn threads_do_not_change_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let policy: Policy = "flip,rotate=10,colour=0.2,cutmix=1".parse().unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let s = Settings { ema: 0.9, clip: 1.0, ..settings(2) };
            train(&dir, fresh(&images), &images, &Targets::Labels(policy), &s).1
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(4) == one);
}

/// The tutorial's pruning loop keeps stepping the optimizer of the network before the cut, so its
/// pruned networks never learn: only batch-norm statistics move. Here every parameter of the
/// pruned network moves, and the network regains what the cut took.
#[test]
fn a_pruned_network_learns() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let labels = Targets::Labels(Policy::default());
    let (_, weights) = train(&dir, fresh(&images), &images, &labels, &settings(15));
    let model = Model { weights, ..fresh(&images) };
    let groups = model.graph.channel_groups();
    let half: Vec<_> = groups
        .iter()
        .filter(|g| g.removable && !g.norms.is_empty())
        .map(|g| (g, g.units.iter().take(g.units.len() / 2).collect()))
        .collect();
    let (graph, weights) = model.graph.cut(&model.weights, &half).unwrap();
    let cut = Model { graph, weights: weights.clone(), ..model };
    let (summary, tuned) = train(&dir, cut, &images, &labels, &settings(15));
    for (name, before) in &weights {
        let moved = before.values.iter().zip(&tuned[name].values).any(|(a, b)| a != b);
        assert!(moved, "{name} did not move");
        assert_eq!(before.shape, tuned[name].shape);
    }
    assert_eq!(summary.last, 1.0, "{summary:?}");
}

/// With α = 1 the labels do not matter: a teacher that calls red 1 and blue 0 is followed.
#[test]
fn a_student_follows_its_teacher() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let truth = images.all_labels().unwrap();
    let values: Vec<f32> = [0, 1]
        .iter()
        .flat_map(|_| truth.iter().flat_map(|l| if *l == 0 { [-4.0, 4.0] } else { [4.0, -4.0] }))
        .collect();
    let path = dir.path().join("logits.safetensors");
    let views = Views {
        policy: "flip".parse().unwrap(),
        seed: 5,
        views: 2,
        images: images.source.hash.clone(),
        folds: None,
    };
    let array = Array::new(vec![2, 60, 2], values).unwrap();
    Logits::save(&path, &views, &Provenance::new("test", &()).unwrap(), &array).unwrap();
    let logits = Logits::load(&path).unwrap();
    logits.check(&images, 2).unwrap();
    assert!(logits.check(&images, 3).is_err());
    let loss = Loss { alpha: 1.0, temperature: 2.0 };
    let targets = Targets::Teacher { logits: &logits, loss };
    let (summary, _) = train(&dir, fresh(&images), &images, &targets, &settings(15));
    assert_eq!(summary.last, 0.0, "{summary:?}");
}

#[test]
fn a_diverging_loss_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let s = Settings { optimizer: Optimizer::Sgd, lr: 1e30, ..settings(3) };
    let labels = Targets::Labels(Policy::default());
    let out = dir.path().join("m.safetensors");
    let error = train_to(&out, fresh(&images), &images, &labels, &s, None).unwrap_err();
    assert!(error.to_string().contains("lower --lr"), "{error:#}");
    assert!(!dir.path().join("m.safetensors").exists());
}

/// A run that could not write its result keeps its state, and, given again, writes the bytes of one
/// that never stopped. (tests/pipeline.sh kills a run between two epochs.)
#[test]
fn a_failed_run_goes_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let labels = Targets::Labels("flip,shift=0.1".parse().unwrap());
    let out = dir.path().join("m.safetensors");
    let state = dir.path().join("m.state.safetensors");
    for rule in [Optimizer::Adamw, Optimizer::Sgd] {
        // The average of every food recipe.
        let s = Settings { optimizer: rule, ema: 0.999, clip: 1.0, ..settings(3) };
        let run = || train_to(&out, fresh(&images), &images, &labels, &s, None);
        run().unwrap();
        assert!(!state.exists());
        let whole = std::fs::read(&out).unwrap();
        std::fs::remove_file(&out).unwrap();
        std::fs::create_dir(&out).unwrap(); // in the way of the result
        assert!(run().is_err() && state.exists());
        std::fs::remove_dir(&out).unwrap();
        run().unwrap();
        assert!(whole == std::fs::read(&out).unwrap() && !state.exists(), "{rule:?}");
        // Its own state it went on from, and set none aside.
        let aside = dir.path().join("m.state.safetensors.old");
        assert!(!aside.exists(), "{rule:?}: began anew");
    }
}

/// A trained network, folded, on grids of so many bits, and the bytes of its file.
fn on_grids(dir: &TempDir, images: &Images, bits: u8) -> (Model, usize) {
    let labels = Targets::Labels(Policy::default());
    let (_, weights) = train(dir, fresh(images), images, &labels, &settings(15));
    let mut model = Model { weights, ..fresh(images) }.folded().unwrap();
    let choices = codec::uniform_choices(&model.graph, Rows::Channel, bits);
    let quantized = Quantized::new(&model.graph, &model.weights, &choices).unwrap();
    model.grids = quantized.grids();
    let bytes = model.coded_bytes(&quantized).unwrap();
    (model, bytes)
}

/// Batch norm is folded before anything is put on grids: there is nothing that --slim could make smaller,
/// and who asks for it is told so.
#[test]
fn what_has_no_batch_norm_is_not_slimmed() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let labels = Targets::Labels(Policy::default());
    let slim = Settings { slim: 1e-4, ..settings(1) };
    let out = dir.path().join("m.safetensors");
    let folded = fresh(&images).folded().unwrap();
    let error = train_to(&out, folded, &images, &labels, &slim, None).unwrap_err();
    assert!(error.to_string().contains("--slim 0.0001: the network has no batch norm"), "{error}");
    train_to(&out, fresh(&images), &images, &labels, &slim, None).unwrap();
}

/// Trained on grids of three bits the network knows its colours again; its weights are exactly on the
/// grids it is saved with, its file keeps to a budget that the rounded network had not, and a run
/// that was cut off ends with the same bytes.
#[test]
fn a_network_learns_to_live_on_its_grids() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let (model, bytes) = on_grids(&dir, &images, 3);
    let budget = bytes * 97 / 100;
    let s = Settings { ema: 0.8, ..settings(30) };
    let labels = Targets::Labels("flip".parse().unwrap());
    let out = dir.path().join("q.safetensors");
    let on_grids = Some(OnGrids { budget, settle: 0.4 });
    let run = || train_to(&out, model.clone(), &images, &labels, &s, on_grids);
    let summary = run().unwrap();
    assert_eq!(summary.best, 1.0, "{summary:?}");
    let (found, _) = Model::load(&out).unwrap();
    let nearest = Quantized::on(&found.graph, &found.weights, &found.grids, 0.0).unwrap();
    assert!(nearest.weights().unwrap() == found.weights, "weights between grid points");
    assert!(found.coded_bytes(&nearest).unwrap() <= budget);
    assert!(found.grids != model.grids, "scales are learned");

    let whole = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    std::fs::create_dir(&out).unwrap(); // in the way of the result
    assert!(run().is_err());
    std::fs::remove_dir(&out).unwrap();
    run().unwrap();
    assert!(whole == std::fs::read(&out).unwrap());
}

/// Settled integers stay; scales and biases move.
#[test]
fn integers_settle() {
    let dir = tempfile::tempdir().unwrap();
    let images = colours(dir.path());
    let (model, bytes) = on_grids(&dir, &images, 3);
    let labels = Targets::Labels(Policy::default());
    let (out, budget) = (dir.path().join("q.safetensors"), 2 * bytes);
    let on_grids = Some(OnGrids { budget, settle: 1.0 });
    train_to(&out, model.clone(), &images, &labels, &settings(2), on_grids).unwrap();
    let (settled, _) = Model::load(&out.with_extension("last.safetensors")).unwrap();
    let on = |m: &Model| Quantized::on(&m.graph, &m.weights, &m.grids, 0.0).unwrap();
    let (start, integers) = (on(&model), on(&settled));
    for (name, before) in &start.0 {
        let is_vector = model.weights[name].shape.len() == 1;
        assert_eq!(integers.0[name].codes != before.codes, is_vector, "{name}");
    }
    assert!(settled.grids != model.grids);
}
