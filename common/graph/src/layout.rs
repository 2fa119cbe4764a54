//! All parameters of a network in one flat buffer: gradients, the optimizer's momenta and averages are
//! buffers of the same layout, and an update is one pass over a range.

use crate::array::Array;
use crate::error::{Error, Result, ensure};
use crate::network::{Graph, Weights};
use crate::op::Role;
use std::borrow::Borrow;
use std::ops::Range;

/// Where a parameter lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Its shape, in PyTorch's layout.
    pub shape: Vec<usize>,
    /// What it is to its operation.
    pub role: Role,
    /// Its floats in the buffer.
    pub range: Range<usize>,
}

/// Names, shapes, roles and places of all parameters: weights first, then biases, scales and shifts,
/// then statistics; within these, in node order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: Vec<Slot>,
}

const SECTIONS: usize = 3;

/// Weights decay, the other trained parameters do not, statistics are not trained.
fn section(role: Role) -> usize {
    match role {
        Role::Weight => 0,
        Role::Bias | Role::Gamma | Role::Beta | Role::Scale | Role::Shift => 1,
        Role::Mean | Role::Variance => 2,
    }
}

impl Layout {
    /// That of the parameters of `graph`.
    pub fn of(graph: &Graph) -> Self {
        let of_section = |s| graph.parameters().filter(move |p| section(p.role) == s);
        let mut at = 0;
        let slots = (0..SECTIONS).flat_map(of_section).map(|p| {
            let start = at;
            at += p.shape.iter().product::<usize>();
            Slot { name: p.name, shape: p.shape, role: p.role, range: start..at }
        });
        Self { slots: slots.collect() }
    }

    /// For every node of `graph`, which is its own, the positions of its parameters among the slots.
    pub(crate) fn of_nodes(&self, graph: &Graph) -> Vec<Vec<usize>> {
        // Within a section slots are in node order.
        let mut next = [0; SECTIONS];
        for (i, slot) in self.slots.iter().enumerate().rev() {
            next[section(slot.role)] = i;
        }
        let mut take = |role| {
            let at = &mut next[section(role)];
            *at += 1;
            *at - 1
        };
        let nodes = graph.nodes().iter();
        nodes.map(|n| n.parameters().into_iter().map(|p| take(p.role)).collect()).collect()
    }

    /// Every parameter, in the order of the buffer.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots of the last layer with weights, and of its bias; [`Graph::head`], where that has weights.
    pub fn head(&self) -> Vec<usize> {
        // Weights are in node order.
        let Some(weight) = self.slots.iter().rposition(|s| s.role == Role::Weight) else {
            return Vec::new();
        };
        let layer = self.slots[weight].name.rsplit_once('.').map_or("", |(layer, _)| layer);
        let bias = format!("{layer}.bias");
        let bias = self.slots.iter().position(|s| s.role == Role::Bias && s.name == bias);
        [Some(weight), bias].into_iter().flatten().collect()
    }

    /// Where the factors γ of batch norms lie.
    pub fn gammas(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.slots.iter().filter(|s| s.role == Role::Gamma).map(|s| s.range.clone())
    }

    /// Floats of a buffer.
    pub fn len(&self) -> usize {
        self.slots.last().map_or(0, |s| s.range.end)
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The position of the parameter `name` among the slots.
    ///
    /// # Errors
    /// A name that does not occur.
    pub fn find(&self, name: &str) -> Result<usize> {
        let at = self.slots.iter().position(|s| s.name == name);
        at.ok_or_else(|| Error::new(format!("the network has no parameter {name}")))
    }

    /// Floats of the slots before the first that `beyond` is true of.
    fn end(&self, beyond: impl Fn(&Slot) -> bool) -> usize {
        self.slots.iter().find(|s| beyond(s)).map_or(self.len(), |s| s.range.start)
    }

    /// The floats that weight decay concerns.
    pub fn weights(&self) -> Range<usize> {
        0..self.end(|s| s.role != Role::Weight)
    }

    /// The floats that gradients change.
    pub fn trained(&self) -> Range<usize> {
        0..self.end(|s| !s.role.is_trained())
    }

    /// The buffer that holds `weights`; tensors that are no parameter are left out.
    ///
    /// # Errors
    /// A parameter that is missing or of another shape.
    pub fn pack(&self, weights: &Weights) -> Result<Vec<f32>> {
        self.fill(|name| weights.get(name))
    }

    /// [`Layout::pack`] of weights that are needed no more: each is freed when it has been copied.
    ///
    /// # Errors
    /// As [`Layout::pack`].
    pub fn pack_all(&self, mut weights: Weights) -> Result<Vec<f32>> {
        self.fill(|name| weights.remove(name))
    }

    fn fill<A: Borrow<Array>>(&self, mut get: impl FnMut(&str) -> Option<A>) -> Result<Vec<f32>> {
        let mut buffer = Vec::with_capacity(self.len());
        for Slot { name, shape, .. } in &self.slots {
            let missing = || Error::new(format!("tensor {name} is missing"));
            let array = get(name).ok_or_else(missing)?;
            let Array { shape: found, values } = array.borrow();
            ensure!(found == shape, "tensor {name} has shape {found:?}, expected {shape:?}");
            buffer.extend_from_slice(values);
        }
        Ok(buffer)
    }

    /// The parameters in `buffer`, by name.
    ///
    /// # Errors
    /// A buffer of another length.
    pub fn unpack(&self, buffer: &[f32]) -> Result<Weights> {
        let (found, expected) = (buffer.len(), self.len());
        ensure!(found == expected, "a buffer of {found} floats, expected {expected}");
        let array =
            |s: &Slot| Array { shape: s.shape.clone(), values: buffer[s.range.clone()].to_vec() };
        Ok(self.slots.iter().map(|s| (s.name.clone(), array(s))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_follow_each_other() -> Result<()> {
        let graph: Graph = "input 3;a:conv 3>4 k1 bias;n:bn 4;gap;f:linear 4>2 bias".parse()?;
        let layout = Layout::of(&graph);
        let names: Vec<&str> = layout.slots().iter().map(|s| &s.name[..]).collect();
        assert_eq!(
            names,
            [
                "a.weight",
                "f.weight",
                "a.bias",
                "n.weight",
                "n.bias",
                "f.bias",
                "n.running_mean",
                "n.running_var"
            ]
        );
        assert_eq!((layout.weights(), layout.trained(), layout.len()), (0..20, 0..34, 42));
        assert_eq!(
            layout.of_nodes(&graph),
            [vec![], vec![0, 2], vec![3, 4, 6, 7], vec![], vec![1, 5]]
        );
        let weights = crate::init::weights(&graph, 1);
        assert_eq!(layout.unpack(&layout.pack(&weights)?)?, weights);
        Ok(())
    }
}
