//! Grids under one waterline: every tensor's step is as wide as makes the error of one value cost the same nats.
//!
//! A uniform grid of step Δ leaves an error of Δ²/12 a value, which costs ½ · curvature · Δ²/12 nats, and a bit more
//! divides it by four whatever the tensor: bytes are spent best where all tensors are at the same cost (reverse
//! water-filling: Cover & Thomas 2006, "Elements of information theory", section 10.3.3). Grids have as many integers as
//! the largest value asks for, even where most are zero: entropy coding pays for what is used, and a grid that is cut
//! off costs more than it saves (Sullivan 1996, "Efficient scalar quantization of exponential and Laplacian random
//! variables"). Values go to the nearest integer: what rounding to cheaper ones saves, it takes from every value
//! towards zero, and these errors add up layer by layer (at 100 kB of the built-in student .012 nats at a price of
//! nothing, .025 at .02 squared scales, .21 at .1).

use anyhow::{Context, Result, bail, ensure};
use artifacts::Model;
use codec::{Choice, Choices, Integers, Levels, Quantized, Rows};
use graph::grid::{Grid, MOST_BITS, Scale, top};
use graph::{Array, Role};
use std::collections::BTreeMap;

/// A tensor and what its values weigh.
struct Tensor<'a> {
    name: String,
    array: &'a Array,
    /// See `Measure::curvature`.
    curvature: f64,
    largest: f32,
    is_weight: bool,
}

/// All trained tensors of a folded network.
pub(super) struct Waterline<'a> {
    model: &'a Model,
    tensors: Vec<Tensor<'a>>,
}

/// A plan: how high the water stands, and by how much each tensor is off it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    /// Sixteenths of an octave by which all steps are wider than a curvature of one asks for at one nat.
    pub(super) height: f64,
    /// Sixteenths of an octave by which a tensor's step is wider than that, by number.
    pub(super) shifts: Vec<i16>,
}

/// Lowest and highest water there can be.
const HEIGHTS: [f64; 2] = [-640.0, 160.0];
/// Halvings of an interval of heights: to a thousandth of a sixteenth.
const HALVINGS: u32 = 20;

impl<'a> Waterline<'a> {
    pub(super) fn new(model: &'a Model, curvatures: &BTreeMap<String, f64>) -> Result<Self> {
        let tensor = |(name, role): (String, Role)| {
            let missing = || format!("tensor {name} is missing");
            let array = model.weights.get(&name).with_context(missing)?;
            let curvature = curvatures.get(&name).copied().with_context(missing)?;
            let largest = array.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            Ok(Tensor { name, array, curvature, largest, is_weight: role == Role::Weight })
        };
        let all = model.graph.parameters().map(|p| (p.name, p.role));
        let tensors = all.map(tensor).collect::<Result<Vec<_>>>()?;
        ensure!(!tensors.is_empty(), "a network without weights");
        Ok(Self { model, tensors })
    }

    /// The network.
    pub(super) fn model(&self) -> &Model {
        self.model
    }

    /// Numbers of the weights: vectors are few, and stay on the line.
    pub(super) fn weights(&self) -> Vec<usize> {
        (0..self.tensors.len()).filter(|i| self.tensors[*i].is_weight).collect()
    }

    /// Everybody on the line.
    pub(super) fn even(&self, height: f64) -> Level {
        Level { height, shifts: vec![0; self.tensors.len()] }
    }

    /// The grid of a tensor: one step, and as many bits as its largest value asks for.
    fn grid(&self, tensor: &Tensor, level: &Level, i: usize) -> Grid {
        let off = level.height - 8.0 * tensor.curvature.max(1e-30).log2();
        let code = off.round() as i16 + level.shifts[i];
        // Beyond a grid's integers at one end, all zeros at the other.
        let finest = Scale::nearest(tensor.largest / f32::from(top(MOST_BITS))).coarser(1);
        let coarsest = Scale::nearest(2.5 * tensor.largest);
        let scale = Scale::from_code(code).clamp(finest, coarsest.max(finest));
        let largest = (tensor.largest / scale.value()).round();
        let bits = (2..MOST_BITS).find(|b| f32::from(top(*b)) >= largest);
        Grid { bits: bits.unwrap_or(MOST_BITS), scales: vec![scale] }
    }

    /// The network on the grids of `level`. All planning rounds by this.
    pub(super) fn round(&self, level: &Level) -> Result<Quantized> {
        let grids = self.tensors.iter().enumerate();
        let grids = grids.map(|(i, t)| (t.name.clone(), self.grid(t, level, i))).collect();
        Quantized::on(&self.model.graph, &self.model.weights, &grids, 0.0)
    }

    /// Bytes of the finished file.
    pub(super) fn bytes(&self, rounded: &Quantized) -> Result<usize> {
        self.model.coded_bytes(rounded)
    }

    /// The lowest water at which the file keeps to `budget` with these shifts.
    ///
    /// # Errors
    /// A budget that none keeps to.
    pub(super) fn land(&self, level: &Level, budget: usize) -> Result<Level> {
        let at = |height: f64| Level { height, shifts: level.shifts.clone() };
        let fits = |height: f64| anyhow::Ok(self.bytes(&self.round(&at(height))?)? <= budget);
        // Mostly it is near: look around first, by steps that double.
        let [lowest, highest] = HEIGHTS;
        let (mut low, mut high, mut step) = (level.height, level.height, 2.0);
        let mut least = usize::MAX;
        loop {
            // What is nearly all zeros is no network, and the coder refuses it: there is no coarser one.
            let bytes = self.bytes(&self.round(&at(high))?);
            match bytes {
                Ok(bytes) if bytes <= budget => break,
                Ok(bytes) if high < highest => least = bytes,
                Ok(_) | Err(_) => bail!(
                    "at the coarsest grids that leave of it more than zeros the network takes {least} \
                     bytes, the budget is {budget}: prune the model, or raise --budget"
                ),
            }
            (low, high, step) = (high, (high + step).min(highest), 2.0 * step);
        }
        step = 2.0;
        while low > lowest && fits(low)? {
            (high, low, step) = (low, (low - step).max(lowest), 2.0 * step);
        }
        for _ in 0..HALVINGS {
            if high - low < 1e-3 {
                break;
            }
            let middle = 0.5 * (low + high);
            if fits(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(at(high))
    }

    /// What is left of `budget` goes to one weight after the other, a sixteenth of an octave each.
    pub(super) fn fill(&self, level: &Level, budget: usize) -> Result<Level> {
        let mut best = level.clone();
        // The largest first: what they leave, smaller ones can use.
        let mut weights = self.weights();
        weights.sort_by_key(|i| std::cmp::Reverse(self.tensors[*i].array.values.len()));
        for i in weights {
            let mut finer = best.clone();
            finer.shifts[i] -= 1;
            if self.bytes(&self.round(&finer)?)? <= budget {
                best = finer;
            }
        }
        Ok(best)
    }

    /// What the plan says of the grids of `rounded`.
    pub(super) fn choices(&self, rounded: &Quantized) -> Result<Choices> {
        let choice = |t: &Tensor| {
            let grid = rounded.0.get(&t.name).with_context(|| format!("no grid for {}", t.name))?;
            let choice = Choice { rows: Rows::Tensor, bits: grid.bits, coarser: 0 };
            let least = Integers::new(t.array, choice, 0.0)?;
            let (Levels::Uniform(a), Levels::Uniform(b)) = (&grid.levels, &least.levels) else {
                unreachable!("a codebook under a waterline");
            };
            Ok((t.name.clone(), Choice { coarser: a[0].code() - b[0].code(), ..choice }))
        };
        self.tensors.iter().map(choice).collect()
    }
}
