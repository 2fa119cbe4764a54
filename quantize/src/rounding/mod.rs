//! Rounding that knows what the weights are multiplied with.
//!
//! What an error e in a row of a weight does to the answers is, in nats, about r · eᵀHe: H the second moment of what
//! the row is multiplied with, r how much the answers owe to its output ([`importance`]). So
//!
//! * each integer makes up for the errors of those before it (GPTQ: [`factor`]);
//! * the grid of a row is as wide as makes the error of one number cost the same nats everywhere: then no bit would be
//!   better spent elsewhere (reverse water-filling: Cover & Thomas 2006, "Elements of information theory", section
//!   10.3.3). One price, found by the size of the file, decides all grids; entropy coding does the rest;
//! * layers are rounded in their order, and each is given what reaches it through those already rounded, with the
//!   float network's result as its aim, so that it makes up for their errors, too (Li et al. 2025, "GPTAQ"; Lifar et al.
//!   2026, "WaterSIC"); what is left of the mean goes into the bias.
//!
//! Networks run in the reference executor, which can be looked into; only the CPU computes here, and sums are added up
//! in an order that no number of threads changes.

mod budget;
mod factor;
mod importance;
mod moments;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, ensure};
use artifacts::{Images, Model};
pub(crate) use budget::to_budget;
use codec::{Integers, Quantized, Rows, uniform_choices};
use factor::Factor;
use graph::grid::{Grid, MOST_BITS, Scale, top};
use graph::{Array, Graph, Role, Shape, Weights};
use moments::{Moments, Site};
use rayon::prelude::*;
use reference::Matrix;
use reference::look::{self, Map};
use std::collections::BTreeMap;
use views::{View, render};

/// Pictures run together.
const BATCH: usize = 32;

/// Least pivot that counts, beside the mean of its layer's.
const LEAST_PIVOT: f64 = 1e-2;

/// Variance of a number that is rounded to whole ones.
const VARIANCE: f64 = 1.0 / 12.0;

/// The convolution at `node`, if it is one.
fn site(graph: &Graph, shapes: &[Shape], node: usize) -> Option<Site> {
    let conv = graph.nodes()[node].op.as_conv()?;
    let [height, width, _] = shapes[node];
    Some(Site { conv, height, width })
}

/// A folded model with what its pictures say.
pub(crate) struct Rounding<'a> {
    model: &'a Model,
    shapes: Vec<Shape>,
    batches: Vec<Map>,
    /// By node; see [`importance`].
    importance: BTreeMap<usize, Vec<f64>>,
}

/// A layer's integers, and its bias as it should be.
struct Layer {
    weight: Integers,
    bias: Option<Vec<f64>>,
}

impl<'a> Rounding<'a> {
    /// Of the folded `model`, by the views `chosen` of `images`, each with its picture.
    ///
    /// # Errors
    /// Pictures of another size than the network's, or none.
    pub(crate) fn new(model: &'a Model, images: &Images, chosen: &[(usize, View)]) -> Result<Self> {
        ensure!(!chosen.is_empty(), "{}: no pictures", images.source.name);
        let size = model.input.preparation.size;
        let batch = |chosen: &[(usize, View)]| {
            let floats = images.preparation.bytes();
            let mut values = vec![0.0; chosen.len() * floats];
            for (x, (i, view)) in values.chunks_mut(floats.max(1)).zip(chosen) {
                render(images, *i, view, &model.input.normalization, x);
            }
            Map { shape: [chosen.len(), size, size, 3], values }
        };
        Self::of(model, chosen.chunks(BATCH).map(batch).collect())
    }

    /// By these batches of pictures.
    fn of(model: &'a Model, batches: Vec<Map>) -> Result<Self> {
        let nodes = model.graph.nodes().iter().enumerate();
        let convs: Vec<usize> =
            nodes.filter(|(_, n)| n.op.as_conv().is_some()).map(|(i, _)| i).collect();
        let found = importance::importance(model, &batches, &convs)?;
        let importance = convs.into_iter().zip(found).collect();
        let shapes = model.graph.shapes(model.input.preparation.size)?;
        Ok(Self { model, shapes, batches, importance })
    }

    /// The network where every number's error costs `price` nats, as long as errors are small.
    ///
    /// # Errors
    /// What a device or the codec says.
    pub(crate) fn at(&self, price: f64) -> Result<Quantized> {
        let Model { graph, weights, .. } = self.model;
        let (mut done, mut rounded) = (BTreeMap::new(), Weights::new());
        // Of vectors that are no biases of convolutions: those are overwritten below.
        let usual = uniform_choices(graph, Rows::Tensor, MOST_BITS);
        for p in graph.parameters().filter(|p| p.role.is_trained()) {
            let array = weights.get(&p.name).with_context(|| format!("{} is missing", p.name))?;
            if p.role != Role::Weight {
                let integers = Integers::new(array, usual[&p.name], 0.0)?;
                rounded.insert(p.name.clone(), integers.array()?);
                done.insert(p.name, integers);
            }
        }
        let readers = graph.readers();
        // Results of the float network and of the rounded one, by node and batch, while somebody reads them.
        let mut results: [Vec<Vec<Map>>; 2] = [(); 2].map(|()| vec![Vec::new(); readers.len()]);
        for (i, node) in graph.nodes().iter().enumerate() {
            if let Some(site) = site(graph, &self.shapes, i) {
                let [float, now] = [0, 1].map(|k| results[k][node.inputs[0]].as_slice());
                let layer = self.layer(i, &site, &site.moments(float, now)?, price)?;
                let name = |end: &str| format!("{}.{end}", node.name);
                if let Some(bias) = layer.bias {
                    let bias = self.bias(i, &site, &bias, price)?;
                    rounded.insert(name("bias"), bias.array()?);
                    done.insert(name("bias"), bias);
                }
                rounded.insert(name("weight"), layer.weight.array()?);
                done.insert(name("weight"), layer.weight);
            }
            for (results, weights) in results.iter_mut().zip([weights, &rounded]) {
                let result = |(b, pictures): (usize, &Map)| {
                    let inputs: Vec<&Map> = node.inputs.iter().map(|j| &results[*j][b]).collect();
                    look::result(node, weights, pictures, &inputs)
                };
                let made =
                    self.batches.par_iter().enumerate().map(result).collect::<Result<_>>()?;
                results[i] = made;
                for j in &node.inputs {
                    if readers[*j].iter().all(|r| *r <= i) {
                        results[*j] = Vec::new();
                    }
                }
            }
        }
        Ok(Quantized(done))
    }

    /// The layer at `node`, whose inputs have these moments, by group.
    fn layer(&self, node: usize, site: &Site, moments: &[Moments], price: f64) -> Result<Layer> {
        let Model { graph, weights, .. } = self.model;
        let name = &graph.nodes()[node].name;
        let array = weights.get(&format!("{name}.weight"));
        let array = array.with_context(|| format!("{name}.weight is missing"))?;
        let (n, importance) = (site.columns(), &self.importance[&node]);
        let per_group = site.conv.output / site.conv.groups;
        let factors = moments.par_iter().map(|m| Factor::new(&m.second, n));
        let factors = factors.collect::<Result<Vec<Factor>>>()?;
        let pivots = pivots(&factors);
        let group = |(g, rows): (usize, &[f32])| -> Result<(Vec<Scale>, Vec<i16>)> {
            let rows: Vec<f64> = rows.iter().map(|v| f64::from(*v)).collect();
            let aims = aims(&rows, &moments[g], &factors[g], n)?;
            let own = &importance[g * per_group..][..per_group];
            let scales = aims.chunks(n).zip(own).map(|(aim, i)| scale(price, i * pivots[g], aim));
            let scales: Vec<Scale> = scales.collect();
            let steps: Vec<f64> = scales.iter().map(|s| f64::from(s.value())).collect();
            Ok((scales, factors[g].round(&aims, &steps, top(MOST_BITS))?))
        };
        let groups = array.values.par_chunks(per_group * n).enumerate().map(group);
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let (scales, codes): (Vec<Vec<Scale>>, Vec<Vec<i16>>) = groups.into_iter().unzip();
        let scales = scales.into_iter().flatten().collect();
        let codes: Vec<i16> = codes.into_iter().flatten().collect();
        let grid = Grid { bits: bits(&codes), scales };
        let weight = Integers::from_codes(array.shape.clone(), grid, codes)?;
        let bias = weights.get(&format!("{name}.bias")).filter(|_| site.conv.bias);
        let bias = bias.map(|b| biases(b, array, &weight.array()?, moments)).transpose()?;
        Ok(Layer { weight, bias })
    }

    /// The bias `values` of the layer at `node`: a number that is multiplied with one at every position.
    fn bias(&self, node: usize, site: &Site, values: &[f64], price: f64) -> Result<Integers> {
        let importance = &self.importance[&node];
        let mean = importance.iter().sum::<f64>() / importance.len().max(1) as f64;
        let scale = scale(price, mean * site.positions() as f64, values);
        let most = f64::from(top(MOST_BITS));
        let code = |v: &f64| (v / f64::from(scale.value())).round_ties_even().clamp(-most, most);
        let codes: Vec<i16> = values.iter().map(|v| code(v) as i16).collect();
        let grid = Grid { bits: bits(&codes), scales: vec![scale] };
        Integers::from_codes(vec![values.len()], grid, codes)
    }
}

/// The pivot that stands for all of a group, of every group: between geometric mean, which is right where no number is
/// rounded to zero, and mean.
fn pivots(factors: &[Factor]) -> Vec<f64> {
    let count: usize = factors.iter().map(|f| f.pivots.len()).sum();
    let mean = factors.iter().flat_map(|f| &f.pivots).sum::<f64>() / count.max(1) as f64;
    let middle = |f: &Factor| {
        let roots: f64 = f.pivots.iter().map(|d| d.max(LEAST_PIVOT * mean).sqrt()).sum();
        (roots / f.pivots.len().max(1) as f64).powi(2)
    };
    factors.iter().map(middle).collect()
}

/// The scale at which an error of a number of `row` costs `price` nats on average, where one of e costs e² · `cost`;
/// wide enough to reach all of the row.
fn scale(price: f64, cost: f64, row: &[f64]) -> Scale {
    let largest = row.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    // The nearest scale to what just reaches may be below it, and would cut the largest weights off by up to 2 %.
    let reaching = Scale::nearest((largest / f64::from(top(MOST_BITS))) as f32).coarser(1);
    Scale::nearest((price / (VARIANCE * cost)).sqrt() as f32).max(reaching)
}

/// The weights that make of the inputs as they are what comes nearest to the float network's result: of each of `rows`,
/// of `n` numbers.
fn aims(rows: &[f64], moments: &Moments, factor: &Factor, n: usize) -> Result<Vec<f64>> {
    let gaps: Vec<f64> = moments.cross.iter().zip(&moments.second).map(|(c, s)| c - s).collect();
    let added = factor.solve(&Matrix::new(rows, n)?.times(&Matrix::new(&gaps, n)?)?)?;
    Ok(rows.iter().zip(added).map(|(w, a)| w + a).collect())
}

/// `bias` with what the rounded weight and its inputs do to the mean of every output.
fn biases(bias: &Array, float: &Array, rounded: &Array, moments: &[Moments]) -> Result<Vec<f64>> {
    let n = float.values.len() / bias.values.len().max(1);
    let per_group = bias.values.len() / moments.len().max(1);
    let mean = |row: &[f32], means: &[f64]| -> f64 {
        row.iter().zip(means).map(|(w, m)| f64::from(*w) * m).sum()
    };
    let rows = float.values.chunks(n.max(1)).zip(rounded.values.chunks(n.max(1))).enumerate();
    Ok(rows
        .zip(&bias.values)
        .map(|((o, (float, rounded)), b)| {
            let m = &moments[o / per_group.max(1)];
            f64::from(*b) + mean(float, &m.mean) - mean(rounded, &m.mean_rounded)
        })
        .collect())
}

/// Fewest bits that hold `codes`.
fn bits(codes: &[i16]) -> u8 {
    let most = codes.iter().map(|q| q.abs()).max().unwrap_or(0);
    (2..MOST_BITS).find(|b| top(*b) >= most).unwrap_or(MOST_BITS)
}
