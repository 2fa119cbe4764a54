//! A network as small as `prune channels` will make it, for its speed alone.

use anyhow::Result;
use artifacts::Model;
use graph::channels::{FLOOR, Group, Unit};

/// What is tried, by halving: so many thresholds below one at which next to nothing is left.
const THRESHOLDS: u32 = 4000;

/// `model` with so many channels that at most `most` parameters are left; itself where it has no more. As if scores were
/// drawn alike in all layers, with the density e⁻ˢ, and went below a threshold t per parameter: then of a layer whose
/// channels have c parameters each 1 − e⁻ᵗᶜ go. Of EfficientNet-Lite0, cut to a million parameters, that leaves half of
/// the multiplications, where the scores of recipe food11-like-b leave 0.63.
///
/// None if nothing can be cut, or the smallest that can be had is more than half of `most`: a network is not much good
/// that is cut to the bone.
///
/// # Errors
/// Weights that do not fit the network.
pub(super) fn to_parameters(model: &Model, most: usize) -> Result<Option<Model>> {
    let groups = model.graph.groups_worth_cutting()?.into_iter().filter(|group| group.removable);
    let groups: Vec<(usize, Group)> = groups.map(|g| (g.numbers(&model.graph), g)).collect();
    let least = groups.iter().map(|(c, _)| *c).min().unwrap_or(1).max(1) as f64;
    let without = |threshold: u32| -> Result<Model> {
        // At the last one all but e⁻⁸ of the channels go that cost least.
        let t = 8.0 / least * (f64::from(threshold) / f64::from(THRESHOLDS)).powi(3);
        let first = |(c, group): &(usize, Group)| {
            let n = group.units.len();
            let gone = n as f64 * -(-t * *c as f64).exp_m1();
            (gone as usize).min(n.saturating_sub(FLOOR))
        };
        let removed = groups.iter().map(|g| (&g.1, g.1.units.iter().take(first(g)).collect()));
        let removed: Vec<(&Group, Vec<&Unit>)> = removed.collect();
        let (graph, weights) = model.graph.cut(&model.weights, &removed)?;
        Ok(Model { graph, weights, ..model.clone() })
    };
    if groups.is_empty() || without(THRESHOLDS)?.graph.parameter_count() > most / 2 {
        return Ok(None);
    }
    let (mut low, mut high) = (0, THRESHOLDS);
    while low < high {
        let middle = low.midpoint(high);
        if without(middle)?.graph.parameter_count() <= most {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    without(low).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::{Framing, Input, Preparation};
    use graph::Graph;
    use graph::grid::Grids;
    use views::{FixedViews, Normalization};

    fn model(graph: &str) -> Model {
        let graph: Graph = graph.parse().unwrap();
        let weights = graph::init::weights(&graph, 1);
        let preparation = Preparation { size: 4, framing: Framing::Crop, exif: false };
        let input = Input { preparation, normalization: Normalization::NONE };
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
    }

    /// By hand: a channel has as many parameters as the network has hundredths, of weights, norm and last layer; eight that
    /// stay have 8 of them. Without removable channels there is nothing to cut.
    #[test]
    fn as_many_channels_stay_as_the_parameters_allow() {
        let model = model("input 3;a:conv 3>100 k1;n:bn 100;relu;gap;f:linear 100>2");
        let each = model.graph.parameter_count() / 100;
        let left = |most: usize| {
            let cut = to_parameters(&model, most).unwrap();
            cut.map(|cut| cut.graph.parameter_count() / each)
        };
        let found = [200 * each, 100 * each, 99 * each, 60 * each + 1].map(left);
        assert_eq!(found, [100, 100, 99, 60].map(Some));
        assert_eq!([16 * each, 16 * each - 1].map(left), [Some(16), None]);
    }

    /// Two layers of 100 channels: those of a have 3 weights and 100 in b, those of b 100 and one for each class, and both
    /// their norm's. Of three classes they are alike; of 400 a channel of b has nearly five times as many, and more go.
    #[test]
    fn large_channels_go_first() {
        let kept = |classes: usize, most: f64| -> [usize; 2] {
            let text = format!(
                "input 3;a:conv 3>100 k1;n:bn 100;relu;b:conv 100>100 k1;o:bn 100;relu;gap;f:linear 100>{classes}"
            );
            let model = model(&text);
            let most = model.graph.parameter_count() as f64 * most;
            let cut = to_parameters(&model, most as usize).unwrap().unwrap();
            ["n.weight", "o.weight"].map(|name| cut.weights[name].values.len())
        };
        let [a, b] = kept(3, 0.5);
        assert!(a.abs_diff(b) <= 1, "{a} {b}");
        let [a, b] = kept(400, 0.5);
        assert!(a > b + 20, "{a} {b}");
    }
}
