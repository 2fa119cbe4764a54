//! Views that a CUDA device renders against those of the CPU, which are the definition.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stderr)] // tests say what they measured

use executor::Executor;
use graph::Graph;
use graph::grid::Grids;
use graph::rng::Rng;
use views::{Normalization, Pictures, Policy, View, render};

const SIZE: usize = 21;
const COUNT: usize = 9;

/// Pictures of noise.
struct Noise(Vec<u8>);

impl Pictures for Noise {
    fn count(&self) -> usize {
        COUNT
    }

    fn size(&self) -> usize {
        SIZE
    }

    fn pixels(&self, i: usize) -> &[u8] {
        let n = 3 * SIZE * SIZE;
        &self.0[i * n..(i + 1) * n]
    }
}

#[test]
fn views_equal_those_of_the_cpu() {
    let rng = &mut Rng::new(1, "pixels", 0);
    let images = Noise((0..COUNT * 3 * SIZE * SIZE).map(|_| (rng.bits() >> 56) as u8).collect());
    let normalization = Normalization { mean: [0.5, 0.4, 0.3], std: [0.2, 0.25, 0.3] };
    let graph: Graph = "input 3;gap;f:linear 3>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let mut network = cuda::Network::new(&graph, &weights, &Grids::new(), SIZE, 0).unwrap();
    let kept = network.keep(&images, &normalization).unwrap().unwrap();
    assert_eq!(network.kept(), COUNT * 3 * SIZE * SIZE);
    for policy in [
        "none",
        "flip",
        "flip,shift=0.3",
        "flip,scale=0.4,shift=0.1,rotate=20,colour=0.3",
        "flip,scale=0.6,mixup=0.5",
        "scale=0.5,rotate=90,colour=0.2,cutmix=1",
        "flip,colour=0.4,mixup=0.3,cutmix=1",
        "flip,scale=0.5,colour=0.4,resizemix=0.8",
        "flip,mixup=0.3,cutmix=1,resizemix=1,plain=0.2",
    ] {
        let policy_of: Policy = policy.parse().unwrap();
        let views: Vec<(usize, View)> = (0..4 * COUNT)
            .map(|k| (k % COUNT, View::of(&policy_of, 3, k % COUNT, k / COUNT, COUNT, SIZE)))
            .collect();
        let mut expected = vec![0.0; views.len() * 3 * SIZE * SIZE];
        for (x, (i, view)) in expected.chunks_mut(3 * SIZE * SIZE).zip(&views) {
            render(&images, *i, view, &normalization, x);
        }
        let found = network.rendered(kept, &views).unwrap();
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        eprintln!("{policy}: off by {off:.1e}");
        // Normalized: five times what pixels in 0..1 are off by.
        assert!(off < 5e-5, "{policy}: {off}");
    }
    let view = View::of(&"none".parse().unwrap(), 1, 0, 0, COUNT, SIZE);
    assert!(network.rendered(kept, &[(COUNT, view)]).is_err());
}
