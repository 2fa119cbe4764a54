//! Weights that PyTorch keeps as parts and multiplies before every use, multiplied out.
//!
//! | made by | parts | weight |
//! |---|---|---|
//! | `torch.nn.utils.prune` | `w_orig`, `w_mask` | orig · mask |
//! | `weight_norm` (Salimans and Kingma 2016, equation 2) | `w_g`, `w_v`; `parametrizations.w.original0`, `original1` | g · v / ‖v‖ |
//! | `spectral_norm` (Miyato et al. 2018, equation 8) | `w_orig`, `w_u`, `w_v`; `parametrizations.w.original`, `0._u`, `0._v` | W / uᵀWv |
//!
//! ‖v‖ is over all dimensions but the one in which g has sizes; W is a matrix of output channels × the rest.
//! Other parametrizations are functions that no file holds: they stay as they are, and that is said.

use crate::values::{Bundle, Tensor, Values};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// How a weight is made of parts.
#[derive(Clone, Copy)]
enum Kind {
    Mask,
    WeightNorm,
    SpectralNorm,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Mask, Self::WeightNorm, Self::SpectralNorm];

    /// The parts' names for a weight called `name` of a module called `module`, in either spelling: the
    /// first stands where the weight will.
    fn spellings(self, module: &str, name: &str) -> [Vec<String>; 2] {
        let old = |end: &str| format!("{module}{name}_{end}");
        let new = |end: &str| format!("{module}{PARAMETRIZED}{name}.{end}");
        match self {
            Self::Mask => [vec![old("orig"), old("mask")], Vec::new()],
            Self::WeightNorm => {
                [vec![old("g"), old("v")], vec![new("original0"), new("original1")]]
            }
            Self::SpectralNorm => [
                vec![old("orig"), old("u"), old("v")],
                vec![new("original"), new("0._u"), new("0._v")],
            ],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Mask => "pruning masks",
            Self::WeightNorm => "weight norm",
            Self::SpectralNorm => "spectral norm",
        }
    }

    /// The weight; None where the parts' shapes are not those of this kind.
    fn multiplied(self, parts: &[&Tensor]) -> Option<Result<Tensor>> {
        let values: Vec<Vec<f64>> = parts.iter().map(|p| p.values.to_f64()).collect();
        let (like, product) = match (self, parts) {
            (Self::Mask, [weight, mask]) => {
                let is_mask =
                    mask.shape == weight.shape && values[1].iter().all(|m| *m == 0.0 || *m == 1.0);
                let product = || values[0].iter().zip(&values[1]).map(|(w, m)| w * m).collect();
                (*weight, is_mask.then(product))
            }
            (Self::WeightNorm, [g, v]) => (*v, normed(g, &v.shape, &values[0], &values[1])),
            (Self::SpectralNorm, [weight, ..]) if values.len() == 3 => {
                let [w, u, v] = [&values[0], &values[1], &values[2]].map(|x| &x[..]);
                let is_matrix = weight.shape.len() > 1
                    && weight.shape.first() == Some(&u.len())
                    && u.len().checked_mul(v.len()) == Some(w.len())
                    && !w.is_empty();
                let row = |(u, row): (&f64, &[f64])| {
                    u * row.iter().zip(v).map(|(w, v)| w * v).sum::<f64>()
                };
                let divided = || {
                    let sigma: f64 = u.iter().zip(w.chunks_exact(v.len())).map(row).sum();
                    w.iter().map(|w| w / sigma).collect()
                };
                (*weight, is_matrix.then(divided))
            }
            _ => return None,
        };
        let product: Vec<f64> = product?;
        let values = match like.values {
            Values::F64(_) => Values::F64(product),
            _ => Values::F32(product.into_iter().map(|x| x as f32).collect()),
        };
        Some(Tensor::new(like.shape.clone(), values))
    }
}

/// Before the name of a weight that a module of `torch.nn.utils.parametrize` computes.
const PARAMETRIZED: &str = "parametrizations.";

/// g · v / ‖v‖; None where g has sizes in more than one dimension, or not v's.
fn normed(g: &Tensor, shape: &[usize], scales: &[f64], v: &[f64]) -> Option<Vec<f64>> {
    if v.is_empty() {
        return None;
    }
    let is_whole =
        g.shape.is_empty() || g.shape.iter().all(|d| *d == 1) && g.shape.len() == shape.len();
    let mut wide = g.shape.iter().zip(shape).enumerate().filter(|(_, (g, _))| **g != 1);
    // Values that follow each other at the same place of that dimension, and its size.
    let (run, size) = match (is_whole, wide.next(), wide.next()) {
        (true, ..) => (1, 1),
        (_, Some((d, (g, s))), None) if g == s => (shape[d + 1..].iter().product(), *s),
        _ => return None,
    };
    if scales.len() != size || !is_whole && g.shape.len() != shape.len() {
        return None;
    }
    let place = |i: usize| i / run % size;
    let mut squares = vec![0.0; size];
    v.iter().enumerate().for_each(|(i, v)| squares[place(i)] += v * v);
    Some(
        v.iter()
            .enumerate()
            .map(|(i, v)| v * scales[place(i)] / squares[place(i)].sqrt())
            .collect(),
    )
}

/// The tensors with weights in place of their parts, and what was done, a line for each kind.
///
/// # Errors
/// Only tensors that are none.
pub(super) fn multiplied(mut tensors: Bundle) -> Result<(Bundle, Vec<String>)> {
    let mut notes = Vec::new();
    // Masks first: what they prune may itself be a part.
    for kind in Kind::ALL {
        let count = replace(kind, &mut tensors)?;
        if count > 0 {
            notes.push(format!("{} of {count} tensors multiplied out", kind.words()));
        }
    }
    let is_left =
        |name: &&str| name.split('.').any(|part| part == &PARAMETRIZED[..PARAMETRIZED.len() - 1]);
    if let Some(left) = tensors.iter().map(|(n, _)| n.as_str()).find(is_left) {
        notes.push(format!(
            "{left} is of a parametrization that no file tells how to compute: \
             torch.nn.utils.parametrize.remove_parametrizations(module, name), then torch.save, does"
        ));
    }
    Ok((tensors, notes))
}

/// Multiplies out every weight of one kind; how many.
fn replace(kind: Kind, tensors: &mut Bundle) -> Result<usize> {
    let at: BTreeMap<&str, usize> =
        tensors.iter().enumerate().map(|(i, (n, _))| (n.as_str(), i)).collect();
    let mut made: BTreeMap<usize, (String, Tensor)> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for name in at.keys() {
        let Some((module, weight)) = weight_of(name) else { continue };
        let whole = format!("{module}{weight}");
        let others = format!("{module}{PARAMETRIZED}{weight}.");
        for parts in kind.spellings(module, weight) {
            let places: Option<Vec<usize>> =
                parts.iter().map(|p| at.get(p.as_str()).copied()).collect();
            let Some(places) = places.filter(|p| !p.is_empty() && !gone.contains(&p[0])) else {
                continue;
            };
            // A second function of the same weight would come between.
            let more =
                at.range(others.as_str()..).take_while(|(n, _)| n.starts_with(&others)).count();
            if at.contains_key(whole.as_str()) || more > 0 && more != parts.len() {
                continue;
            }
            let tensors: Vec<&Tensor> = places.iter().map(|i| &tensors[*i].1).collect();
            let Some(product) = kind.multiplied(&tensors) else { continue };
            made.insert(places[0], (whole.clone(), product.with_context(|| whole.clone())?));
            gone.extend(places);
        }
    }
    let count = made.len();
    let old = std::mem::take(tensors).into_iter().enumerate();
    tensors.extend(
        old.filter_map(|(i, tensor)| made.remove(&i).or((!gone.contains(&i)).then_some(tensor))),
    );
    Ok(count)
}

/// Module, with its dot, and name of the weight that a tensor may be the first part of.
fn weight_of(name: &str) -> Option<(&str, &str)> {
    if let Some((module, rest)) = name.split_once(PARAMETRIZED) {
        return Some((module, rest.strip_suffix(".original0").or(rest.strip_suffix(".original"))?));
    }
    let (module, last) = name.split_at(name.rfind('.').map_or(0, |dot| dot + 1));
    let weight = last.strip_suffix("_orig").or(last.strip_suffix("_g"))?;
    Some((module, weight))
}
