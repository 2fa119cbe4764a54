//! Which tensor slices carry which channel, collected node by node for [`crate::channels`].

use std::collections::BTreeSet;

/// A dimension of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Axis {
    /// Name of the tensor.
    pub tensor: String,
    /// Its dimension, from 0.
    pub dim: usize,
}

/// Disjoint sets of channel ids.
#[derive(Default)]
pub(crate) struct Ids {
    parent: Vec<usize>,
}

impl Ids {
    fn fresh(&mut self, n: usize) -> Vec<usize> {
        let first = self.parent.len();
        self.parent.extend(first..first + n);
        (first..first + n).collect()
    }

    pub(crate) fn root(&mut self, mut id: usize) -> usize {
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

/// Collects which tensor slices carry which id, node by node.
#[derive(Default)]
pub struct Walk {
    pub(crate) ids: Ids,
    /// Id, tensor and dimension, index.
    pub(crate) slices: Vec<(usize, Axis, usize)>,
    /// Names of the nodes that scale their channels one by one.
    pub(crate) norms: BTreeSet<String>,
    /// Ids of channels that must stay.
    pub(crate) fixed: Vec<usize>,
    /// Of the node that is visited.
    pub(crate) name: String,
}

impl Walk {
    /// Ids of `n` channels that did not exist before.
    pub(crate) fn fresh(&mut self, n: usize) -> Vec<usize> {
        self.ids.fresh(n)
    }

    /// These two go together.
    pub(crate) fn merge(&mut self, a: usize, b: usize) {
        self.ids.merge(a, b);
    }

    /// The channels of two inputs go together, one by one; those of what is made of them are the first's.
    pub(crate) fn pair(&mut self, inputs: &[&[usize]]) -> Vec<usize> {
        for (a, b) in inputs[0].iter().zip(inputs[1]) {
            self.merge(*a, *b);
        }
        inputs[0].to_vec()
    }

    /// Channels with the same place in each of `groups` equal parts go together.
    pub(crate) fn tie(&mut self, ids: &[usize], groups: usize) {
        let n = ids.len() / groups;
        for (i, id) in ids.iter().enumerate() {
            self.merge(ids[i % n], *id);
        }
    }

    /// These must stay.
    pub(crate) fn fix(&mut self, ids: &[usize]) {
        self.fixed.extend(ids);
    }

    /// Index i of dimension `dim` of the node's parameter `end` belongs to `ids[i]`.
    pub(crate) fn carry(&mut self, end: &str, dim: usize, ids: &[usize]) {
        let tensor = format!("{}.{end}", self.name);
        for (index, id) in ids.iter().enumerate() {
            self.slices.push((*id, Axis { tensor: tensor.clone(), dim }, index));
        }
    }

    /// The node scales its channels one by one: its factors say how much of each arrives.
    pub(crate) fn scaled(&mut self) {
        self.norms.insert(self.name.clone());
    }
}
