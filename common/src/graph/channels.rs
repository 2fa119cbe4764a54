//! Which channels belong together: what must go when one channel goes.
//!
//! Every channel of every node's output gets an id. Operations that keep channels (batch norm,
//! activations, pooling, depthwise filters) pass ids on, a sum merges the ids of its two operands,
//! a convolution or linear layer makes new ones. All tensor slices that carry the same id form a
//! [`Unit`]; units with the same list of tensors form a [`Group`]. No family needs code of its own
//! (the idea of DepGraph, Fang et al. 2023, at the grain of single channels).

use super::{Graph, Op, Weights};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A dimension of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Axis {
    /// Name of the tensor.
    pub tensor: String,
    /// Its dimension, from 0.
    pub dim: usize,
}

/// One removable channel: an index into each axis of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(Vec<usize>);

/// Channels that live in the same tensors.
#[derive(Clone, Debug)]
pub struct Group {
    /// The tensors and dimensions its channels index.
    pub axes: Vec<Axis>,
    /// Its channels.
    pub units: Vec<Unit>,
    /// Names of the batch norms among its tensors.
    pub norms: Vec<String>,
    /// False for what must stay: colours, classes, channels of grouped convolutions.
    pub removable: bool,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.removable { "" } else { " (fixed)" };
        writeln!(f, "{} channels{note}", self.units.len())?;
        for (a, axis) in self.axes.iter().enumerate() {
            let indices = || self.units.iter().map(|u| u.0[a]);
            let (low, high) = (indices().min().unwrap_or(0), indices().max().unwrap_or(0));
            writeln!(f, "  {} dim {} [{low}..{}]", axis.tensor, axis.dim, high + 1)?;
        }
        Ok(())
    }
}

impl Group {
    /// The index of `unit` in tensor `name`, dimension 0.
    pub fn index_in(&self, unit: &Unit, name: &str) -> Option<usize> {
        let axis = self.axes.iter().position(|a| a.dim == 0 && a.tensor == name)?;
        unit.0.get(axis).copied()
    }
}

/// Disjoint sets of channel ids.
#[derive(Default)]
struct Ids {
    parent: Vec<usize>,
}

impl Ids {
    fn fresh(&mut self, n: usize) -> Vec<usize> {
        let first = self.parent.len();
        self.parent.extend(first..first + n);
        (first..first + n).collect()
    }

    fn root(&mut self, mut id: usize) -> usize {
        while self.parent[id] != id {
            self.parent[id] = self.parent[self.parent[id]];
            id = self.parent[id];
        }
        id
    }

    /// The smaller root stays, so that ids keep the order in which channels appear.
    fn merge(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

/// Collects which tensor slices carry which id.
#[derive(Default)]
struct Walk {
    ids: Ids,
    slices: Vec<(usize, Axis, usize)>,
    norms: BTreeSet<String>,
    fixed: Vec<usize>,
}

impl Walk {
    fn carry(&mut self, tensor: String, dim: usize, ids: &[usize]) {
        for (index, id) in ids.iter().enumerate() {
            self.slices.push((*id, Axis { tensor: tensor.clone(), dim }, index));
        }
    }

    /// The ids of a node's output channels, given those of its inputs.
    fn visit(&mut self, name: &str, op: Op, inputs: &[&Vec<usize>]) -> Vec<usize> {
        let weight = format!("{name}.weight");
        let bias_name = format!("{name}.bias");
        match op {
            Op::Input { channels } => {
                let ids = self.ids.fresh(channels);
                self.fixed.extend(&ids);
                ids
            }
            Op::Conv { input, output, groups, bias, .. } => {
                let depthwise = groups == input && input == output && groups > 1;
                let out = if depthwise { inputs[0].clone() } else { self.ids.fresh(output) };
                if groups == 1 {
                    self.carry(weight.clone(), 1, inputs[0]);
                } else if !depthwise {
                    // Cutting would have to keep every group the same width.
                    self.fixed.extend(inputs[0]);
                    self.fixed.extend(&out);
                }
                self.carry(weight, 0, &out);
                if bias {
                    self.carry(bias_name, 0, &out);
                }
                out
            }
            Op::Linear { output, bias, .. } => {
                let out = self.ids.fresh(output);
                self.carry(weight.clone(), 1, inputs[0]);
                self.carry(weight, 0, &out);
                if bias {
                    self.carry(bias_name, 0, &out);
                }
                out
            }
            Op::BatchNorm { .. } => {
                self.norms.insert(name.to_owned());
                for end in ["weight", "bias", "running_mean", "running_var"] {
                    self.carry(format!("{name}.{end}"), 0, inputs[0]);
                }
                inputs[0].clone()
            }
            Op::Add => {
                for (a, b) in inputs[0].iter().zip(inputs[1]) {
                    self.ids.merge(*a, *b);
                }
                inputs[0].clone()
            }
            Op::Relu | Op::Relu6 | Op::MaxPool(_) | Op::GlobalAvgPool => inputs[0].clone(),
        }
    }
}

impl Graph {
    /// All channels of the network, grouped.
    pub fn channel_groups(&self) -> Vec<Group> {
        let mut walk = Walk::default();
        let mut outputs: Vec<Vec<usize>> = Vec::new();
        for node in self.nodes() {
            let inputs: Vec<&Vec<usize>> = node.inputs.iter().map(|j| &outputs[*j]).collect();
            let out = walk.visit(&node.name, node.op, &inputs);
            outputs.push(out);
        }
        walk.fixed.extend(outputs.last().into_iter().flatten());
        let fixed: BTreeSet<usize> =
            std::mem::take(&mut walk.fixed).into_iter().map(|id| walk.ids.root(id)).collect();
        let mut units: BTreeMap<usize, Vec<(Axis, usize)>> = BTreeMap::new();
        for (id, axis, index) in std::mem::take(&mut walk.slices) {
            units.entry(walk.ids.root(id)).or_default().push((axis, index));
        }
        let mut groups: Vec<Group> = Vec::new();
        for (id, members) in units {
            let (axes, indices): (Vec<Axis>, Vec<usize>) = members.into_iter().unzip();
            let removable = !fixed.contains(&id);
            match groups.iter_mut().find(|g| g.axes == axes && g.removable == removable) {
                Some(group) => group.units.push(Unit(indices)),
                None => {
                    let norms = norms_among(&axes, &walk.norms);
                    groups.push(Group { axes, units: vec![Unit(indices)], norms, removable });
                }
            }
        }
        groups
    }

    /// The network without the given channels.
    ///
    /// # Errors
    /// A fixed group, a group that would lose its last channel, or weights that do not fit.
    pub fn cut(
        &self,
        weights: &Weights,
        removed: &[(&Group, Vec<&Unit>)],
    ) -> Result<(Self, Weights)> {
        let mut gone: BTreeMap<&Axis, BTreeSet<usize>> = BTreeMap::new();
        for (group, units) in removed {
            ensure!(group.removable || units.is_empty(), "these channels are fixed:\n{group}");
            ensure!(units.len() < group.units.len(), "no channel would be left of:\n{group}");
            for unit in units {
                for (axis, index) in group.axes.iter().zip(&unit.0) {
                    gone.entry(axis).or_default().insert(*index);
                }
            }
        }
        let mut weights = weights.clone();
        for (axis, gone) in gone {
            let array = weights.get_mut(&axis.tensor).context("no such tensor")?;
            let n = *array.shape.get(axis.dim).context("no such dimension")?;
            let kept: Vec<usize> = (0..n).filter(|i| !gone.contains(i)).collect();
            *array = array.select(axis.dim, &kept)?;
        }
        Ok((self.with_widths_of(&weights)?, weights))
    }

    /// The same nodes with the channel counts that `weights` have.
    ///
    /// # Errors
    /// Weights that are not of these nodes, or whose shapes do not meet.
    pub fn with_widths_of(&self, weights: &Weights) -> Result<Self> {
        let mut nodes = self.nodes().to_vec();
        for node in &mut nodes {
            let name = format!("{}.weight", node.name);
            let shape = || {
                let array = weights.get(&name).with_context(|| name.clone())?;
                Ok::<_, anyhow::Error>([
                    *array.shape.first().context("no dimensions")?,
                    array.shape.get(1).copied().unwrap_or(1),
                ])
            };
            match &mut node.op {
                Op::Conv { input, output, groups, .. } => {
                    let [out, per_group] = shape()?;
                    if *groups == *input && input == output && *groups > 1 {
                        (*input, *output, *groups) = (out, out, out);
                    } else {
                        (*input, *output) = (per_group * *groups, out);
                    }
                }
                Op::Linear { input, output, .. } => [*output, *input] = shape()?,
                Op::BatchNorm { channels } => *channels = shape()?[0],
                _ => {}
            }
        }
        let graph = Self::new(nodes)?;
        graph.check_weights(weights)?;
        Ok(graph)
    }
}

fn norms_among(axes: &[Axis], norms: &BTreeSet<String>) -> Vec<String> {
    let names = axes.iter().filter(|a| a.dim == 0).filter_map(|a| a.tensor.strip_suffix(".weight"));
    names.filter(|n| norms.contains(*n)).map(str::to_owned).collect()
}
