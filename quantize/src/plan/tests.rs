//! Planning, against what is known of it by hand and by theory.

use super::exchange::Search;
use super::measure::{Log, Measure, target};
use super::waterline::{Level, Waterline};
use super::{measurements, search};
use anyhow::Result;
use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Framing, Images, Input, Model, Preparation, Provenance};
use codec::{Levels, Quantized};
use common::device::Device;
use common::interrupt::Partial;
use graph::grid::Grids;
use graph::rng::Rng;
use graph::{Array, Graph};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use views::Normalization;

const SIZE: usize = 8;

fn model(text: &str) -> Model {
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 7);
    let preparation = Preparation { size: SIZE, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Grids::new() }
}

/// A folder of a test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("crumb-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `n` pictures of noise for `model`, written to `folder`.
fn images(model: &Model, n: usize, folder: &Path) -> Images {
    let mut rng = Rng::new(1, "pixels", 0);
    let unsaved = Unsaved {
        preparation: model.input.preparation,
        classes: model.classes.clone(),
        labels: vec![None; n],
        names: (0..n).map(|i| i.to_string()).collect(),
        pixels: Data::Bytes((0..n * 3 * SIZE * SIZE).map(|_| rng.below(256) as u8).collect()),
    };
    let path = folder.join("images");
    unsaved.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
    Images::load(&path).unwrap()
}

/// The same for every tensor but those named.
fn curvatures(model: &Model, named: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<_, _> = model.graph.parameters().map(|p| (p.name, 1e-4)).collect();
    all.extend(named.iter().map(|(n, c)| ((*n).to_owned(), *c)));
    all
}

fn normal(model: &mut Model, name: &str, spread: f32) {
    let array = model.weights.get_mut(name).unwrap();
    let mut rng = Rng::new(3, name, 0);
    array.values.fill_with(|| spread * rng.normal());
}

fn step(rounded: &Quantized, name: &str) -> f32 {
    match &rounded.0[name].levels {
        Levels::Uniform(scales) => scales[0].value(),
        Levels::Codebook(_) => f32::NAN,
    }
}

/// By hand, at height 0: a curvature of 1 has a step of 1, one of 1/16 a step of 4, and a shift of −16 halves it.
/// Of 4.6, −3.4 and 0.4 that makes 5, −3 and 0, whose largest takes 4 bits; 2, −2, 0 in steps of 2 take 3.
#[test]
fn steps_follow_curvature() {
    let mut m = model("input 3;f:linear 3>1");
    m.weights.insert("f.weight".to_owned(), Array::new(vec![1, 3], vec![4.6, -3.4, 0.4]).unwrap());
    for (curvature, shift, expected, codes, bits) in [
        (1.0, 0, 1.0, [5, -3, 0], 4),
        (0.0625, 0, 4.0, [1, -1, 0], 2),
        (0.0625, -16, 2.0, [2, -2, 0], 3),
    ] {
        let line = Waterline::new(&m, &curvatures(&m, &[("f.weight", curvature)])).unwrap();
        let rounded = line.round(&Level { height: 0.0, shifts: vec![shift] }).unwrap();
        let found = &rounded.0["f.weight"];
        assert_eq!((step(&rounded, "f.weight"), found.bits), (expected, bits));
        assert_eq!(found.codes, codes);
    }
}

/// Two weights of Gaussian values; a hundredfold curvature is worth ½ log2(100) = 3.3 bits more by the theory of bit
/// allocation, and the file keeps to the budget that it nearly fills.
#[test]
fn sensitive_weights_get_more_bits() -> Result<()> {
    let mut m =
        model("input 3;a:conv 3>128 k1;b:conv 128>128 k1;c:conv 128>128 k1;gap;f:linear 128>2");
    for name in ["b.weight", "c.weight"] {
        normal(&mut m, name, 1.0);
    }
    let line = Waterline::new(&m, &curvatures(&m, &[("b.weight", 1.0), ("c.weight", 0.01)]))?;
    let mut last = 0;
    for budget in [16_000, 24_000, 32_000] {
        let landed = line.land(&line.even(-100.0), budget)?;
        let rounded = line.round(&line.fill(&landed, budget)?)?;
        let bits = |name: &str| rounded.0[name].entropy() * 8.0 / 128.0 / 128.0;
        let more = bits("b.weight") - bits("c.weight");
        assert!(budget < 20_000 || (more - 3.32).abs() < 0.15, "{more} bits more at {budget}");
        let bytes = line.bytes(&rounded)?;
        assert!(bytes <= budget && bytes > budget - 150, "{bytes} of {budget}");
        assert!(bytes > last);
        last = bytes;
        // What the plan says is what was meant.
        assert!(Quantized::new(&m.graph, &m.weights, &line.choices(&rounded)?)? == rounded);
    }
    let told = line.land(&line.even(-100.0), 200).unwrap_err().to_string();
    assert!(told.contains("takes") && told.contains("the budget is 200"), "{told}");
    Ok(())
}

/// Mean squared error of a weight.
fn error(m: &Model, rounded: &Quantized, name: &str) -> f64 {
    let (a, b) = (&m.weights[name].values, rounded.0[name].array().unwrap().values);
    let squares = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

/// A divergence that is a product: alone no tensor costs anything, and what the line is drawn by is wrong by a factor
/// of 4,096. The exchange never ends dearer than it began, keeps to the budget, and finds most of what there is.
#[test]
fn exchange_lowers_what_does_not_add_up() -> Result<()> {
    let mut m = model("input 3;a:conv 3>64 k1;b:conv 64>64 k1;c:conv 64>64 k1;gap;f:linear 64>2");
    for name in ["b.weight", "c.weight"] {
        normal(&mut m, name, 1.0);
    }
    let divergence = |q: &Quantized| {
        let [b, c] = ["b.weight", "c.weight"].map(|n| error(&m, q, n));
        Ok(1e-6 + b * c + 64.0 * c * c)
    };
    let wrong = curvatures(&m, &[("b.weight", 64.0), ("c.weight", 1.0 / 64.0)]);
    let line = Waterline::new(&m, &wrong)?;
    let budget = 6000;
    let start = line.land(&line.even(-100.0), budget)?;
    let mut measured = 0;
    let counted = |q: &Quantized| {
        measured += 1;
        divergence(q)
    };
    let found = Search { line: &line, budget, divergence: counted }.run(&start)?;
    assert!(measured <= super::exchange::measurements(line.weights().len()));
    let (before, after) = (divergence(&line.round(&start)?)?, divergence(&line.round(&found)?)?);
    assert!(after < 0.2 * before, "{before} → {after}");
    assert!(line.bytes(&line.round(&found)?)? <= budget);
    // Where the line is right already, it stays or gains.
    let right = Waterline::new(&m, &curvatures(&m, &[("b.weight", 1.0), ("c.weight", 64.0)]))?;
    let start = right.land(&right.even(-100.0), budget)?;
    let found = Search { line: &right, budget, divergence }.run(&start)?;
    let (before, after) = (divergence(&right.round(&start)?)?, divergence(&right.round(&found)?)?);
    assert!(after <= before && right.bytes(&right.round(&found)?)? <= budget, "{before} → {after}");
    Ok(())
}

/// Over all signs the mean of the squared gradient is diag p − p pᵀ, the second derivative of the divergence with
/// respect to the logits.
#[test]
fn signs_average_to_fisher_information() {
    let p = [0.7f64, 0.2, 0.1];
    let logs = p.map(f64::ln);
    let mut mean = [[0.0; 3]; 3];
    for signs in 0..8u32 {
        let mut next = 0;
        let labels = target(&logs, || {
            next += 1;
            signs >> (next - 1) & 1 == 1
        });
        let v: Vec<f64> = p.iter().zip(&labels).map(|(p, l)| p - f64::from(*l)).collect();
        for i in 0..3 {
            for j in 0..3 {
                mean[i][j] += v[i] * v[j] / 8.0;
            }
        }
    }
    for i in 0..3 {
        for j in 0..3 {
            let expected = if i == j { p[i] - p[i] * p[i] } else { -p[i] * p[j] };
            assert!((mean[i][j] - expected).abs() < 1e-6, "{i} {j}: {}", mean[i][j]);
        }
    }
}

/// A linear layer on the mean of a picture: the curvature of weight (c, j) is the mean of p_c (1 − p_c) x_j², in f64.
#[test]
fn curvature_is_that_by_hand() -> Result<()> {
    let mut m = model("input 3;gap;f:linear 3>3 bias");
    normal(&mut m, "f.weight", 2.0);
    let folder = Folder::new("curvature");
    let images = images(&m, 3000, &folder.0);
    let found = Measure::new(&m, &images, 3000, Device::Cpu)?.curvature()?;
    let (w, b) = (&m.weights["f.weight"].values, &m.weights["f.bias"].values);
    let (mut weight, mut bias) = (0.0, 0.0);
    for i in 0..3000 {
        let mut pixels = vec![0.0f32; 3 * SIZE * SIZE];
        m.input.normalization.apply(images.pixels(i), &mut pixels);
        let x: Vec<f64> = (0..3)
            .map(|c| pixels.iter().skip(c).step_by(3).map(|v| f64::from(*v)).sum::<f64>() / 64.0)
            .collect();
        let z = |c: usize| {
            f64::from(b[c]) + (0..3).map(|j| f64::from(w[3 * c + j]) * x[j]).sum::<f64>()
        };
        let e = [0, 1, 2].map(|c| z(c).exp());
        let p = e.map(|v| v / e.iter().sum::<f64>());
        let variances: f64 = p.iter().map(|p| p * (1.0 - p)).sum();
        bias += variances / 3.0 / 3000.0;
        weight += variances * x.iter().map(|x| x * x).sum::<f64>() / 9.0 / 3000.0;
    }
    for (name, expected) in [("f.weight", weight), ("f.bias", bias)] {
        let ratio = found[name] / expected;
        assert!((ratio - 1.0).abs() < 0.06, "{name}: {ratio} of {expected}");
    }
    Ok(())
}

/// What was measured before an interruption is not measured again, and the plan is that of a run without one, for any
/// number of threads; it
/// keeps to its budget, and its network is nearer to the float one than one of even steps.
#[test]
fn neither_interruptions_nor_threads_change_a_plan() -> Result<()> {
    let m = model(
        "input 3;a:conv 3>24 k3 p1 bias;relu;b:conv 24>48 k1 bias;relu;gap;f:linear 48>4 bias",
    );
    let folder = Folder::new("search");
    let images = images(&m, 40, &folder.0);
    let budget = 2600;
    let run = |partial: Option<&Partial>| -> Result<_> {
        let mut measure = Measure::new(&m, &images, 40, Device::Cpu)?;
        let line = Waterline::new(&m, &measure.curvature()?)?;
        let mut log = Log::start(partial, measurements(line.weights().len()))?;
        let found = search(&line, &mut measure, &mut log, budget)?;
        assert!(line.bytes(&found.0)? <= budget);
        let even = line.round(&line.land(&line.even(-100.0), budget)?)?;
        let (even, of) = (measure.of(&even.weights()?)?.0, measure.of(&found.0.weights()?)?.0);
        assert!(of <= 1.05 * even, "{even} → {of}");
        Ok((found, log.measured.clone()))
    };
    let (whole, measured) = run(None)?;
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let (found, again) = pool.install(|| run(None))?;
        assert!(found == whole && again == measured, "on {threads} threads");
    }
    let provenance = Provenance::new("test", &())?;
    let partial = Partial::beside(&folder.0.join("x"), &provenance, &())?;
    for kept in [1, 9, measured.len() - 1] {
        partial.save(measured[..kept].iter().flat_map(|d| d.to_le_bytes()).collect())?;
        let (found, again) = run(Some(&partial))?;
        assert!(found == whole && again == measured, "after {kept} measurements");
    }
    Ok(())
}
