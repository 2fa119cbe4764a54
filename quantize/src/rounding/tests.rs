//! Rounding beside plain loops, hand-worked numbers and the best there is.

use super::factor::Factor;
use super::moments::Site;
use super::{Rounding, importance, to_budget};
use artifacts::{Framing, Input, Model, Preparation};
use codec::{Choice, Integers, Levels, Quantized, Rows, uniform_choices};
use common::device::Device;
use graph::grid::{Grids, top};
use graph::op::Conv;
use graph::rng::Rng;
use graph::{Array, Graph, Window};
use reference::look::Map;
use views::{FixedViews, Normalization};

/// eᵀHe.
fn cost(h: &[f64], e: &[f64]) -> f64 {
    let n = e.len();
    (0..n * n).map(|k| h[k] * e[k / n] * e[k % n]).sum()
}

/// Second moments of `samples` Gaussian vectors whose numbers have much in common.
fn moments(n: usize, samples: usize, rng: &mut Rng) -> Vec<f64> {
    let mut h = vec![0.0; n * n];
    for _ in 0..samples {
        let common = rng.normal();
        let x: Vec<f64> = (0..n).map(|_| f64::from(common + 0.7 * rng.normal())).collect();
        (0..n * n).for_each(|k| h[k] += x[k / n] * x[k % n] / samples as f64);
    }
    h
}

fn errors(row: &[f64], codes: &[i16]) -> Vec<f64> {
    row.iter().zip(codes).map(|(w, q)| w - f64::from(*q)).collect()
}

/// By hand: H = (2 1; 1 2) gets 0.05 · 2 added, d = (2.1 − 1 / 2.1, 2.1), u = 1 / 2.1. Of (0.4, 0.4) the first becomes
/// 0, the second is to be 0.4 + 0.4 / 2.1 = 0.59 and becomes 1: an error of 0.56 instead of 0.96.
#[test]
fn the_second_makes_up_for_the_first() {
    let h = [2.0, 1.0, 1.0, 2.0];
    let factor = Factor::new(&h, 2).unwrap();
    assert!((factor.pivots[0] - 1.623_809_523_8).abs() < 1e-9 && factor.pivots[1] == 2.1);
    let row = [0.4, 0.4];
    assert_eq!(factor.round(&row, &[1.0], 3).unwrap(), [0, 1]);
    assert!((cost(&h, &errors(&row, &[0, 1])) - 0.56).abs() < 1e-12);
    assert!((cost(&h, &errors(&row, &[0, 0])) - 0.96).abs() < 1e-12);
    // (2.1 1; 1 2.1)⁻¹ has the determinant 3.41 below it.
    let x = factor.solve(&[1.0, 0.0]).unwrap();
    assert!((x[0] - 2.1 / 3.41).abs() < 1e-12 && (x[1] + 1.0 / 3.41).abs() < 1e-12);
    // Nothing is beyond the grid.
    assert_eq!(factor.round(&[9.0, -9.0], &[1.0], 3).unwrap(), [3, -3]);
}

/// U·D·Uᵀ, multiplied out, is H and what was added; so many rows that threads share them.
#[test]
fn the_factors_multiply_to_the_whole() {
    let n = 150;
    let h = moments(n, 400, &mut Rng::new(1, "factor", 0));
    let factor = Factor::new(&h, n).unwrap();
    let added = 0.05 * (0..n).map(|i| h[i * n + i]).sum::<f64>() / n as f64;
    for seed in 0..5 {
        let rng = &mut Rng::new(seed, "vector", 0);
        let x: Vec<f64> = (0..n).map(|_| f64::from(rng.normal())).collect();
        let product =
            |i: usize| -> f64 { added * x[i] + (0..n).map(|j| h[i * n + j] * x[j]).sum::<f64>() };
        let b: Vec<f64> = (0..n).map(product).collect();
        let found = factor.solve(&b).unwrap();
        let off = x.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-9, "{off}");
    }
}

/// Of more columns than are gone through together, rows with steps of their own: the integers of the plain loop, where
/// each error moves all columns behind it at once.
#[test]
fn errors_are_fed_forward_across_panels() {
    let n = 150;
    let factor = Factor::new(&moments(n, 400, &mut Rng::new(1, "factor", 0)), n).unwrap();
    let rng = &mut Rng::new(2, "rows", 0);
    let rows: Vec<f64> = (0..3 * n).map(|_| f64::from(rng.normal())).collect();
    let steps = [0.1, 0.7, 2.0];
    let mut plain = Vec::new();
    for (row, step) in rows.chunks(n).zip(steps) {
        let mut wanted = row.to_vec();
        for i in 0..n {
            let code = (wanted[i] / step).round_ties_even().clamp(-9.0, 9.0);
            let error = row[i] - step * code;
            (i + 1..n).for_each(|j| wanted[j] += error * factor.upper[i * n + j]);
            plain.push(code as i16);
        }
    }
    assert_eq!(factor.round(&rows, &steps, 9).unwrap(), plain);
}

/// Inputs that have nothing in common: the nearest integers, those of `codec`.
#[test]
fn without_correlation_integers_are_the_nearest() {
    let rng = &mut Rng::new(2, "identity", 0);
    let values: Vec<f32> = (0..64).map(|_| rng.normal()).collect();
    let mut h = vec![0.0; 64 * 64];
    (0..64).for_each(|i| h[i * 65] = 3.0);
    let array = Array::new(vec![1, 64], values.clone()).unwrap();
    let choice = Choice { rows: Rows::Channel, bits: 4, coarser: 0 };
    let plain = Integers::new(&array, choice, 0.0).unwrap();
    let Levels::Uniform(scales) = &plain.levels else { panic!("no scales") };
    let row: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    let codes =
        Factor::new(&h, 64).unwrap().round(&row, &[f64::from(scales[0].value())], top(4)).unwrap();
    assert_eq!(codes, plain.codes);
}

/// Of four numbers, all integers within ±2 tried: errors fed forward cost less than a fifth more than the best, the
/// nearest nearly twice as much.
#[test]
fn little_is_lost_beside_the_best() {
    let (mut best, mut fed, mut nearest) = (0.0, 0.0, 0.0);
    for seed in 0..300 {
        let rng = &mut Rng::new(seed, "best", 0);
        let h = moments(4, 50, rng);
        let row: Vec<f64> = (0..4).map(|_| f64::from(0.8 * rng.normal())).collect();
        let whole: Vec<i16> = row.iter().map(|v| v.round() as i16).collect();
        let around = |k: usize| -> Vec<i16> {
            (0..4).map(|i| whole[i] + (k / 5usize.pow(i as u32) % 5) as i16 - 2).collect()
        };
        let all = (0..625).map(|k| cost(&h, &errors(&row, &around(k))));
        let least = all.fold(f64::INFINITY, f64::min);
        let own =
            cost(&h, &errors(&row, &Factor::new(&h, 4).unwrap().round(&row, &[1.0], 100).unwrap()));
        assert!(own >= least - 1e-9, "{seed}: {own} beside {least}");
        best += least;
        fed += own;
        nearest += cost(&h, &errors(&row, &whole));
    }
    assert!(fed < 1.2 * best && nearest > 1.8 * best, "{best} {fed} {nearest}");
}

/// Patches of a convolution of two groups with stride and margin, beside the definition in plain loops.
#[test]
fn moments_are_those_of_the_patches() {
    let conv = Conv { input: 4, output: 6, window: Window::new(3, 2, 1), groups: 2, bias: true };
    let rng = &mut Rng::new(3, "maps", 0);
    let mut map = |b: usize| Map {
        shape: [b, 5, 5, 4],
        values: (0..b * 100).map(|_| rng.normal() + 0.5).collect(),
    };
    let (float, rounded) = ([map(2), map(1)], [map(2), map(1)]);
    let site = Site { conv, height: 3, width: 3 };
    let found = site.moments(&float, &rounded).unwrap();
    assert_eq!(found.len(), 2);
    let at = |maps: &[Map], b: usize, y: i64, x: i64, c: usize| -> f64 {
        if !(0..5).contains(&y) || !(0..5).contains(&x) {
            return 0.0;
        }
        let (map, b) = if b < 2 { (&maps[0], b) } else { (&maps[1], 0) };
        f64::from(map.values[((b * 5 + y as usize) * 5 + x as usize) * 4 + c])
    };
    for (g, m) in found.iter().enumerate() {
        // Column: channel of the group, row and column of the window.
        let value = |maps: &[Map], p: usize, column: usize| {
            let (b, oy, ox) = (p / 9, (p % 9 / 3) as i64, (p % 3) as i64);
            let (i, ky, kx) = (column / 9, (column % 9 / 3) as i64, (column % 3) as i64);
            at(maps, b, 2 * oy + ky - 1, 2 * ox + kx - 1, 2 * g + i)
        };
        let mean = |maps: &[Map], i| (0..27).map(|p| value(maps, p, i)).sum::<f64>() / 27.0;
        let moment = |a: &[Map], i, b: &[Map], j| {
            let product: f64 = (0..27).map(|p| value(a, p, i) * value(b, p, j)).sum();
            // Of the nine positions of a picture together.
            9.0 * (product / 27.0 - mean(a, i) * mean(b, j))
        };
        for i in 0..18 {
            assert!((m.mean[i] - mean(&float, i)).abs() < 1e-12);
            assert!((m.mean_rounded[i] - mean(&rounded, i)).abs() < 1e-12);
            for j in 0..18 {
                let second = moment(&rounded, i, &rounded, j);
                assert!((m.second[i * 18 + j] - second).abs() < 1e-9);
                assert!((m.cross[i * 18 + j] - moment(&float, i, &rounded, j)).abs() < 1e-9);
            }
        }
    }
}

/// So many patches that they are multiplied in parts: beside plain sums.
#[test]
fn moments_are_those_of_all_parts() {
    let conv = Conv { input: 16, output: 2, window: Window::new(3, 1, 1), groups: 1, bias: false };
    let rng = &mut Rng::new(4, "maps", 0);
    let mut map =
        || Map { shape: [70, 16, 16, 16], values: (0..70 * 4096).map(|_| rng.normal()).collect() };
    let (float, rounded) = (map(), map());
    let site = Site { conv, height: 16, width: 16 };
    let found =
        &site.moments(std::slice::from_ref(&float), std::slice::from_ref(&rounded)).unwrap()[0];
    // The middle of a window is the picture itself.
    let place = |channel: usize| channel * 9 + 4;
    for (i, j) in [(0, 0), (3, 3), (5, 11), (15, 2)] {
        let sum = |a: &Map, b: &Map| -> f64 {
            let places = a.values.chunks(16).zip(b.values.chunks(16));
            places.map(|(a, b)| f64::from(a[i]) * f64::from(b[j])).sum::<f64>() / 70.0
        };
        let at = place(i) * 144 + place(j);
        assert!((found.second[at] - sum(&rounded, &rounded)).abs() < 1e-8, "{i} {j}");
        assert!((found.cross[at] - sum(&float, &rounded)).abs() < 1e-8, "{i} {j}");
    }
}

fn model(text: &str, size: usize) -> Model {
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

/// Pictures whose pixels have as much in common as those of photos.
fn pictures(count: usize, size: usize, seed: u64) -> Map {
    let rng = &mut Rng::new(seed, "pictures", 0);
    let mut values = Vec::new();
    for _ in 0..count {
        let (a, b, c) = (rng.normal(), rng.normal(), rng.normal());
        for p in 0..size * size {
            let (y, x) = ((p / size) as f32 / size as f32, (p % size) as f32 / size as f32);
            let shade = (3.0 * (a * y + b * x) + c).sin();
            values.extend([0; 3].map(|_| shade + 0.3 * rng.normal()));
        }
    }
    Map { shape: [count, size, size, 3], values }
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let e: Vec<f64> = logits.iter().map(|v| f64::from(*v).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

/// Of a last layer it is known: half the mean of p (1 − p), halfway to the mean over classes.
#[test]
fn importance_is_the_fisher_information() {
    let m = model("input 3;gap;f:linear 3>4 bias", 2);
    let rng = &mut Rng::new(5, "pictures", 0);
    let values = (0..4000 * 12).map(|_| 4.0 * rng.normal()).collect();
    let batch = Map { shape: [4000, 2, 2, 3], values };
    let found = importance::importance(&m, std::slice::from_ref(&batch), &[2]).unwrap();
    let logits = Device::Cpu.executor(&m).unwrap().logits(&batch.values).unwrap();
    let mut exact = [0.0; 4];
    for row in logits.chunks(4) {
        let p = softmax(row);
        (0..4).for_each(|c| exact[c] += 0.5 * p[c] * (1.0 - p[c]) / 4000.0);
    }
    let mean = exact.iter().sum::<f64>() / 4.0;
    for (found, exact) in found[0].iter().zip(exact) {
        let exact = (exact * mean).sqrt();
        assert!((found / exact - 1.0).abs() < 0.06, "{found} {exact}");
    }
}

/// Mean divergence of the answers to `pictures`, nats.
fn divergence(model: &Model, rounded: &Quantized, pictures: &Map) -> f64 {
    let rounded = Model { weights: rounded.weights().unwrap(), ..model.clone() };
    let [p, q] = [model, &rounded]
        .map(|m| Device::Cpu.executor(m).unwrap().logits(&pictures.values).unwrap());
    let classes = model.graph.classes();
    let rows = p.chunks(classes).zip(q.chunks(classes));
    let sum: f64 = rows
        .map(|(p, q)| {
            let (p, q) = (softmax(p), softmax(q));
            p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
        })
        .sum();
    sum / pictures.shape[0] as f64
}

const NETWORK: &str = "input 3;a:conv 3>16 k3 p1 bias;relu;b:conv 16>16 k3 p1 g16 bias;relu6;c:conv 16>48 k1;\
                       max k2 s2;d:conv 48>48 k3 s2 p1 g4 bias;relu;add @7,7;gap;f:linear 48>5 bias";

/// At equal bytes less than a third of what the nearest integers on equal grids cost, on pictures that it has not seen;
/// and the same for any number of threads.
#[test]
fn networks_answer_more_as_they_did() {
    let m = model(NETWORK, 8);
    let seen = || (0..4).map(|i| pictures(32, 8, i)).collect();
    let choices = uniform_choices(&m.graph, Rows::Channel, 3);
    let plain = Quantized::new(&m.graph, &m.weights, &choices).unwrap();
    let budget = m.coded_bytes(&plain).unwrap();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            to_budget(&Rounding::of(&m, seen()).unwrap(), budget, &mut || Ok(())).unwrap()
        })
    };
    let (rounded, price) = on(1);
    assert_eq!((&rounded, price), (&on(3).0, on(3).1));
    let bytes = m.coded_bytes(&rounded).unwrap();
    assert!(bytes <= budget && bytes > budget - budget / 50, "{bytes} of {budget}");
    let new = pictures(200, 8, 99);
    let [ours, theirs] = [&rounded, &plain].map(|q| divergence(&m, q, &new));
    assert!(ours < theirs / 3.0, "{ours} beside {theirs}");
    // What the price promises is about what it costs.
    let promised = price * m.graph.parameter_count() as f64;
    let seen: f64 = divergence(&m, &rounded, &pictures(32, 8, 0));
    assert!((0.2..5.0).contains(&(seen / promised)), "{seen} beside {promised}");
}

#[test]
fn a_budget_out_of_reach_is_refused() {
    let m = model(NETWORK, 8);
    let rounding = Rounding::of(&m, vec![pictures(8, 8, 0)]).unwrap();
    let told = to_budget(&rounding, 100, &mut || Ok(())).unwrap_err();
    assert!(format!("{told:#}").contains("the budget is 100: prune it"), "{told:#}");
}

/// Where bytes are no matter every weight of independent inputs is within half a scale of what it was, the largest too:
/// none is cut off.
#[test]
fn nothing_is_cut_off() {
    let m = model("input 3;a:conv 3>64 k1 bias;gap;f:linear 64>5 bias", 4);
    let rng = &mut Rng::new(6, "pictures", 0);
    let batch = Map { shape: [64, 4, 4, 3], values: (0..64 * 48).map(|_| rng.normal()).collect() };
    let rounded = Rounding::of(&m, vec![batch]).unwrap().at(1e-30).unwrap();
    let found = rounded.weights().unwrap();
    let Levels::Uniform(scales) = &rounded.0["a.weight"].levels else { panic!("a codebook") };
    for ((row, scale), float) in
        found["a.weight"].values.chunks(3).zip(scales).zip(m.weights["a.weight"].values.chunks(3))
    {
        for (w, float) in row.iter().zip(float) {
            assert!((w - float).abs() < 0.6 * scale.value(), "{w} of {float}, scale {scale:?}");
        }
    }
}
