//! `prune channels`: cut the channels whose batch-norm γ is smallest.
//!
//! Network slimming (Liu et al. 2017): γ scales a whole channel, so |γ| says how much of it arrives.
//! A channel that several batch norms scale (a residual stream) is ranked by their mean |γ|.

use anyhow::{Context, Result, ensure};
use common::cli;
use graph::channels::{Group, Unit};
use graph::grid::Grids;
use model::{Model, Provenance};
use serde::Serialize;
use std::path::PathBuf;

/// Cut the channels with the smallest batch-norm |γ|.
///
/// Everything that shares a channel goes together: the filter that makes it, its batch norms and
/// depthwise filters, the inputs that read it. --dry-run lists these groups. The pruned network
/// has real, smaller tensors.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prune channels --model student.safetensors --rate 0.05 --out pruned.safetensors
  prune channels --model student.safetensors --rate 0.1 --scope global --floor 16 --out p.safetensors
  prune channels --model student.safetensors --dry-run")]
pub(crate) struct Channels {
    /// Model to cut.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Print the channel groups and what would be cut; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where to write the smaller model.
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
}

/// How channels are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Scope {
    /// Within each layer: every layer loses the same share.
    Layer,
    /// Across the network: layers with small γ lose more.
    Global,
}

/// What decides which channels go.
#[derive(Serialize, clap::Args)]
struct Selection {
    /// Share of the channels to cut, 0 to below 1.
    #[arg(long, default_value_t = 0.05)]
    rate: f32,
    /// Channels no layer goes below.
    #[arg(long, default_value_t = 8)]
    floor: usize,
    /// How channels are compared.
    #[arg(long, value_enum, default_value = "layer")]
    scope: Scope,
}

impl Channels {
    pub(crate) fn run(self) -> Result<String> {
        let rate = self.selection.rate;
        ensure!((0.0..1.0).contains(&rate), "--rate {rate}: expected 0 up to below 1");
        let (model, source) = Model::load(&self.model)?;
        let groups = model.graph.channel_groups();
        let removed = choose(&model, &groups, &self.selection)?;
        let count: usize = removed.iter().map(|(_, units)| units.len()).sum();
        if self.dry_run {
            for (group, units) in &removed {
                cli::print(&format!("cut {} of {group}", units.len()))?;
            }
        }
        let (graph, weights) = model.graph.cut(&model.weights, &removed)?;
        let pruned = Model { graph, weights, grids: Grids::new(), ..model };
        let after = pruned.graph.parameter_count();
        let change = format!(
            "cut {count} channels, {} parameters left of {}",
            cli::count(after),
            cli::count(model.graph.parameter_count()),
        );
        let Some(out) = self.out.filter(|_| !self.dry_run) else { return Ok(change) };
        let provenance = Provenance::new("prune channels", &self.selection)?.from("model", &source);
        pruned.save(&out, &provenance)?;
        Ok(format!("{}: {change}", out.display()))
    }
}

/// Mean |γ| of each unit of `group`.
fn scores(model: &Model, group: &Group) -> Result<Vec<f32>> {
    let mut scores = vec![0.0; group.units.len()];
    for norm in &group.norms {
        let name = format!("{norm}.weight");
        let missing = || format!("tensor {name} is missing");
        let gamma = model.weights.get(&name).with_context(missing)?;
        for (score, unit) in scores.iter_mut().zip(&group.units) {
            let i = group.index_in(unit, &name).with_context(missing)?;
            *score += gamma.values[i].abs() / group.norms.len() as f32;
        }
    }
    Ok(scores)
}

/// The channels to cut, group by group.
fn choose<'a>(
    model: &Model,
    groups: &'a [Group],
    selection: &Selection,
) -> Result<Vec<(&'a Group, Vec<&'a Unit>)>> {
    // (score, group, unit): every channel that may go, least important first.
    let mut candidates = Vec::new();
    let mut quota = vec![0; groups.len()];
    for (g, group) in groups.iter().enumerate() {
        if !group.removable || group.norms.is_empty() {
            continue;
        }
        let n = group.units.len();
        let kept = match selection.scope {
            Scope::Layer => (n as f64 * (1.0 - f64::from(selection.rate))) as usize,
            Scope::Global => 0,
        };
        quota[g] = n - kept.max(selection.floor).clamp(1, n);
        let scores = scores(model, group)?;
        candidates.extend(scores.into_iter().enumerate().map(|(u, s)| (s, g, u)));
    }
    candidates.sort_by(|a, b| a.0.total_cmp(&b.0).then((b.1, b.2).cmp(&(a.1, a.2))));
    let mut budget = match selection.scope {
        Scope::Layer => usize::MAX,
        Scope::Global => (candidates.len() as f64 * f64::from(selection.rate)) as usize,
    };
    let mut removed: Vec<(&Group, Vec<&Unit>)> = groups.iter().map(|g| (g, Vec::new())).collect();
    for (_, g, u) in candidates {
        if budget > 0 && quota[g] > 0 {
            budget -= 1;
            quota[g] -= 1;
            removed[g].1.push(&groups[g].units[u]);
        }
    }
    Ok(removed)
}
