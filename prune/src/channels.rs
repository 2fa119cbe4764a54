//! `prune channels`: cut the channels that matter least.

use crate::calibration::{Count, Pictures};
use crate::importance::{self, By};
use crate::limits::Limits;
use anyhow::{Result, ensure};
use common::cli;
use graph::channels::{Group, Unit};
use graph::grid::Grids;
use model::{Model, Provenance};
use serde::Serialize;
use std::path::PathBuf;

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
    /// Model to cut.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Print what would become of every layer, and the bytes of the coded file; write nothing.
    #[arg(long)]
    plan: bool,
    /// With --plan: print the channel groups besides.
    #[arg(long, requires = "plan")]
    groups: bool,
    /// Where to write the smaller model.
    #[arg(long, value_name = "FILE", required_unless_present = "plan")]
    out: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    threads: cli::Threads,
}

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
    /// Share of the channels to cut, 0 to below 1.
    #[arg(long, default_value_t = 0.05, conflicts_with_all = ["params", "macs", "bytes"])]
    rate: f32,
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

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    selection: &'a Selection,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pictures: Option<&'a Count>,
}

impl Channels {
    pub(crate) fn run(self) -> Result<String> {
        self.threads.start()?;
        let _claim = self.pictures.claim(self.out.as_deref(), &self.model)?;
        let Selection { rate, limits, by, seed, .. } = &self.selection;
        ensure!((0.0..1.0).contains(rate), "--rate {rate}: expected 0 up to below 1");
        let (mut model, source) = Model::load(&self.model)?;
        model.grids = Grids::new(); // what is cut leaves the grids it may have been on
        let calibration = self.pictures.load(&model)?;
        let groups = model.graph.channel_groups();
        let scores = importance::scores(*by, &model, &groups, calibration.as_ref(), *seed)?;
        let ranking = Ranking::new(&groups, scores, &self.selection)?;
        let cut = |share: f64| -> Result<Model> {
            let (graph, weights) = model.graph.cut(&model.weights, &ranking.least(share))?;
            Ok(Model { graph, weights, ..model.clone() })
        };
        let pruned = if limits.is_any() { limits.least(cut)? } else { cut(f64::from(*rate))? };
        let change = format!(
            "{} parameters left of {}",
            cli::count(pruned.graph.parameter_count()),
            cli::count(model.graph.parameter_count()),
        );
        if self.plan {
            if self.groups {
                cli::print(&groups.iter().map(Group::to_string).collect::<String>())?;
            }
            cli::print(&limits.table(&model, &pruned)?)?;
            return Ok(change);
        }
        let Some(out) = self.out else { return Ok(change) };
        let pictures = calibration.as_ref().map(|_| &self.pictures.count);
        let record = Record { selection: &self.selection, pictures };
        let mut provenance = Provenance::new("prune channels", &record)?.from("model", &source);
        let mut told = format!("{}: {change}", out.display());
        let pruned = match &calibration {
            None => pruned,
            Some(c) => {
                provenance = provenance.from("images", c.source());
                told +=
                    &format!(", batch norm recalibrated on {} pictures", cli::count(c.pictures()));
                c.recalibrated(pruned)?
            }
        };
        pruned.save(&out, &provenance)?;
        Ok(told)
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
