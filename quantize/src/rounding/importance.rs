//! How much the answers owe to each output channel of a layer.

use super::site;
use anyhow::Result;
use artifacts::Model;
use common::calibration::probabilities;
use graph::rng::Rng;
use rayon::prelude::*;
use reference::look::{self, Map};

/// The least importance of a channel beside the mean of its layer's.
const LEAST: f64 = 1e-3;

/// Of each of `nodes`, by output channel: half the mean square of the derivative by one number of it, in nats per
/// squared unit. The divergence of answers q from p is, for small errors e, half of eᵀFe with F the Fisher information of
/// p; its diagonal is the mean square of the derivative by a number of Σ v · logits, where the v have the covariance
/// diag p − p pᵀ (Martens 2020, "New insights and perspectives on the natural gradient method", section 5).
pub(super) fn importance(model: &Model, batches: &[Map], nodes: &[usize]) -> Result<Vec<Vec<f64>>> {
    let Model { graph, weights, .. } = model;
    let classes = graph.classes();
    let squares = |(i, pictures): (usize, &Map)| -> Result<Vec<Vec<f64>>> {
        let probe = |logits: &[f32]| {
            let rows = logits.chunks(classes).enumerate();
            rows.flat_map(|(k, row)| probe(row, &mut Rng::new(k as u64, "probe", i as u64)))
                .collect()
        };
        let slopes = look::slopes(graph, weights, pictures, nodes, probe)?;
        Ok(slopes.iter().map(squares).collect())
    };
    // Summed up in the batches' order.
    let parts: Vec<Result<_>> = batches.par_iter().enumerate().map(squares).collect();
    let mut sums: Vec<Vec<f64>> = Vec::new();
    for part in parts {
        let part = part?;
        if sums.is_empty() {
            sums = part;
            continue;
        }
        let pairs = sums.iter_mut().flatten().zip(part.iter().flatten());
        pairs.for_each(|(sum, square)| *sum += square);
    }
    let pictures: usize = batches.iter().map(|b| b.shape[0]).sum();
    let shapes = graph.shapes(model.input.preparation.size)?;
    for (sums, node) in sums.iter_mut().zip(nodes) {
        let count = (pictures * site(graph, &shapes, *node).map_or(1, |s| s.positions())) as f64;
        sums.iter_mut().for_each(|s| *s *= 0.5 / count);
        soften(sums);
    }
    Ok(sums)
}

/// v = (diag √p − p √pᵀ) ξ with ξ = ±1: then v has the covariance diag p − p pᵀ.
fn probe(logits: &[f32], rng: &mut Rng) -> Vec<f32> {
    let p = probabilities(logits, 1.0);
    let drawn: Vec<f64> =
        p.iter().map(|p| if rng.chance(0.5) { p.sqrt() } else { -p.sqrt() }).collect();
    let total: f64 = drawn.iter().sum();
    p.iter().zip(drawn).map(|(p, d)| (d - p * total) as f32).collect()
}

/// Sums of squares by channel.
fn squares(map: &Map) -> Vec<f64> {
    let mut sums = vec![0.0; map.shape[3]];
    for place in map.values.chunks_exact(map.shape[3]) {
        sums.iter_mut().zip(place).for_each(|(s, v)| *s += f64::from(*v).powi(2));
    }
    sums
}

/// Halfway to the layer's mean, on a scale of ratios: what few pictures say about one channel is noisy, and scales that
/// differ less take fewer bytes.
fn soften(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter_mut().for_each(|v| *v = (v.max(LEAST * mean) * mean).sqrt());
}
