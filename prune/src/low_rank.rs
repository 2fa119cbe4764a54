//! `prune low-rank`: layers as products of two thinner ones.

use crate::files::Files;
use crate::limits::Limits;
use crate::svd::Svd;
use anyhow::{Context, Result, ensure};
use artifacts::Model;
use common::cli;
use graph::op::Conv;
use graph::rewrite::{Factoring, Windowed};
use graph::{Array, Graph, Node, Op, Weights};
use serde::Serialize;
use std::collections::BTreeMap;

/// Replace layers by products of two thinner ones.
///
/// The singular values of a weight say how much of it every rank holds. Pointwise convolutions and
/// linear layers become two of them; a k × k convolution becomes one to few channels and a pointwise
/// one, or a pointwise one to few channels and a k × k one, whichever is smaller at the same energy: the
/// weights' own singular values decide (Denton et al. 2014, "Exploiting linear structure within
/// convolutional networks"), not the layer's answers. Layer x becomes x.0 and x.1, as a Sequential in its
/// place would in PyTorch. Layers that would not get smaller, those with channel groups, and those that
/// quantize pack joins with the last, stay. With --images batch norm is recalibrated afterwards.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prune low-rank --model student.safetensors --energy 0.9 --dry-run
  prune low-rank --model student.safetensors --params 120000 --images training.safetensors \\
      --out factored.safetensors")]
pub(crate) struct LowRank {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    selection: Selection,
}

/// Energy that is kept where nothing says how much.
const ENERGY: f64 = 0.9;

/// What decides the ranks.
#[derive(Serialize, clap::Args)]
struct Selection {
    /// Share of every weight's squared singular values to keep, above 0 to 1 [default: 0.9, where no
    /// other target is given].
    #[arg(long, conflicts_with_all = ["params", "macs", "bytes"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    energy: Option<f64>,
    #[command(flatten)]
    #[serde(flatten)]
    limits: Limits,
    /// Rank no layer goes below.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    floor: u32,
}

impl LowRank {
    pub(crate) fn run(self) -> Result<String> {
        let mut selection = self.selection;
        if !selection.limits.is_any() {
            selection.energy.get_or_insert(ENERGY);
        }
        let Selection { energy, limits, floor } = &selection;
        let valid = energy.is_none_or(|e| e > 0.0 && e <= 1.0);
        ensure!(valid, "--energy {}: expected above 0 to 1", energy.unwrap_or_default());
        let opened = self.files.open()?;
        let model = &opened.model;
        let layers = layers(model)?;
        let at = |energy: f64| factored(model, &layers, |l| l.choose(energy, *floor as usize));
        let smaller = match energy {
            Some(energy) => at(*energy)?,
            None => limits.least(|share| at(1.0 - share.value()))?,
        };
        self.files.finish(&opened, smaller, limits, "prune low-rank", &selection)
    }
}

/// A layer that can be factored, with the singular values of both ways.
struct Layer {
    name: String,
    conv: Conv,
    ways: Vec<(Windowed, Svd)>,
}

/// Every convolution of one group, and every linear layer, but for those that no file holds.
fn layers(model: &Model) -> Result<Vec<Layer>> {
    let joined = model.graph.joined_names()?;
    let convs: Vec<(&Node, Conv)> = model
        .graph
        .nodes()
        .iter()
        .filter(|n| !joined.contains(&n.name))
        .filter_map(|n| Some((n, n.op.as_conv().filter(|c| c.groups == 1)?)))
        .collect();
    let bar = cli::progress(convs.len(), "factoring");
    let mut layers = Vec::new();
    for (node, conv) in convs {
        let name = &node.name;
        let weight = model.weights.get(&format!("{name}.weight"));
        let weight = weight.with_context(|| format!("tensor {name}.weight is missing"))?;
        let way = |windowed| -> Result<(Windowed, Svd)> {
            let svd = svd(weight, &conv, windowed).with_context(|| format!("{name}.weight"))?;
            Ok((windowed, svd))
        };
        let mut ways = vec![way(Windowed::First)?];
        // A linear layer reads flat pictures: none of its factors has a window.
        if conv.window.kernel > 1 && matches!(node.op, Op::Conv(_)) {
            ways.push(way(Windowed::Second)?);
        }
        layers.push(Layer { name: name.clone(), conv, ways });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(layers)
}

/// Of the weight `[output, input, k, k]` as a matrix: first, `[output, input · k · k]`; second,
/// `[output · k · k, input]`.
fn svd(weight: &Array, conv: &Conv, windowed: Windowed) -> Result<Svd> {
    let (output, input, taps) = (conv.output, conv.input, conv.window.taps());
    let at = |o: usize, i: usize, t: usize| f64::from(weight.values[(o * input + i) * taps + t]);
    match windowed {
        Windowed::First => {
            let values: Vec<f64> = weight.values.iter().map(|v| f64::from(*v)).collect();
            Svd::new(output, input * taps, &values)
        }
        Windowed::Second => {
            let mut values = Vec::with_capacity(weight.values.len());
            for row in 0..output * taps {
                values.extend((0..input).map(|i| at(row / taps, i, row % taps)));
            }
            Svd::new(output * taps, input, &values)
        }
    }
}

impl Layer {
    /// Weights of its factors.
    fn weights(&self, windowed: Windowed, rank: usize) -> usize {
        let Conv { input, output, .. } = self.conv;
        let taps = self.conv.window.taps();
        match windowed {
            Windowed::First => rank * (input * taps + output),
            Windowed::Second => rank * (input + output * taps),
        }
    }

    /// The smaller of both ways that keep `energy`, if it is smaller than the layer.
    fn choose(&self, energy: f64, floor: usize) -> Option<Factoring> {
        let ways = self.ways.iter().map(|(windowed, svd)| {
            let rank = svd.rank(energy).max(floor.min(svd.values().len()));
            (self.weights(*windowed, rank), Factoring { rank, windowed: *windowed })
        });
        let (weights, factoring) = ways.min_by_key(|(weights, _)| *weights)?;
        let whole = self.conv.input * self.conv.output * self.conv.window.taps();
        (weights < whole).then_some(factoring)
    }

    /// The weights of both factors.
    fn factors(&self, factoring: &Factoring) -> Result<[Vec<f32>; 2]> {
        let Factoring { rank, windowed } = *factoring;
        let way = self.ways.iter().find(|(w, _)| *w == windowed);
        let (_, svd) = way.with_context(|| format!("{}: no such factors", self.name))?;
        let (left, right) = svd.factors(rank);
        let taps = self.conv.window.taps();
        if windowed == Windowed::First {
            return Ok([right, left]);
        }
        // [output · taps, rank] → [output, rank, taps].
        let mut second = Vec::with_capacity(left.len());
        for o in 0..self.conv.output {
            for r in 0..rank {
                second.extend((0..taps).map(|t| left[(o * taps + t) * rank + r]));
            }
        }
        Ok([right, second])
    }
}

/// `model` with the layers that `choose` has factors for as pairs.
fn factored(
    model: &Model,
    layers: &[Layer],
    choose: impl Fn(&Layer) -> Option<Factoring>,
) -> Result<Model> {
    let chosen: BTreeMap<&str, (&Layer, Factoring)> =
        layers.iter().filter_map(|l| Some((l.name.as_str(), (l, choose(l)?)))).collect();
    let find = |name: &str| chosen.get(name).map(|(_, f)| f.clone());
    let graph: Graph = model.graph.factored(|node| find(&node.name))?;
    let mut weights: Weights = model.weights.clone();
    let shapes: BTreeMap<String, Vec<usize>> =
        graph.parameters().map(|p| (p.name, p.shape)).collect();
    for (name, (layer, factoring)) in &chosen {
        for (i, values) in layer.factors(factoring)?.into_iter().enumerate() {
            let key = format!("{name}.{i}.weight");
            let shape = shapes.get(&key).with_context(|| format!("no tensor {key}"))?;
            weights.insert(key, Array::new(shape.clone(), values)?);
        }
        weights.remove(&format!("{name}.weight"));
        if let Some(bias) = weights.remove(&format!("{name}.bias")) {
            weights.insert(format!("{name}.1.bias"), bias);
        }
    }
    graph.check_weights(&weights)?;
    Ok(Model { graph, weights, ..model.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::{Framing, Input, Preparation};
    use common::device::Device;
    use graph::families::{ALL, Knobs};
    use graph::grid::Grids;
    use graph::rng::Rng;
    use views::{FixedViews, Normalization};

    const SIZE: usize = 32;

    fn model(graph: Graph) -> Model {
        let mut weights = graph::init::weights(&graph, 1);
        for (name, array) in &mut weights {
            if array.shape.len() == 1 {
                let rng = &mut Rng::new(1, name, 1);
                array.values.fill_with(|| rng.between(0.5, 1.5));
            }
        }
        let preparation = Preparation { size: SIZE, framing: Framing::Crop, exif: false };
        let input = Input { preparation, normalization: Normalization::NONE };
        let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
    }

    fn logits(model: &Model) -> Vec<f32> {
        let rng = &mut Rng::new(1, "pictures", 0);
        let x: Vec<f32> = (0..2 * 3 * SIZE * SIZE).map(|_| rng.normal()).collect();
        Device::Cpu.executor(model).unwrap().logits(&x).unwrap()
    }

    fn off(a: &[f32], b: &[f32]) -> f32 {
        let largest = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        a.iter().zip(b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max)
    }

    /// At full rank the product is the weight, whichever way a layer is pulled apart.
    #[test]
    fn full_rank_is_exact_for_every_family() {
        let knobs = Knobs { width: 0.3, ..Knobs::standard(5) };
        let families = ALL.iter().map(|f| (f.name, f.build(&knobs).unwrap()));
        let flat =
            "input 3;a:conv 3>9 k3 s8 p1 bias;silu;f:linear 9>20 k4 bias;hardswish;g:linear 20>5";
        for (name, graph) in families.chain([("flat", flat.parse().unwrap())]) {
            let model = model(graph);
            let (before, layers) = (logits(&model), layers(&model).unwrap());
            for second in [false, true] {
                let full = |l: &Layer| {
                    let (windowed, svd) = if second { l.ways.last()? } else { l.ways.first()? };
                    Some(Factoring { rank: svd.values().len(), windowed: *windowed })
                };
                let whole = factored(&model, &layers, full).unwrap();
                assert!(whole.graph.nodes().len() > model.graph.nodes().len(), "{name}");
                let error = off(&logits(&whole), &before);
                assert!(error < 1e-5, "{name}: {error}");
            }
        }
    }

    /// A weight that was made of rank 3 is found to be, and nothing is lost at that rank.
    #[test]
    fn a_rank_that_is_there_is_found() {
        let text = "input 3;a:conv 3>24 k3 s2 p1;n:bn 24;relu;b:conv 24>20 k3 p1 bias;relu;gap;\
                    f:linear 20>5 bias";
        let mut model = model(text.parse().unwrap());
        let rng = &mut Rng::new(2, "factors", 0);
        let [left, right] =
            [20 * 3, 3 * 24 * 9].map(|n| (0..n).map(|_| rng.normal() / 5.0).collect::<Vec<f32>>());
        let b = &mut model.weights.get_mut("b.weight").unwrap().values;
        for (i, v) in b.iter_mut().enumerate() {
            let (o, j) = (i / 216, i % 216);
            *v = (0..3).map(|r| left[o * 3 + r] * right[r * 216 + j]).sum();
        }
        let layers = layers(&model).unwrap();
        let only_b = |l: &Layer| (l.name == "b").then(|| l.choose(0.999_999, 1)).flatten();
        let smaller = factored(&model, &layers, only_b).unwrap();
        assert!(smaller.graph.to_string().contains("b.0:conv 24>3 k3 p1;b.1:conv 3>20 k1 bias"));
        assert!(off(&logits(&smaller), &logits(&model)) < 1e-5);
        // What would not get smaller stays: 24 × 27 weights are 23 · (24 + 27) at the least rank.
        assert!(layers[0].choose(1.0, 1).is_none());
    }
}
