//! Views that a CUDA device renders against those of the CPU, which are the definition.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stderr)] // tests say what they measured

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Fit, Images, Normalization, Policy, Preparation, Provenance};
use common::view::{View, render};
use graph::Graph;
use graph::grid::Grids;
use graph::rng::Rng;

const SIZE: usize = 21;
const COUNT: usize = 9;

/// Pictures of noise.
fn images(folder: &std::path::Path) -> Images {
    let path = folder.join("images.safetensors");
    let rng = &mut Rng::new(1, "pixels", 0);
    let preparation = Preparation { size: SIZE, fit: Fit::Crop, exif: false };
    let pixels = (0..COUNT * preparation.bytes()).map(|_| (rng.bits() >> 56) as u8).collect();
    Unsaved {
        preparation,
        classes: ["0", "1"].map(str::to_owned).to_vec(),
        labels: (0..COUNT).map(|i| Some(i % 2)).collect(),
        names: (0..COUNT).map(|i| i.to_string()).collect(),
        pixels: Data::Bytes(pixels),
    }
    .save(&path, &Provenance::new("test", &()).unwrap())
    .unwrap();
    Images::load(&path).unwrap()
}

#[test]
fn views_equal_those_of_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path());
    let normalization = Normalization { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] };
    let graph: Graph = "input 3;gap;f:linear 3>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let device = candle_core::Device::new_cuda(0).unwrap();
    let mut network = cuda::Network::new(&graph, &weights, &Grids::new(), SIZE, &device).unwrap();
    let pixels = (0..COUNT).map(|i| images.pixels(i));
    assert!(network.keep(pixels, COUNT, [normalization.mean, normalization.std]).unwrap());
    assert_eq!(network.kept(), COUNT * 3 * SIZE * SIZE);
    for policy in [
        "none",
        "flip",
        "flip,shift=0.3",
        "flip,scale=0.4,shift=0.1,rotate=20,colour=0.3",
        "flip,scale=0.6,mixup=0.5",
        "scale=0.5,rotate=90,colour=0.2,cutmix=1",
        "flip,colour=0.4,mixup=0.3,cutmix=1",
    ] {
        let policy_of: Policy = policy.parse().unwrap();
        let views: Vec<(usize, View)> = (0..4 * COUNT)
            .map(|k| (k % COUNT, View::of(&policy_of, 3, k % COUNT, k / COUNT, COUNT, SIZE)))
            .collect();
        let mut expected = vec![0.0; views.len() * 3 * SIZE * SIZE];
        for (x, (i, view)) in expected.chunks_mut(3 * SIZE * SIZE).zip(&views) {
            render(&images, *i, view, &normalization, x);
        }
        let words: Vec<_> = views.iter().map(|(i, view)| view.on_device(*i)).collect();
        let found = network.rendered(&words).unwrap();
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{policy}: off by {off:.1e}");
        // Normalized: five times what pixels in 0..1 are off by.
        assert!(off < 5e-5, "{policy}: {off}");
    }
    let nowhere = View::of(&"none".parse().unwrap(), 1, 0, 0, COUNT, SIZE).on_device(COUNT);
    assert!(network.rendered(&[nowhere]).is_err());
}
