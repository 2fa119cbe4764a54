//! A network as small as `prune channels` will make it, for its speed alone.

use anyhow::Result;
use artifacts::Model;
use graph::channels::{Group, Unit};

/// Channels that `prune channels` leaves of every layer at least.
const FLOOR: usize = 8;

/// Shares that are tried, by halving: a thousandth of every layer's channels.
const SHARES: usize = 1000;

/// `model` without its first channels, of every layer as large a share as leaves at most `most` parameters; itself where it
/// has no more. None if half of that is more than a network would have whose layers are cut to the bone: it is not what
/// such a network is good for.
///
/// # Errors
/// Weights that do not fit the network.
pub(super) fn to_parameters(model: &Model, most: usize) -> Result<Option<Model>> {
    let groups: Vec<Group> =
        model.graph.channel_groups().into_iter().filter(|group| group.removable).collect();
    let without = |share: usize| -> Result<Model> {
        let first = |group: &Group| {
            let n = group.units.len();
            (n * share / SHARES).min(n.saturating_sub(FLOOR))
        };
        let removed: Vec<(&Group, Vec<&Unit>)> = groups
            .iter()
            .map(|group| (group, group.units.iter().take(first(group)).collect()))
            .collect();
        let (graph, weights) = model.graph.cut(&model.weights, &removed)?;
        Ok(Model { graph, weights, ..model.clone() })
    };
    if without(SHARES)?.graph.parameter_count() > most / 2 {
        return Ok(None);
    }
    let (mut low, mut high) = (0, SHARES);
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

    /// A hidden layer of 100 channels: 3 · 100 weights, 2 · 100 of the norm, 2 · 100 of the last layer.
    fn model() -> Model {
        let graph: Graph =
            "input 3;a:conv 3>100 k1;n:bn 100;relu;gap;f:linear 100>2".parse().unwrap();
        let weights = graph::init::weights(&graph, 1);
        let preparation = Preparation { size: 4, framing: Framing::Crop, exif: false };
        let input = Input { preparation, normalization: Normalization::NONE };
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
    }

    /// By hand: a channel has as many parameters as the network has hundredths; eight that stay have 8 of them.
    #[test]
    fn as_many_channels_stay_as_the_parameters_allow() {
        let model = model();
        let each = model.graph.parameter_count() / 100;
        let left = |most: usize| {
            let cut = to_parameters(&model, most).unwrap();
            cut.map(|cut| cut.graph.parameter_count() / each)
        };
        assert_eq!(
            [200 * each, 100 * each, 99 * each, 60 * each + 1].map(left),
            [100, 100, 99, 60].map(Some)
        );
        assert_eq!([16 * each, 16 * each - 1].map(left), [Some(16), None]);
    }
}
