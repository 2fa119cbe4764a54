//! Weights and pictures that torch_networks.py makes as well, and how far answers are apart.
#![allow(unreachable_pub)]

use graph::{Graph, Weights};

/// Deterministic weights a Python program can make as well: see `torch_networks.py`.
pub fn formula(graph: &Graph) -> Weights {
    let mut weights = graph::init::weights(graph, 0);
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

pub fn formula_picture(size: usize) -> Vec<f32> {
    (0..2 * 3 * size * size).map(|i| f64::sin(0.37 * i as f64) as f32).collect()
}

/// Largest difference, relative to the largest value.
pub fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max)
}
