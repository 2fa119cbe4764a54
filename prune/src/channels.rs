//! `prune channels`: cut the channels that matter least.

use crate::files::Files;
use crate::importance::{self, By};
use crate::limits::Limits;
use anyhow::{Result, ensure};
use artifacts::Model;
use common::cli;
use common::share::Share;
use graph::channels::{Group, Unit};
use serde::Serialize;

/// Cut the channels that matter least.
///
/// Everything that shares a channel goes together: the filter that makes it, its batch norms and
/// depthwise filters, the inputs that read it, through sums, concatenations and shuffles. The pruned
/// network has real, smaller tensors. --plan prints what would become of every layer and of the coded
/// file, and with --groups what belongs together. With --images batch norm is recalibrated afterwards.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prune channels --model student.safetensors --rate 0.05 --images training.safetensors --out pruned.safetensors
  prune channels --model student.safetensors --by taylor --images training.safetensors \\
      --scope global --params 120000 --out pruned.safetensors
  prune channels --model student.safetensors --bytes 300000 --bits 5 --plan")]
pub(crate) struct Channels {
    #[command(flatten)]
    files: Files,
    /// With --plan: print the channel groups besides.
    #[arg(long, requires = "plan")]
    groups: bool,
    #[command(flatten)]
    selection: Selection,
}

/// Share that is cut where nothing says how much.
const RATE: Share = Share::of_parts(5, 100);

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

/// What decides which channels go.
#[derive(Serialize, clap::Args)]
struct Selection {
    /// Share of the channels to cut, 0 to below 1 [default: 0.05, where no other target is given]. What
    /// a layer keeps is rounded down (of 30 channels 0.05 leaves 28), what goes across the network too.
    #[arg(long, conflicts_with_all = ["params", "macs", "bytes"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Share>,
    #[command(flatten)]
    #[serde(flatten)]
    limits: Limits,
    /// What channels are ranked by.
    #[arg(long, value_enum, default_value = "gamma")]
    by: By,
    /// How channels are compared.
    #[arg(long, value_enum, default_value = "layer")]
    scope: Scope,
    /// Channels no layer goes below.
    #[arg(long, default_value_t = 8)]
    floor: usize,
    /// Seed of --by random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Channels {
    pub(crate) fn run(self) -> Result<String> {
        let mut selection = self.selection;
        if !selection.limits.is_any() {
            selection.rate.get_or_insert(RATE);
        }
        let Selection { rate, limits, by, seed, .. } = &selection;
        ensure!(rate.is_none_or(|r| !r.is_whole()), "--rate 1: expected 0 up to below 1");
        let opened = self.files.open()?;
        let model = &opened.model;
        let groups = model.graph.channel_groups();
        let scores = importance::scores(*by, model, &groups, opened.calibration.as_ref(), *seed)?;
        let ranking = Ranking::new(&groups, scores, &selection)?;
        let cut = |share: Share| -> Result<Model> {
            let (graph, weights) = model.graph.cut(&model.weights, &ranking.least(share))?;
            Ok(Model { graph, weights, ..model.clone() })
        };
        let pruned = match rate {
            Some(rate) => cut(*rate)?,
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
    fn new(groups: &'a [Group], scores: Vec<Vec<f64>>, selection: &Selection) -> Result<Self> {
        let Selection { by, scope, floor, .. } = *selection;
        let mut candidates = Vec::new();
        for (g, (group, scores)) in groups.iter().zip(scores).enumerate() {
            if !group.removable {
                continue;
            }
            let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
            let relative = matches!(by, By::L1 | By::L2 | By::Median) && mean > 0.0;
            let unit = if relative { mean } else { 1.0 };
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
    use graph::Graph;

    /// What is left of layers of 160, 40, 20 and 10 channels. Python, the course's own rule for a layer
    /// (`int(n * (1 - rate))`) in exact fractions: `[int(n * (1 - Fraction(rate))) for n in (160, 40, 20, 10)]`;
    /// across the network `230 - int(230 * Fraction(rate))` in all.
    #[test]
    fn as_many_channels_go_as_the_rate_says() {
        let text = "input 3;a:conv 3>160 k1;an:bn 160;relu;b:conv 160>40 k1;bn:bn 40;relu;\
                    c:conv 40>20 k1;cn:bn 20;relu;d:conv 20>10 k1;dn:bn 10;relu;gap;f:linear 10>2 bias";
        let graph: Graph = text.parse().unwrap();
        let groups = graph.channel_groups();
        let left = |rate: &str, scope| -> Vec<usize> {
            let scores = groups.iter().map(|g| vec![1.0; g.units.len()]).collect();
            let (by, rate) = (By::Random, Some(rate.parse().unwrap()));
            let limits = Limits::default();
            let selection = Selection { rate, limits, by, scope, floor: 1, seed: 0 };
            let ranking = Ranking::new(&groups, scores, &selection).unwrap();
            let cut = ranking.least(rate.unwrap());
            cut.iter().filter(|(g, _)| g.removable).map(|(g, c)| g.units.len() - c.len()).collect()
        };
        let layer = |rate: &str| left(rate, Scope::Layer);
        assert_eq!(layer("0"), [160, 40, 20, 10]);
        assert_eq!(layer("0.05"), [152, 38, 19, 9]);
        assert_eq!(layer("0.1"), [144, 36, 18, 9]);
        assert_eq!(layer("0.2"), [128, 32, 16, 8]);
        assert_eq!(layer("0.3"), [112, 28, 14, 7]);
        assert_eq!(layer("0.85"), [24, 6, 3, 1]);
        for (rate, all) in [("0.1", 207), ("0.7", 69), ("0.29", 164)] {
            assert_eq!(left(rate, Scope::Global).iter().sum::<usize>(), all, "{rate}");
        }
    }
}
