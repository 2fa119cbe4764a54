//! Which channels belong together: what must go when one channel goes.
//!
//! Every channel of every node's output gets an id. Operations that keep channels (batch norm,
//! activations, pooling, depthwise filters) pass ids on, a sum or a product merges the ids of its two operands,
//! concatenation appends them, a split takes some, a convolution or linear layer makes new ones. All tensor
//! slices that carry the same id form a [`Unit`]; units with the same list of tensors form a [`Group`]. No family
//! needs code of its own (the idea of DepGraph, Fang et al. 2023, at the grain of single channels).

use crate::error::{Error, Result, ensure};
use crate::network::{Graph, Weights};
pub use crate::op::Axis;
use crate::op::Walk;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Channels that a cut leaves of every layer, unless told otherwise.
pub const FLOOR: usize = 8;

/// One removable channel: an index into each axis of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    id: usize,
    indices: Vec<usize>,
}

/// Channels that live in the same tensors.
#[derive(Clone, Debug)]
pub struct Group {
    /// The tensors and dimensions its channels index.
    pub axes: Vec<Axis>,
    /// Its channels.
    pub units: Vec<Unit>,
    /// Names of the batch norms among its tensors.
    pub norms: BTreeSet<String>,
    /// False for what must stay: colours and classes.
    pub removable: bool,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.removable { "" } else { " (fixed)" };
        writeln!(f, "{} channels{note}", self.units.len())?;
        for (a, axis) in self.axes.iter().enumerate() {
            let indices = || self.units.iter().map(|u| u.indices[a]);
            let (low, high) = (indices().min().unwrap_or(0), indices().max().unwrap_or(0));
            writeln!(f, "  {} dim {} [{low}..{}]", axis.tensor, axis.dim, high + 1)?;
        }
        Ok(())
    }
}

impl Group {
    /// Every slice of a tensor that carries `unit`. A shuffle can tie several channels of one tensor
    /// together.
    pub fn slices<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = (&'a Axis, usize)> {
        self.axes.iter().zip(unit.indices.iter().copied())
    }

    /// Numbers of `graph` that go with each of its channels: its slices of all tensors, statistics of batch norms among
    /// them.
    pub fn numbers(&self, graph: &Graph) -> usize {
        let shapes: BTreeMap<String, Vec<usize>> =
            graph.parameters().map(|p| (p.name, p.shape)).collect();
        let slice = |axis: &Axis| -> usize {
            let others = shapes.get(&axis.tensor).into_iter().flatten().enumerate();
            others.filter(|(dim, _)| *dim != axis.dim).map(|(_, n)| n).product()
        };
        self.axes.iter().map(slice).sum()
    }
}

/// Visits every node; the ids of each node's output channels.
fn walk_over(graph: &Graph) -> (Walk, Vec<Vec<usize>>) {
    let (mut walk, mut outputs) = (Walk::default(), Vec::<Vec<usize>>::new());
    for node in graph.nodes() {
        walk.name.clone_from(&node.name);
        let inputs: Vec<&[usize]> = node.inputs.iter().map(|j| &outputs[*j][..]).collect();
        let out = node.op.about().ids(&inputs, &mut walk);
        outputs.push(out);
    }
    walk.fixed.extend(outputs.last().into_iter().flatten());
    (walk, outputs)
}

impl Graph {
    /// All channels of the network, grouped.
    pub fn channel_groups(&self) -> Vec<Group> {
        let (mut walk, _) = walk_over(self);
        let fixed: BTreeSet<usize> =
            std::mem::take(&mut walk.fixed).into_iter().map(|id| walk.ids.root(id)).collect();
        let mut units: BTreeMap<usize, Vec<(Axis, usize)>> = BTreeMap::new();
        for (id, axis, index) in std::mem::take(&mut walk.slices) {
            units.entry(walk.ids.root(id)).or_default().push((axis, index));
        }
        let mut groups: Vec<Group> = Vec::new();
        for (id, members) in units {
            let (axes, indices): (Vec<Axis>, Vec<usize>) = members.into_iter().unzip();
            let unit = Unit { id, indices };
            let removable = !fixed.contains(&id);
            match groups.iter_mut().find(|g| g.axes == axes && g.removable == removable) {
                Some(group) => group.units.push(unit),
                None => {
                    let norms = norms_among(&axes, &walk.norms);
                    groups.push(Group { axes, units: vec![unit], norms, removable });
                }
            }
        }
        groups
    }

    /// The channel groups that a cut may take from: those of layers that a file does not hold, as [`Graph::joined_names`]
    /// says, are not removable here, as the file would be no smaller without them.
    ///
    /// # Errors
    /// A last layer that does not fit what it reads.
    pub fn groups_worth_cutting(&self) -> Result<Vec<Group>> {
        let joined = self.joined_names()?;
        let is_joined = |axis: &Axis| {
            axis.tensor.rsplit_once('.').is_some_and(|(name, _)| joined.contains(name))
        };
        let mut groups = self.channel_groups();
        for group in &mut groups {
            // Where such a layer makes the channels, not where it reads them.
            group.removable &= !group.axes.iter().any(|axis| axis.dim == 0 && is_joined(axis));
        }
        Ok(groups)
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
                for (axis, index) in group.axes.iter().zip(&unit.indices) {
                    gone.entry(axis).or_default().insert(*index);
                }
            }
        }
        let mut weights = weights.clone();
        for (axis, gone) in gone {
            let missing = || Error::new(format!("tensor {} is missing", axis.tensor));
            let array = weights.get_mut(&axis.tensor).ok_or_else(missing)?;
            let n = array.shape.get(axis.dim).copied().unwrap_or(0);
            let kept: Vec<usize> = (0..n).filter(|i| !gone.contains(i)).collect();
            *array = array.select(axis.dim, &kept)?;
        }
        let removed = removed.iter().flat_map(|(_, units)| units.iter().map(|u| u.id)).collect();
        let graph = self.without(&removed)?;
        graph.check_weights(&weights)?;
        Ok((graph, weights))
    }

    /// The same nodes without the channels whose ids lead to `gone`.
    fn without(&self, gone: &BTreeSet<usize>) -> Result<Self> {
        let (mut walk, outputs) = walk_over(self);
        let left: Vec<Vec<bool>> = outputs
            .iter()
            .map(|ids| ids.iter().map(|id| !gone.contains(&walk.ids.root(*id))).collect())
            .collect();
        let mut nodes = self.nodes().to_vec();
        for (node, output) in nodes.iter_mut().zip(&left) {
            let inputs: Vec<&[bool]> = node.inputs.iter().map(|j| &left[*j][..]).collect();
            node.op.about_mut().keep(&inputs, output);
        }
        Self::new(nodes)
    }
}

fn norms_among(axes: &[Axis], norms: &BTreeSet<String>) -> BTreeSet<String> {
    let names = axes.iter().filter(|a| a.dim == 0).filter_map(|a| a.tensor.strip_suffix(".weight"));
    names.filter(|n| norms.contains(*n)).map(str::to_owned).collect()
}
