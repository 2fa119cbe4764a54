//! How much a channel matters: the criteria that channels are ranked by.

use crate::calibration::Calibration;
use anyhow::{Context, Result, bail};
use artifacts::Model;
use graph::channels::{Group, Unit};
use graph::rng::Rng;
use graph::{Role, Weights};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a channel is ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// Mean |γ| of the batch norms that scale it (Liu et al. 2017, "Network slimming").
    Gamma,
    /// Sum of the magnitudes of its filters (Li et al. 2017, "Pruning filters for efficient ConvNets").
    L1,
    /// Euclidean norm of its filters.
    L2,
    /// Distance of its filters from all others of the layer: what others can stand for goes first (He
    /// et al. 2019, "Filter pruning via geometric median").
    Median,
    /// Change of the loss on --images if it were gone, to first order, squared (Molchanov et al. 2019,
    /// "Importance estimation for neural network pruning").
    Taylor,
    /// Drawn with --seed: what any other must beat.
    Random,
}

/// Roles of all parameters.
type Roles = BTreeMap<String, Role>;

/// A score for every channel of every group, larger for what matters more; empty for groups that the
/// criterion says nothing about.
///
/// # Errors
/// No pictures for `Taylor`, or weights that do not fit the graph.
pub(crate) fn scores(
    by: By,
    model: &Model,
    groups: &[Group],
    calibration: Option<&Calibration>,
    seed: u64,
) -> Result<Vec<Vec<f64>>> {
    let roles: Roles = model.graph.parameters().map(|p| (p.name, p.role)).collect();
    let each = |score: &dyn Fn(&Group, &Unit) -> Result<f64>| -> Result<Vec<Vec<f64>>> {
        groups.iter().map(|g| g.units.iter().map(|u| score(g, u)).collect()).collect()
    };
    let filters = |g: &Group, u: &Unit| filters(&model.weights, &roles, g, u);
    match by {
        By::Gamma => groups.iter().map(|g| gammas(model, g)).collect(),
        By::L1 => each(&|g, u| Ok(filters(g, u)?.iter().map(|v| f64::from(v.abs())).sum())),
        By::L2 => each(&|g, u| Ok(square(&filters(g, u)?).sqrt())),
        By::Median => groups
            .iter()
            .map(|g| {
                let all = g.units.iter().map(|u| filters(g, u)).collect::<Result<Vec<_>>>()?;
                Ok(all.iter().map(|a| all.iter().map(|b| distance(a, b)).sum()).collect())
            })
            .collect(),
        By::Taylor => {
            let Some(calibration) = calibration else {
                bail!("--by taylor measures on pictures: give --images")
            };
            taylor(model, &roles, groups, calibration)
        }
        By::Random => Ok(groups
            .iter()
            .enumerate()
            .map(|(g, group)| {
                let mut rng = Rng::new(seed, "random channels", g as u64);
                group.units.iter().map(|_| f64::from(rng.between(0.0, 1.0))).collect()
            })
            .collect()),
    }
}

/// The part of tensor `name` that belongs to index `i` of its first dimension.
fn slice<'a>(weights: &'a Weights, name: &str, i: usize) -> Result<&'a [f32]> {
    let array = weights.get(name).with_context(|| format!("tensor {name} is missing"))?;
    let n = array.values.len() / array.shape.first().copied().unwrap_or(1).max(1);
    array.values.get(i * n..(i + 1) * n).with_context(|| format!("tensor {name} is too short"))
}

fn gammas(model: &Model, group: &Group) -> Result<Vec<f64>> {
    if group.norms.is_empty() {
        return Ok(Vec::new());
    }
    let score = |unit: &Unit| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (axis, i) in group.slices(unit) {
            let norm = axis.tensor.strip_suffix(".weight");
            if axis.dim == 0 && norm.is_some_and(|n| group.norms.contains(n)) {
                sum += f64::from(slice(&model.weights, &axis.tensor, i)?[0].abs());
                count += 1.0;
            }
        }
        Ok(sum / f64::max(count, 1.0))
    };
    group.units.iter().map(score).collect()
}

/// All weights that make the channel, or filter it alone.
fn filters(weights: &Weights, roles: &Roles, group: &Group, unit: &Unit) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for (axis, i) in group.slices(unit) {
        if axis.dim == 0 && roles.get(&axis.tensor) == Some(&Role::Weight) {
            all.extend_from_slice(slice(weights, &axis.tensor, i)?);
        }
    }
    Ok(all)
}

fn square(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// Sum over batches of (Σ p · ∂loss/∂p)² over what multiplies the channel: γ and β of its batch norms,
/// whose sum is that over its activations; without these its filters and biases.
fn taylor(
    model: &Model,
    roles: &Roles,
    groups: &[Group],
    calibration: &Calibration,
) -> Result<Vec<Vec<f64>>> {
    let mut scores: Vec<Vec<f64>> = groups.iter().map(|g| vec![0.0; g.units.len()]).collect();
    let mut failed = Ok(());
    calibration.gradients(model, |gradient| {
        for (group, scores) in groups.iter().zip(&mut scores) {
            for (unit, score) in group.units.iter().zip(scores) {
                match effect(model, roles, group, unit, gradient) {
                    Ok(effect) => *score += effect * effect,
                    Err(e) => failed = Err(e),
                }
            }
        }
    })?;
    failed.map(|()| scores)
}

/// The loss of a channel's being there, to first order.
fn effect(
    model: &Model,
    roles: &Roles,
    group: &Group,
    unit: &Unit,
    gradient: &Weights,
) -> Result<f64> {
    let counts = |role: Role| match role {
        Role::Gamma | Role::Beta | Role::Scale | Role::Shift => true,
        Role::Weight | Role::Bias => group.norms.is_empty(),
        Role::Mean | Role::Variance => false,
    };
    let mut sum = 0.0;
    for (axis, i) in group.slices(unit) {
        if axis.dim == 0 && roles.get(&axis.tensor).is_some_and(|r| counts(*r)) {
            let (w, g) =
                (slice(&model.weights, &axis.tensor, i)?, slice(gradient, &axis.tensor, i)?);
            sum += w.iter().zip(g).map(|(w, g)| f64::from(w * g)).sum::<f64>();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::{Framing, Input, Preparation};
    use engine::Network;
    use executor::{Batch, Executor, Loss};
    use graph::grid::Grids;
    use graph::{Array, Graph};
    use views::{FixedViews, Normalization};

    fn model() -> Model {
        let text = "input 3;a:conv 3>3 k1;n:bn 3;relu;d:conv 3>3 k3 p1 g3;m:bn 3;relu;gap;f:linear 3>2 bias";
        let graph: Graph = text.parse().unwrap();
        let mut weights = graph::init::weights(&graph, 5);
        let set = |w: &mut graph::Weights, name: &str, v: &[f32]| {
            let array = w.get_mut(name).unwrap();
            *array = Array::new(array.shape.clone(), v.to_vec()).unwrap();
        };
        set(&mut weights, "n.weight", &[1.0, -0.5, 2.0]);
        set(&mut weights, "m.weight", &[0.5, 0.25, -1.0]);
        set(&mut weights, "a.weight", &[3.0, 0.0, -4.0, 3.0, 0.0, 0.0, 0.0, 12.0, 5.0]);
        set(&mut weights, "d.weight", &[0.0; 27]);
        let preparation = Preparation { size: 3, framing: Framing::Crop, exif: false };
        let input = Input { preparation, normalization: Normalization::NONE };
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
    }

    fn of(by: By, model: &Model) -> Vec<f64> {
        let groups = model.graph.channel_groups();
        let at = groups.iter().position(|g| g.removable).unwrap();
        scores(by, model, &groups, None, 1).unwrap().swap_remove(at)
    }

    /// By hand: one group, whose channels both batch norms scale; filters (3, 0, −4), (3, 0, 0) and
    /// (0, 12, 5) and depthwise ones of zeros.
    #[test]
    fn scores_are_those_by_hand() {
        let model = model();
        assert_eq!(of(By::Gamma, &model), [0.75, 0.375, 1.5]);
        assert_eq!(of(By::L1, &model), [7.0, 3.0, 17.0]);
        assert_eq!(of(By::L2, &model), [5.0, 3.0, 13.0]);
        let [ab, ac, bc] = [4.0, (9f64 + 144.0 + 81.0).sqrt(), (9f64 + 144.0 + 25.0).sqrt()];
        for (found, expected) in of(By::Median, &model).iter().zip([ab + ac, ab + bc, ac + bc]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let (a, b) = (of(By::Random, &model), of(By::Random, &model));
        assert!(a == b && a[0] != a[1]);
        let groups = model.graph.channel_groups();
        assert!(scores(By::Taylor, &model, &groups, None, 1).is_err());
    }

    /// Scaling what a channel's batch norms give by 1 + ε changes the loss by ε times its effect.
    #[test]
    fn the_effect_is_the_slope_of_the_loss() {
        let mut model = model();
        let rng = &mut Rng::new(3, "filters", 0);
        model.weights.get_mut("d.weight").unwrap().values.fill_with(|| rng.normal());
        model.weights.get_mut("n.bias").unwrap().values.fill_with(|| rng.normal());
        let pictures: Vec<f32> = (0..4 * 27).map(|_| rng.normal()).collect();
        let batch = || Batch {
            pictures: pictures.clone(),
            labels: [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0].to_vec(),
            teacher: Vec::new(),
        };
        let network = |m: &Model| Network::new(&m.graph, &m.weights, &Grids::new(), 3).unwrap();
        let mut n = network(&model);
        let (_, gradient) = n.gradient(batch(), Loss::LABELS).unwrap();
        let gradient = n.parametrisation().layout().unpack(&gradient).unwrap();
        let groups = model.graph.channel_groups();
        let group = groups.iter().find(|g| g.removable).unwrap();
        let roles: Roles = model.graph.parameters().map(|p| (p.name, p.role)).collect();
        for (i, unit) in group.units.iter().enumerate() {
            let effect = effect(&model, &roles, group, unit, &gradient).unwrap();
            let at = |epsilon: f32| {
                let mut scaled = model.clone();
                for name in ["n.weight", "n.bias", "m.weight", "m.bias"] {
                    scaled.weights.get_mut(name).unwrap().values[i] *= 1.0 + epsilon;
                }
                network(&scaled).gradient(batch(), Loss::LABELS).unwrap().0
            };
            let slope = (at(0.01) - at(-0.01)) / 0.02;
            assert!((slope - effect).abs() < 1e-5, "{i}: {slope} {effect}");
            assert!(slope.abs() > 1e-3, "channel {i} decides nothing");
        }
    }
}
