//! `prune channels`: cut the channels that matter least.

use crate::files::Files;
use crate::importance::{self, By};
use crate::limits::Limits;
use anyhow::{Result, ensure};
use common::cli;
use graph::channels::{Group, Unit};
use model::Model;
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
const RATE: f32 = 0.05;

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
    /// Share of the channels to cut, 0 to below 1 [default: 0.05, where no other target is given].
    #[arg(long, conflicts_with_all = ["params", "macs", "bytes"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f32>,
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
        let valid = rate.is_none_or(|r| (0.0..1.0).contains(&r));
        ensure!(valid, "--rate {}: expected 0 up to below 1", rate.unwrap_or_default());
        let opened = self.files.open()?;
        let model = &opened.model;
        let groups = model.graph.channel_groups();
        let scores = importance::scores(*by, model, &groups, opened.calibration.as_ref(), *seed)?;
        let ranking = Ranking::new(&groups, scores, &selection)?;
        let cut = |share: f64| -> Result<Model> {
            let (graph, weights) = model.graph.cut(&model.weights, &ranking.least(share))?;
            Ok(Model { graph, weights, ..model.clone() })
        };
        let pruned = match rate {
            Some(rate) => cut(f64::from(*rate))?,
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
    fn least(&self, share: f64) -> Vec<(&'a Group, Vec<&'a Unit>)> {
        let quota = |group: &Group| {
            let n = group.units.len();
            let kept = match self.scope {
                Scope::Layer => (n as f64 * (1.0 - share)) as usize,
                Scope::Global => 0,
            };
            n - kept.max(self.floor).clamp(1, n.max(1))
        };
        let mut quota: Vec<usize> = self.groups.iter().map(quota).collect();
        let mut budget = match self.scope {
            Scope::Layer => usize::MAX,
            Scope::Global => (self.candidates.len() as f64 * share) as usize,
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
