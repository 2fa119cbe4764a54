//! `prune channels`: cut the channels that matter least.

use crate::files::Files;
use crate::importance::{self, By};
use crate::limits::Limits;
use anyhow::{Result, ensure};
use artifacts::Model;
use common::cli;
use common::share::Share;
use graph::Graph;
use graph::channels::{FLOOR, Group, Unit};
use serde::Serialize;

/// Cut the channels that matter least.
///
/// Everything that shares a channel goes together: the filter that makes it, its batch norms and
/// depthwise filters, the inputs that read it, through sums, concatenations and shuffles. The pruned
/// network has real, smaller tensors. A layer that quantize pack joins with the last stays whole, as no file holds it.
/// --dry-run prints what would become of every layer and of the coded
/// file, and with --groups what belongs together. With --images batch norm is recalibrated afterwards.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prune channels --model student.safetensors --share 0.05 --images training.safetensors --out pruned.safetensors
  prune channels --model student.safetensors --by taylor --images training.safetensors \\
      --scope global --params 120000 --out pruned.safetensors
  prune channels --model student.safetensors --bytes 300000 --bits 5 --dry-run")]
pub(crate) struct Channels {
    #[command(flatten)]
    files: Files,
    /// With --dry-run: print the channel groups besides.
    #[arg(long, requires = "dry_run")]
    groups: bool,
    #[command(flatten)]
    selection: Selection,
}

/// What is cut where nothing says how much.
const SHARE: Share = Share::of_parts(5, 100);

/// How channels are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// Within each layer: every layer loses the same share.
    Layer,
    /// Across the network: layers that matter less lose more. Norms and distances count relative to
    /// their mean over the layer, as layers differ in the size of their weights.
    Global,
}

/// What channels are compared by, once each has its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Per {
    /// The score of the channel.
    #[default]
    Channel,
    /// The score per number that goes with it, counted in the whole network, statistics of batch norms too: of two
    /// channels that matter equally the one goes that makes it smaller by more.
    Parameter,
}

impl Per {
    /// What the score of a channel of `group` is divided by.
    fn divisor(self, group: &Group, graph: &Graph) -> f64 {
        match self {
            Self::Channel => 1.0,
            Self::Parameter => group.numbers(graph).max(1) as f64,
        }
    }
}

/// Headers leave out what nobody asked for.
fn is_usual(per: &Per) -> bool {
    *per == Per::default()
}

/// What decides which channels go.
#[derive(Serialize, clap::Args)]
struct Selection {
    /// Share of the channels to cut, 0 to below 1 [default: 0.05, where no other target is given]. What
    /// a layer keeps is rounded down (of 30 channels 0.05 leaves 28), what goes across the network too.
    #[arg(long, alias = "rate", conflicts_with_all = ["params", "macs", "bytes"])]
    #[serde(rename = "rate", skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    #[command(flatten)]
    #[serde(flatten)]
    limits: Limits,
    /// What channels are ranked by.
    #[arg(long, value_enum, default_value = "gamma")]
    by: By,
    /// How channels are compared.
    #[arg(long, value_enum, default_value = "layer")]
    scope: Scope,
    /// What is compared across the network.
    #[arg(long, value_enum, default_value = "channel")]
    #[serde(skip_serializing_if = "is_usual")]
    per: Per,
    /// Channels no layer goes below.
    #[arg(long, default_value_t = FLOOR)]
    floor: usize,
    /// Seed of --by random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Channels {
    pub(crate) fn run(self) -> Result<String> {
        let mut selection = self.selection;
        if !selection.limits.is_any() {
            selection.share.get_or_insert(SHARE);
        }
        let Selection { share, limits, by, seed, scope, per, .. } = &selection;
        ensure!(
            is_usual(per) || *scope == Scope::Global,
            "--per parameter: within a layer all channels have as many; add --scope global"
        );
        ensure!(share.is_none_or(|s| !s.is_whole()), "--share 1: expected 0 up to below 1");
        let opened = self.files.open()?;
        let model = &opened.model;
        let groups = model.graph.groups_worth_cutting()?;
        let scores = importance::scores(*by, model, &groups, opened.calibration.as_ref(), *seed)?;
        let ranking = Ranking::new(&model.graph, &groups, scores, &selection)?;
        let cut = |share: Share| -> Result<Model> {
            let (graph, weights) = model.graph.cut(&model.weights, &ranking.least(share))?;
            Ok(Model { graph, weights, ..model.clone() })
        };
        let pruned = match share {
            Some(share) => cut(*share)?,
            None => limits.least(cut)?,
        };
        if self.groups {
            cli::print(&groups.iter().map(Group::to_string).collect::<String>())?;
        }
        self.files.finish(&opened, pruned, limits, "prune channels", &selection)
    }
}

/// All channels that may go, least important first.
struct Ranking<'a> {
    groups: &'a [Group],
    /// Score, group, unit.
    candidates: Vec<(f64, usize, usize)>,
    floor: usize,
    scope: Scope,
}

impl<'a> Ranking<'a> {
    fn new(
        graph: &Graph,
        groups: &'a [Group],
        scores: Vec<Vec<f64>>,
        selection: &Selection,
    ) -> Result<Self> {
        let Selection { by, scope, floor, per, .. } = *selection;
        let mut candidates = Vec::new();
        for (g, (group, scores)) in groups.iter().zip(scores).enumerate() {
            if !group.removable {
                continue;
            }
            let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
            let relative = matches!(by, By::L1 | By::L2 | By::Median) && mean > 0.0;
            let unit = if relative { mean } else { 1.0 } * per.divisor(group, graph);
            candidates.extend(scores.into_iter().enumerate().map(|(u, s)| (s / unit, g, u)));
        }
        ensure!(
            !candidates.is_empty(),
            "no channel has a score: without batch norms there is no γ, try --by l1"
        );
        candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then((b.1, b.2).cmp(&(a.1, a.2))));
        Ok(Self { groups, candidates, floor, scope })
    }

    /// The least important `share` of all channels, group by group.
    fn least(&self, share: Share) -> Vec<(&'a Group, Vec<&'a Unit>)> {
        let quota = |group: &Group| {
            let n = group.units.len();
            let kept = match self.scope {
                Scope::Layer => n - share.at_least(n),
                Scope::Global => 0,
            };
            n - kept.max(self.floor).clamp(1, n.max(1))
        };
        let mut quota: Vec<usize> = self.groups.iter().map(quota).collect();
        let mut budget = match self.scope {
            Scope::Layer => usize::MAX,
            Scope::Global => share.at_most(self.candidates.len()),
        };
        let mut removed: Vec<(&Group, Vec<&Unit>)> =
            self.groups.iter().map(|g| (g, Vec::new())).collect();
        for (_, g, u) in &self.candidates {
            if budget > 0 && quota[*g] > 0 {
                budget -= 1;
                quota[*g] -= 1;
                removed[*g].1.push(&self.groups[*g].units[*u]);
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of layers of 160, 40, 20 and 10 channels. Python, the course's own rule for a layer
    /// (`int(n * (1 - share))`) in exact fractions: `[int(n * (1 - Fraction(share))) for n in (160, 40, 20, 10)]`;
    /// across the network `230 - int(230 * Fraction(share))` in all.
    #[test]
    fn as_many_channels_go_as_the_share_says() {
        let text = "input 3;a:conv 3>160 k1;an:bn 160;relu;b:conv 160>40 k1;bn:bn 40;relu;\
                    c:conv 40>20 k1;cn:bn 20;relu;d:conv 20>10 k1;dn:bn 10;relu;gap;f:linear 10>2 bias";
        let graph: Graph = text.parse().unwrap();
        let groups = graph.channel_groups();
        let left = |share: &str, scope| -> Vec<usize> {
            let scores = groups.iter().map(|g| vec![1.0; g.units.len()]).collect();
            let (by, share) = (By::Random, Some(share.parse().unwrap()));
            let limits = Limits::default();
            let selection =
                Selection { share, limits, by, scope, floor: 1, seed: 0, per: Per::Channel };
            let ranking = Ranking::new(&graph, &groups, scores, &selection).unwrap();
            let cut = ranking.least(share.unwrap());
            cut.iter().filter(|(g, _)| g.removable).map(|(g, c)| g.units.len() - c.len()).collect()
        };
        let layer = |share: &str| left(share, Scope::Layer);
        assert_eq!(layer("0"), [160, 40, 20, 10]);
        assert_eq!(layer("0.05"), [152, 38, 19, 9]);
        assert_eq!(layer("0.1"), [144, 36, 18, 9]);
        assert_eq!(layer("0.2"), [128, 32, 16, 8]);
        assert_eq!(layer("0.3"), [112, 28, 14, 7]);
        assert_eq!(layer("0.85"), [24, 6, 3, 1]);
        for (share, all) in [("0.1", 207), ("0.7", 69), ("0.29", 164)] {
            assert_eq!(left(share, Scope::Global).iter().sum::<usize>(), all, "{share}");
        }
    }

    /// By hand, of two layers of four channels with scores of 1, 2, 3, 2 and 10, 30, 20, 20: of equal scores
    /// the last goes first.
    #[test]
    fn the_least_go_first_as_far_as_the_floor() {
        let text = "input 3;a:conv 3>4 k1;relu;b:conv 4>4 k1;relu;gap;f:linear 4>2 bias";
        let graph: Graph = text.parse().unwrap();
        let groups = graph.channel_groups();
        let gone = |by, scope, floor, share: &str| -> Vec<Vec<usize>> {
            let mut scores =
                vec![vec![1.0, 2.0, 3.0, 2.0], vec![10.0, 30.0, 20.0, 20.0]].into_iter();
            let of = |g: &Group| if g.removable { scores.next().unwrap() } else { Vec::new() };
            let scores = groups.iter().map(of).collect();
            let limits = Limits::default();
            let selection =
                Selection { share: None, limits, by, scope, floor, seed: 0, per: Per::Channel };
            let ranking = Ranking::new(&graph, &groups, scores, &selection).unwrap();
            let index = |group: &Group, unit: &Unit| group.slices(unit).next().unwrap().1;
            let cut = ranking.least(share.parse().unwrap()).into_iter();
            let cut = cut.filter(|(g, _)| g.removable);
            cut.map(|(g, units)| units.into_iter().map(|u| index(g, u)).collect()).collect()
        };
        assert_eq!(gone(By::Gamma, Scope::Layer, 1, "0.5"), [[0, 3], [0, 3]]);
        assert_eq!(gone(By::Gamma, Scope::Global, 1, "0.25"), [vec![0, 3], vec![]]);
        // One of each layer must stay.
        assert_eq!(gone(By::Gamma, Scope::Global, 1, "0.5"), [vec![0, 3, 1], vec![0]]);
        assert_eq!(gone(By::Gamma, Scope::Global, 3, "0.5"), [[0], [0]]);
        assert_eq!(gone(By::Gamma, Scope::Layer, 8, "0.5"), [[0; 0], []]);
        // Relative to their means, 2 and 20: 0.5, 1, 1.5, 1 and 0.5, 1.5, 1, 1.
        assert_eq!(gone(By::L1, Scope::Global, 1, "0.25"), [[0], [0]]);
        assert_eq!(gone(By::L1, Scope::Global, 1, "0.5"), [vec![0], vec![0, 3, 2]]);
    }

    /// By hand: a channel of a has 3 weights and 4 in b, one of b 4 and 2 in f. Of scores 1 and 0.9 the second is less,
    /// of 1 / 7 and 0.9 / 6 the first.
    #[test]
    fn what_matters_equally_goes_where_it_is_large() {
        let text = "input 3;a:conv 3>4 k1;relu;b:conv 4>4 k1;relu;gap;f:linear 4>2 bias";
        let graph: Graph = text.parse().unwrap();
        let groups = graph.channel_groups();
        let gone = |per| -> Vec<usize> {
            let mut scores = [vec![1.0; 4], vec![0.9; 4]].into_iter();
            let of = |g: &Group| if g.removable { scores.next().unwrap() } else { Vec::new() };
            let scores = groups.iter().map(of).collect();
            let (by, scope, limits) = (By::Taylor, Scope::Global, Limits::default());
            let selection = Selection { share: None, limits, by, scope, floor: 1, seed: 0, per };
            let ranking = Ranking::new(&graph, &groups, scores, &selection).unwrap();
            let cut = ranking.least("0.25".parse().unwrap()).into_iter();
            cut.filter(|(g, _)| g.removable).map(|(_, units)| units.len()).collect()
        };
        assert_eq!(gone(Per::Channel), [0, 2]);
        assert_eq!(gone(Per::Parameter), [2, 0]);
    }
}
