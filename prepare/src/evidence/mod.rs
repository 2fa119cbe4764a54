//! Whether a network is what its weights were trained for: the statistics that batch norms hold, against
//! those of photos run through it. No label is needed.

mod readings;

use anyhow::{Context, Result, ensure};
use artifacts::Model;
use common::cli;
use engine::Network;
use executor::Executor;
use graph::grid::Grids;
use graph::{Graph, Op};
use photos::{self, Trouble};
use prepare::folder::Limits;
use rayon::prelude::*;
pub(crate) use readings::turn_colours;
use readings::{Reading, other_halvings, readings, with_graphs};
use std::collections::BTreeSet;
use std::path::Path;

/// Pictures run together.
const BATCH: usize = 16;

/// Most photos that are looked at, and that other readings are measured on: those are many.
const MOST: usize = 64;
const FEW: usize = 16;

/// Fewest photos that can tell. With few the statistics are those of the photos, not of their kind: a layer of
/// few pixels sees hardly any spread. The tutorial's own student, read rightly and with its colours turned
/// round, on photos of food drawn at random (eight draws, from 24 photos on three):
///
/// | photos | 1 | 2 | 3 | 4 | 6 | 8 | 16 | 60 |
/// |---|---|---|---|---|---|---|---|---|
/// | right, mean misfit | 0.300 | 0.196 | 0.165 | 0.144 | 0.125 | 0.116 | 0.098 | 0.085 |
/// | its worst batch norm | 1.23 | 1.15 | 0.48 | 0.48 | 0.29 | 0.27 | 0.23 | 0.13 |
/// | turned, mean misfit | 0.332 | 0.237 | 0.219 | 0.226 | 0.209 | 0.208 | 0.181 | 0.173 |
///
/// Up to two photos the right reading is suspicious, up to three the wrong one is not told from it by
/// [`BETTER`], at four by a hair; from eight on both are as with many.
const FEWEST: usize = 8;

/// A mean misfit, and one of a single batch norm, from which on something is wrong; and how much less
/// another reading must have to be named. On photos of food the tutorial's own student, and files of the
/// course that are read rightly, have means near 0.1 and no batch norm above 0.3.
const SUSPICIOUS: f64 = 0.3;
const SUSPICIOUS_NORM: f64 = 0.5;
const BETTER: f64 = 0.75;

/// The activations of `graph`, in words.
pub(crate) fn activations(graph: &Graph) -> String {
    let found: BTreeSet<String> = graph
        .nodes()
        .iter()
        .filter(|n| matches!(n.op, Op::Activation(_)))
        .map(|n| n.op.about().text())
        .collect();
    let strides = graph.nodes().iter().filter_map(|n| n.op.as_conv()).map(|c| c.window.stride);
    let pools = graph.nodes().iter().filter(|n| matches!(n.op, Op::MaxPool(_))).count();
    let strided = strides.filter(|s| *s > 1).count();
    let list = found.into_iter().collect::<Vec<_>>().join(" and ");
    format!("{list}, {pools} max pools, {strided} strided convolutions")
}

/// Prints how well `model` fits the photos in `folder`, and which other reading fits better.
///
/// # Errors
/// Photos that cannot be read, a network without batch norms.
pub(crate) fn weigh(model: &Model, folder: &Path, limits: Limits) -> Result<()> {
    let has_norms = model.graph.nodes().iter().any(|n| matches!(n.op, Op::BatchNorm(_)));
    ensure!(has_norms, "--photos: the network has no batch norm to ask");
    // Copies of a photo say nothing new.
    let mut pixels: Vec<Vec<u8>> = Vec::new();
    for photo in read(model, folder, limits)? {
        if !pixels.contains(&photo) {
            pixels.push(photo);
        }
    }
    if pixels.len() < FEWEST {
        cli::note(&format!(
            "--photos: nothing is said about this reading of the file: {} different photos in {} are too few \
             to tell, {FEWEST} at least are needed, a few dozen are better",
            pixels.len(),
            folder.display()
        ));
        return Ok(());
    }
    let own = misfits(model, &pixels)?;
    let misfit = mean(&own);
    let (worst, most) = own.iter().max_by(|a, b| a.1.total_cmp(&b.1)).context("no batch norm")?;
    let of = format!(
        "on {} photos, mean of {} batch norms, worst {worst} with {most:.3}",
        pixels.len(),
        own.len()
    );
    cli::note(&format!("batch-norm misfit {misfit:.3} ({of})"));
    let few: Vec<Vec<u8>> = pixels.iter().step_by(pixels.len().div_ceil(FEW)).cloned().collect();
    let Best { nearest, words, model: best } = best_reading(model, &few)?;
    nearest.iter().for_each(|line| cli::note(&format!("  {line}")));
    if !words.is_empty() {
        let less = mean(&misfits(&best, &pixels)?);
        cli::note(&format!(
            "warning: the file fits better {}: misfit {less:.3} instead of {misfit:.3}",
            words.join(", ")
        ));
        if best.graph != model.graph {
            cli::note(&format!("  --graph \"{}\"", best.graph));
        }
    } else if misfit > SUSPICIOUS || *most > SUSPICIOUS_NORM {
        let first = own.iter().find(|(_, m)| *m > SUSPICIOUS_NORM);
        cli::note(&format!(
            "warning: right readings have less. It begins at {}: what comes before it is not what the \
             network was trained with, or the photos are of another kind",
            first.map_or(worst.as_str(), |(name, _)| name)
        ));
    }
    Ok(())
}

/// The pixels of photos out of `folder`, at most [`MOST`], without those that cannot be read.
fn read(model: &Model, folder: &Path, limits: Limits) -> Result<Vec<Vec<u8>>> {
    let paths = photos::list(folder, cli::note)?;
    let step = paths.len().div_ceil(MOST);
    let read: Vec<_> = paths
        .par_iter()
        .step_by(step)
        .map(|p| (p, photos::prepare(p, &model.input.preparation, limits.max_pixels)))
        .collect();
    let allowed = limits.unreadable.at_most(read.len());
    let (mut pixels, mut unreadable) = (Vec::new(), 0);
    for (path, found) in read {
        match found {
            Ok(p) => pixels.push(p),
            Err(Trouble::Picture(reason)) if unreadable < allowed => {
                unreadable += 1;
                cli::note(&format!("unreadable: {}: {reason}", path.display()));
            }
            Err(e) => return Err(e).with_context(|| format!("--photos: {}", path.display())),
        }
    }
    ensure!(!pixels.is_empty(), "--photos: none of the photos in {} can be read", folder.display());
    Ok(pixels)
}

/// The reading that fits best.
struct Best {
    /// The nearest readings of one change, a line each.
    nearest: Vec<String>,
    /// What it changes; empty if the model as it is fits best.
    words: Vec<String>,
    model: Model,
}

/// The best reading of one change, then what is better still from there.
fn best_reading(model: &Model, pixels: &[Vec<u8>]) -> Result<Best> {
    let mut misfit = mean(&misfits(model, pixels)?);
    let mut found = measured(readings(model)?, pixels);
    let nearest =
        found.iter().take(3).map(|(value, what, _)| format!("{value:.3} {what}")).collect();
    let mut best = Best { nearest, words: Vec::new(), model: model.clone() };
    while let Some((value, what, other)) = found.into_iter().next()
        && value < BETTER * misfit
        && best.words.len() < MOST_CHANGES
    {
        (misfit, best.model) = (value, other);
        best.words.push(what);
        found = measured(with_graphs(&best.model, other_halvings(&best.model.graph)?), pixels);
    }
    Ok(best)
}

/// Changes that are put together.
const MOST_CHANGES: usize = 6;

/// Readings with their misfits, the least first; one that does not fit pictures of this size is left out.
fn measured(readings: Vec<Reading>, pixels: &[Vec<u8>]) -> Vec<(f64, String, Model)> {
    let bar = cli::progress(readings.len(), "readings");
    let mut measured = Vec::new();
    for (what, other) in readings {
        bar.inc(1);
        if let Ok(found) = misfits(&other, pixels) {
            measured.push((mean(&found), what, other));
        }
    }
    bar.finish_and_clear();
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    measured
}

fn mean(misfits: &[(String, f64)]) -> f64 {
    misfits.iter().map(|(_, m)| m).sum::<f64>() / misfits.len().max(1) as f64
}

/// Of every batch norm: the mean over its channels of |μ − m| / σ + |ln(s / σ)|, where m and s are mean and
/// standard deviation of the pictures, as training would see them, and μ and σ those that are stored.
fn misfits(model: &Model, pixels: &[Vec<u8>]) -> Result<Vec<(String, f64)>> {
    let size = model.input.preparation.size;
    let mut network = Network::new(&model.graph, &model.weights, &Grids::new(), size)?;
    let floats = model.input.preparation.bytes();
    let batches = pixels.chunks(evenly(pixels.len())).map(|chosen| {
        let mut x = vec![0.0; chosen.len() * floats];
        for (x, pixels) in x.chunks_mut(floats.max(1)).zip(chosen) {
            model.input.normalization.apply(pixels, x);
        }
        x
    });
    network.recalibrate(&mut { batches })?;
    let (found, _) = network.parametrisation().stored(&network.counting()?)?;
    let mut misfits = Vec::new();
    for node in model.graph.nodes() {
        let Op::BatchNorm(norm) = node.op else { continue };
        let pair = |end: &str| -> Result<_> {
            let key = format!("{}.{end}", node.name);
            let missing = || format!("{key} is missing");
            let stored = &model.weights.get(&key).with_context(missing)?.values;
            Ok((stored, &found.get(&key).with_context(missing)?.values))
        };
        let ((mu, m), (sigma, s)) = (pair("running_mean")?, pair("running_var")?);
        let deviation = |v: f32| f64::from(v.max(0.0) + norm.epsilon).sqrt();
        let terms = mu.iter().zip(m).zip(sigma.iter().zip(s)).map(|((mu, m), (sigma, s))| {
            let (sigma, s) = (deviation(*sigma), deviation(*s));
            (f64::from((mu - m).abs()) / sigma + (s / sigma).ln().abs()).min(LARGEST)
        });
        misfits.push((node.name.clone(), terms.sum::<f64>() / mu.len().max(1) as f64));
    }
    Ok(misfits)
}

/// Photos of a batch, [`BATCH`] at most and all batches alike: one of a single photo has no spread to
/// measure.
fn evenly(photos: usize) -> usize {
    photos.div_ceil(photos.div_ceil(BATCH).max(1)).max(1)
}

/// Most that a channel can add: one that is dead in training says nothing more than that.
const LARGEST: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::{Framing, Input, Preparation};
    use graph::rng::Rng;
    use views::{FixedViews, Normalization};

    const SIZE: usize = 16;

    /// Smooth pictures whose colours differ, as photos' do.
    fn pixels() -> Vec<Vec<u8>> {
        let picture = |i: u64| {
            let rng = &mut Rng::new(1, "picture", i);
            let (fx, fy) = (rng.between(0.2, 1.5), rng.between(0.2, 1.5));
            let one = move |c: usize, y: usize, x: usize| {
                let wave = (fx * x as f32 + c as f32).sin() * (fy * y as f32).cos();
                (120.0 - 40.0 * c as f32 + 70.0 * wave) as u8
            };
            let places = (0..3 * SIZE * SIZE).map(|i| (i / SIZE / SIZE, i / SIZE % SIZE, i % SIZE));
            places.map(|(c, y, x)| one(c, y, x)).collect()
        };
        (0..32).map(picture).collect()
    }

    /// A network whose batch norms hold the statistics of these pictures, as after training.
    fn trained() -> Model {
        let text = "input 3;a:conv 3>6 k3 p1;n:bn 6;relu6;max k2 s2;b:conv 6>8 k3 p1;m:bn 8;relu6;\
                    c:conv 8>8 k3 p1;o:bn 8;relu6;gap;f:linear 8>2 bias";
        let graph: Graph = text.parse().unwrap();
        let mut weights = graph::init::weights(&graph, 3);
        for norm in ["n", "m"] {
            // Many values beyond 6, so that relu and relu6 differ.
            weights.get_mut(&format!("{norm}.bias")).unwrap().values.fill(5.0);
        }
        let preparation = Preparation { size: SIZE, framing: Framing::Crop, exif: false };
        let input = Input { preparation, normalization: Normalization::NONE };
        let classes = ["0", "1"].map(str::to_owned).to_vec();
        let mut model =
            Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN };
        let mut network = Network::new(&model.graph, &model.weights, &Grids::new(), SIZE).unwrap();
        let x: Vec<f32> = pixels()
            .iter()
            .flat_map(|p| {
                let mut x = vec![0.0; p.len()];
                model.input.normalization.apply(p, &mut x);
                x
            })
            .collect();
        let batches = x.chunks(BATCH * 3 * SIZE * SIZE).map(<[f32]>::to_vec);
        network.recalibrate(&mut { batches }).unwrap();
        model.weights = network.parametrisation().stored(&network.counting().unwrap()).unwrap().0;
        model
    }

    fn misfit(model: &Model) -> f64 {
        mean(&misfits(model, &pixels()).unwrap())
    }

    fn best(model: &Model) -> (f64, Best) {
        (misfit(model), best_reading(model, &pixels()).unwrap())
    }

    #[test]
    fn the_right_reading_is_left_alone() {
        let (misfit, best) = best(&trained());
        assert!(misfit < 1e-4, "{misfit}");
        assert!(best.words.is_empty(), "{:?}", best.words);
    }

    /// What was changed is found, and undone the statistics fit to the rounding.
    #[test]
    fn wrong_readings_are_found_out() {
        let right = trained();
        let mut turned = right.clone();
        turn_colours(&right.graph, &mut turned.weights).unwrap();
        let mut scaled = right.clone();
        scaled.input.normalization = Normalization { mean: [0.5; 3], std: [0.5; 3] };
        let with = |from: &str, to: &str| {
            let text = right.graph.to_string().replacen(from, to, 9);
            assert_ne!(text, right.graph.to_string());
            Model { graph: text.parse().unwrap(), ..right.clone() }
        };
        for (what, wrong) in [
            ("with --colour bgr", turned),
            ("with pixels of 0 to 1", scaled),
            ("with relu6", with("relu6", "relu")),
            ("with relu6", with("relu6", "hardswish")),
            ("with a max pool behind n", with("relu6;max k2 s2;b", "relu6;b")),
            ("with stride 1 at b", with("b:conv 6>8 k3 p1", "b:conv 6>8 k3 s2 p1")),
            ("without the max pool behind m", with("relu6;c:", "relu6;max k2 s2;c:")),
        ] {
            let (misfit, best) = best(&wrong);
            assert!(misfit > 0.01, "{what}: {misfit}");
            let left = self::misfit(&best.model);
            assert_eq!(best.words, [what], "from {misfit} to {left}");
            assert!(left < 1e-4, "{what}: {left}");
        }
    }

    /// No number of photos proves anything by itself: of what does not belong to them each says so, and no
    /// batch is of one photo, which has no spread.
    #[test]
    fn few_photos_are_no_proof() {
        let right = trained();
        let mut wrong = right.clone();
        wrong.input.normalization = Normalization { mean: [5.0; 3], std: [0.01; 3] };
        for n in 1..=32 {
            let found = mean(&misfits(&wrong, &pixels()[..n]).unwrap());
            assert!(found > 1.0, "{n} photos: {found}");
        }
        for n in 2..=MOST {
            let sizes = (0..n).collect::<Vec<_>>();
            assert!(sizes.chunks(evenly(n)).all(|b| (2..=BATCH).contains(&b.len())), "{n}");
        }
    }
}
