//! Training on smaller pictures first.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Framing, Images, Input, Model, Preparation, Provenance};
use common::device::Device;
use common::training::{Optimizer, Pictures, Progress, Settings, Targets, Training};
use executor::Precision;
use graph::Graph;
use graph::grid::Grids;
use std::path::Path;
use views::{FixedViews, Normalization};

const NETWORK: &str = "input 3
a:conv 3>8 k3 p1
b:bn 8
relu
max k2 s2
c:conv 8>12 k3 p1 bias
relu6
max k4 s4
gap
d:linear 12>2 bias
";

/// 24 noisy pictures of two classes, 16 px of squares of 2 × 2, or the 8 × 8 values of these squares.
fn squares(path: &Path, size: usize) -> Images {
    let side = size / 8;
    let value = |i: usize, c: usize, p: usize| {
        let (y, x) = (p / size / side, p % size / side);
        (40 + 90 * ((i + c) % 2) + (y * 31 + x * 17 + i * 57 + c * 7) % 90) as u8
    };
    let planes = (0..24).flat_map(|i| (0..3).map(move |c| (i, c)));
    let pixels = planes.flat_map(|(i, c)| (0..size * size).map(move |p| value(i, c, p)));
    Unsaved {
        preparation: Preparation { size, framing: Framing::Crop, exif: false },
        classes: ["0", "1"].map(String::from).into(),
        labels: (0..24).map(|i| Some(i % 2)).collect(),
        names: (0..24).map(|i| format!("{}_{i}.png", i % 2)).collect(),
        pixels: Data::Bytes(pixels.collect()),
    }
    .save(path, &Provenance::new("test", &()).unwrap())
    .unwrap();
    Images::load(path).unwrap()
}

fn settings(epochs: u32, sizes: &str) -> Settings {
    Settings {
        epochs,
        batch: 6,
        optimizer: Optimizer::Adamw,
        lr: 0.01,
        warmup: 0.0,
        weight_decay: 0.01,
        clip: 0.0,
        label_smoothing: 0.0,
        ema: 0.9,
        slim: 0.0,
        sizes: sizes.parse().unwrap(),
        seed: 1,
        precision: Precision::F32,
    }
}

fn fresh(images: &Images) -> Model {
    let graph: Graph = NETWORK.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let normalization = Normalization { mean: [0.4; 3], std: [0.2; 3] };
    let input = Input { preparation: images.preparation, normalization };
    let classes = images.classes.clone();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

fn training<'a>(images: &'a Images, targets: &'a Targets, s: &'a Settings) -> Training<'a> {
    let pictures = Pictures { train: images, validation: images };
    Training::new(fresh(images), pictures, targets, s, None, Device::Cpu).unwrap()
}

/// A sample at half the size lies in the middle of four pixels, here of one value: the epochs at 8 px see what a run on
/// the pictures of 8 px sees, and have its losses; the later ones do not.
#[test]
fn the_first_epochs_see_smaller_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let [small, full] =
        [8, 16].map(|n| squares(&folder.path().join(format!("{n}.safetensors")), n));
    let targets = Targets::Labels("none".parse().unwrap());
    let losses = |images: &Images, sizes: &str| {
        let s = settings(4, sizes);
        let (mut training, mut losses) = (training(images, &targets, &s), Vec::new());
        let note = |_: &Training, epoch: &common::training::Epoch| {
            losses.push(epoch.loss);
            Ok(())
        };
        training.run(|_| Ok(()), note).unwrap();
        losses
    };
    let (small, full, sized) = (losses(&small, ""), losses(&full, ""), losses(&full, "8:0.5"));
    for epoch in 0..2 {
        assert!((sized[epoch] - small[epoch]).abs() < 1e-6, "{epoch}: {sized:?} {small:?}");
        assert!((sized[epoch] - full[epoch]).abs() > 1e-3, "{epoch}: {sized:?} {full:?}");
    }
    assert!((sized[2] - small[2]).abs() > 1e-3, "{sized:?} {small:?}");
}

/// By hand: at 8, 12 and 16 px of 16 an epoch of four steps is the work of 1, 2.25 and 4.
#[test]
fn the_time_left_goes_by_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let images = squares(&folder.path().join("16.safetensors"), 16);
    let targets = Targets::Labels("none".parse().unwrap());
    let s = settings(3, "8:0.4,12:0.4");
    let training = training(&images, &targets, &s);
    let work = |epochs, steps| training.work(Progress { epochs, steps, loss: 0.0 }, 4);
    assert_eq!([work(0, 0), work(0, 3), work(1, 0), work(1, 2), work(2, 1)], [0, 0, 1, 2, 4]);
    assert_eq!(work(3, 0), 7);
}

/// A run that is stopped anywhere, at either size or between them, ends with the same bits.
#[test]
fn a_run_goes_on_at_the_size_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let images = squares(&folder.path().join("16.safetensors"), 16);
    let targets = Targets::Labels("flip,scale=0.5,cutmix=1".parse().unwrap());
    let s = settings(3, "8:0.4,12:0.4");
    let mut whole = training(&images, &targets, &s);
    whole.run(|_| Ok(()), |_, _| Ok(())).unwrap();
    let expected = (whole.last().unwrap().weights, whole.log().to_owned());
    for stop in 1..12 {
        let mut first = training(&images, &targets, &s);
        let mut steps = 0;
        let tick = |_: &Training| {
            steps += 1;
            anyhow::ensure!(steps < stop, "stopped");
            Ok(())
        };
        assert!(first.run(tick, |_, _| Ok(())).is_err());
        let mut second = training(&images, &targets, &s);
        second.resume(first.saved().unwrap()).unwrap();
        second.run(|_| Ok(()), |_, _| Ok(())).unwrap();
        let found = (second.last().unwrap().weights, second.log().to_owned());
        assert!(found == expected, "stopped after step {stop}");
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = squares(&folder.path().join("16.safetensors"), 16);
    let targets = Targets::Labels("none".parse().unwrap());
    for (sizes, expected) in [
        ("16:0.5", "--sizes 16:0.5: 16 px is not smaller than"),
        ("8:0.3", "--sizes 8:0.3: 0.3 of 3 epochs is none"),
        ("8:0.4,12:0.34,14:0.34", "leave some of the 3 epochs"),
        ("8:0.4,4:0.4", "--sizes 8:0.4,4:0.4: node 7 (max k4 s4) for pictures of 4 px"),
    ] {
        let s = settings(3, sizes);
        let pictures = Pictures { train: &images, validation: &images };
        let refused = Training::new(fresh(&images), pictures, &targets, &s, None, Device::Cpu);
        let error = format!("{:#}", refused.err().unwrap());
        assert!(error.contains(expected), "{error}");
    }
}
