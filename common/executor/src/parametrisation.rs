//! What is trained ("variables") and what a network computes with ("parameters").
//!
//! Without grids the two are the same. A tensor with a grid is trained as latent values, in the same
//! place of the buffer, and the logarithms of its scales, behind all parameters; the network computes
//! with what would be stored of them ([`crate::rounding`]).

use crate::rounding::Rounding;
use crate::update::{Part, Update};
use graph::grid::{self, Grid, Grids, Scale};
use graph::{Graph, Layout, Result, Role, Weights};
use std::ops::Range;

/// A tensor on a grid.
struct OnGrid {
    /// Its position among the slots of the layout.
    slot: usize,
    bits: u8,
    /// Where the logarithms of its scales are.
    log_scales: Range<usize>,
}

/// Variables ↔ parameters.
pub struct Parametrisation {
    layout: Layout,
    tensors: Vec<OnGrid>,
    /// Where the head's variables are.
    head: Vec<Range<usize>>,
    /// Floats of the variables.
    len: usize,
}

impl Parametrisation {
    /// Of a network with these parameters, those in `grids` on their grids.
    ///
    /// # Errors
    /// A grid for no parameter.
    pub fn new(layout: Layout, grids: &Grids) -> Result<Self> {
        let (mut tensors, mut len) = (Vec::new(), layout.len());
        for (name, Grid { bits, scales }) in grids {
            let log_scales = len..len + scales.len();
            len = log_scales.end;
            tensors.push(OnGrid { slot: layout.find(name)?, bits: *bits, log_scales });
        }
        let mut own: Vec<Range<usize>> = Vec::new();
        for slot in layout.head() {
            own.push(layout.slots()[slot].range.clone());
            own.extend(tensors.iter().filter(|t| t.slot == slot).map(|t| t.log_scales.clone()));
        }
        own.sort_by_key(|r| r.start);
        Ok(Self { layout, tensors, head: own, len })
    }

    /// Names and places of the parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Floats of the variables.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no variables.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether variables are parameters: no tensor is on a grid.
    pub fn is_identity(&self) -> bool {
        self.tensors.is_empty()
    }

    /// For each tensor on a grid: its slot, bits, and where the logarithms of its scales are.
    pub fn on_grids(&self) -> impl Iterator<Item = (usize, u8, Range<usize>)> + '_ {
        self.tensors.iter().map(|t| (t.slot, t.bits, t.log_scales.clone()))
    }

    fn range(&self, tensor: &OnGrid) -> Range<usize> {
        self.layout.slots()[tensor.slot].range.clone()
    }

    /// The variables that stand for `weights` on `grids`.
    ///
    /// # Errors
    /// Weights or grids that are not of this network.
    pub fn variables(&self, weights: &Weights, grids: &Grids) -> Result<Vec<f32>> {
        let mut variables = self.layout.pack(weights)?;
        variables.resize(self.len, 0.0);
        for tensor in &self.tensors {
            let name = &self.layout.slots()[tensor.slot].name;
            let missing = || graph::Error::new(format!("no grid for {name}"));
            let Grid { scales, .. } = grids.get(name).ok_or_else(missing)?;
            for (l, s) in variables[tensor.log_scales.clone()].iter_mut().zip(scales) {
                *l = s.value().log2();
            }
            let scales = scales.iter().map(|s| s.value()).collect();
            let rounding = Rounding { scales, top: f32::from(grid::top(tensor.bits)) };
            rounding.latents(&mut variables[self.range(tensor)]);
        }
        Ok(variables)
    }

    fn rounding(&self, tensor: &OnGrid, variables: &[f32]) -> Rounding {
        Rounding::new(tensor.bits, &variables[tensor.log_scales.clone()])
    }

    /// What the network computes with, into `parameters`, a buffer of the layout.
    pub fn parameters(&self, variables: &[f32], parameters: &mut [f32]) {
        parameters.copy_from_slice(&variables[..parameters.len()]);
        for tensor in &self.tensors {
            self.rounding(tensor, variables).round(&mut parameters[self.range(tensor)]);
        }
    }

    /// Turns gradients of the parameters, at the start of `gradient`, into those of the variables.
    pub fn gradients(&self, variables: &[f32], gradient: &mut [f32]) {
        let (parameters, log_scales) = gradient.split_at_mut(self.layout.len());
        for tensor in &self.tensors {
            let range = self.range(tensor);
            let at = tensor.log_scales.start - parameters.len()
                ..tensor.log_scales.end - parameters.len();
            let (u, grad) = (&variables[range.clone()], &mut parameters[range]);
            self.rounding(tensor, variables).gradients(u, grad, &mut log_scales[at]);
        }
    }

    /// The variables that `update` changes, in order. With settled integers the latents of weights on grids stay as
    /// they are; scales and biases go on. The head is the last layer with weights, which makes the logits; where it
    /// is updated like the body they are not told apart, as where the sum of squares of a gradient is cut would
    /// change its last bits.
    pub fn updates(&self, update: &Update) -> Vec<Part> {
        let whole = |(range, decays)| Part { range, decays, is_head: false };
        let ranges = self.ranges(update.settled).into_iter();
        if update.is_even() {
            return ranges.map(whole).collect();
        }
        let mut parts = Vec::new();
        for (range, decays) in ranges {
            let mut part = |range: Range<usize>, is_head| {
                if !range.is_empty() && (is_head || !update.rests()) {
                    parts.push(Part { range, decays, is_head });
                }
            };
            let mut at = range.start;
            for head in &self.head {
                let [start, end] = [head.start, head.end].map(|i| i.clamp(at, range.end));
                part(at..start, false);
                part(start..end, true);
                at = end;
            }
            part(at..range.end, false);
        }
        parts
    }

    /// What an update changes, and whether it decays.
    fn ranges(&self, settled: bool) -> Vec<(Range<usize>, bool)> {
        let (weights, trained) = (self.layout.weights(), self.layout.trained());
        let mut ranges = Vec::new();
        if settled {
            let stays = |i: usize| self.tensors.iter().any(|t| t.slot == i);
            for (i, slot) in self.layout.slots().iter().enumerate() {
                if slot.role == Role::Weight && !stays(i) {
                    ranges.push((slot.range.clone(), true));
                }
            }
        } else {
            ranges.push((weights.clone(), true));
        }
        ranges.push((weights.end..trained.end, false));
        ranges.push((self.layout.len()..self.len, false));
        ranges.retain(|(r, _)| !r.is_empty());
        ranges
    }

    /// Weights as they would be stored for these variables, and their grids.
    ///
    /// # Errors
    /// Variables of another network.
    pub fn stored(&self, variables: &[f32]) -> Result<(Weights, Grids)> {
        self.meaning(variables, Rounding::round)
    }

    /// The network as it would be stored for these variables, with batch norm folded: `graph`, whose
    /// parameters these are, without batch norms, and its parameters.
    ///
    /// # Errors
    /// Variables of another network.
    pub fn folded(&self, graph: &Graph, variables: &[f32]) -> Result<(Graph, Weights)> {
        graph.fold(self.stored(variables)?.0)
    }

    /// What these variables stand for before rounding, and the grids.
    ///
    /// # Errors
    /// Variables of another network.
    pub fn unrounded(&self, variables: &[f32]) -> Result<(Weights, Grids)> {
        self.meaning(variables, Rounding::weights)
    }

    fn meaning(
        &self,
        variables: &[f32],
        f: impl Fn(&Rounding, &mut [f32]),
    ) -> Result<(Weights, Grids)> {
        if variables.len() != self.len {
            let (found, expected) = (variables.len(), self.len);
            return Err(graph::Error::new(format!("{found} variables, expected {expected}")));
        }
        if self.is_identity() {
            return Ok((self.layout.unpack(variables)?, Grids::new()));
        }
        let mut parameters = variables[..self.layout.len()].to_vec();
        let mut grids = Grids::new();
        for tensor in &self.tensors {
            f(&self.rounding(tensor, variables), &mut parameters[self.range(tensor)]);
            let logarithms = &variables[tensor.log_scales.clone()];
            let scales = logarithms.iter().map(|l| Scale::nearest(l.exp2())).collect();
            let name = self.layout.slots()[tensor.slot].name.clone();
            grids.insert(name, Grid { bits: tensor.bits, scales });
        }
        Ok((self.layout.unpack(&parameters)?, grids))
    }
}
