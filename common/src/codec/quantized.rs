//! Tensors as integers: the payload of [`Spec::Grids`](super::Spec::Grids), one entropy-coded stream.

use super::range::{Bit, Decoder, Encoder};
use super::uniform::Step;
use super::{Slot, codebook, integers, slots, uniform};
use crate::array::Array;
use crate::graph::{Graph, Weights};
use anyhow::{Context, Result, ensure};
use half::f16;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the values of a tensor may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// A step for each output channel.
    Channel,
    /// One step for the tensor.
    Tensor,
    /// No steps: levels anywhere, the same for the tensor.
    Codebook,
}

/// How one tensor is to be quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What the grid covers.
    pub rows: Rows,
    /// Bits per weight before entropy coding: 2 to 8, for vectors up to 12.
    pub bits: u8,
    /// Sixteenths of an octave by which steps are wider than those of least error.
    #[serde(default)]
    pub coarser: i16,
}

/// A choice for every tensor, by name.
pub type Choices = BTreeMap<String, Choice>;

/// The values that integers stand for.
#[derive(Clone, Debug, PartialEq)]
pub enum Levels {
    /// Value = step · integer; a step per row.
    Uniform(Vec<Step>),
    /// Value = levels[integer + levels / 2], ascending.
    Codebook(Vec<f16>),
}

/// A tensor as integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Integers {
    shape: Vec<usize>,
    /// Bits that bound the integers.
    pub bits: u8,
    /// What they stand for.
    pub levels: Levels,
    /// Row-major.
    pub codes: Vec<i16>,
}

/// The grid of one tensor, without its integers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// Bits that bound the integers.
    pub bits: u8,
    /// A step per output channel, or one for the tensor.
    pub steps: Vec<Step>,
}

/// Grids by tensor.
pub type Grids = BTreeMap<String, Grid>;

/// Checks that every grid has a tensor that its rows divide.
///
/// # Errors
/// The tensor that does not fit.
pub fn check_grids(grids: &Grids, weights: &Weights) -> Result<()> {
    for (name, Grid { bits, steps }) in grids {
        let array = weights.get(name).with_context(|| format!("a grid for {name}"))?;
        let rows = [1, array.shape.first().copied().unwrap_or(1)];
        ensure!(
            rows.contains(&steps.len())
                && (2..=MOST_BITS).contains(bits)
                && steps.iter().all(|s| Step::RANGE.contains(&s.code())),
            "{name}: a grid of {} steps and {bits} bits",
            steps.len()
        );
    }
    Ok(())
}

/// All tensors of a network as integers, by name.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Quantized(pub BTreeMap<String, Integers>);

/// Most bits of an integer.
const MOST_BITS: u8 = 12;

/// Bits of biases and of batch norms that could not be folded: they are few.
const VECTOR_BITS: u8 = 10;

/// The same choice for every weight of `graph`, [`VECTOR_BITS`] for vectors.
pub fn uniform_choices(graph: &Graph, rows: Rows, bits: u8) -> Choices {
    let choice = |slot: &Slot| match slot.is_vector() {
        true => Choice { rows: Rows::Tensor, bits: VECTOR_BITS, coarser: 0 },
        false => Choice { rows, bits, coarser: 0 },
    };
    slots(graph).into_iter().map(|s| (s.name.clone(), choice(&s))).collect()
}

impl Integers {
    /// The values of `array` on the grid `choice`, rounded as [`uniform::round`] does.
    ///
    /// # Errors
    /// Bits out of range; values that no step reaches.
    pub fn new(array: &Array, choice: Choice, lambda: f32) -> Result<Self> {
        let Choice { rows, bits, coarser } = choice;
        ensure!((2..=MOST_BITS).contains(&bits), "{bits} bits: expected 2 to {MOST_BITS}");
        let (shape, values) = (array.shape.clone(), &array.values);
        if rows == Rows::Codebook {
            let levels = codebook::levels(values, bits);
            let half = levels.len() as i16 / 2;
            let codes = values.iter().map(|v| codebook::nearest(&levels, *v) as i16 - half);
            let codes = codes.collect();
            return Ok(Self { shape, bits, levels: Levels::Codebook(levels), codes });
        }
        let rows = if rows == Rows::Channel { shape[0] } else { 1 };
        let columns = (values.len() / rows.max(1)).max(1);
        let steps = values
            .chunks(columns)
            .map(|row| Ok(uniform::best_step(row, bits)?.coarser(coarser)))
            .collect::<Result<Vec<Step>>>()?;
        Ok(Self::on(array, &Grid { bits, steps }, lambda))
    }

    /// The values of `array` on a grid that is known, rounded as [`uniform::round`] does.
    pub fn on(array: &Array, grid: &Grid, lambda: f32) -> Self {
        let Grid { bits, steps } = grid.clone();
        let codes = uniform::round(&array.values, &steps, bits, lambda);
        Self { shape: array.shape.clone(), bits, levels: Levels::Uniform(steps), codes }
    }

    /// The values that the integers stand for.
    ///
    /// # Errors
    /// Integers beyond a codebook.
    pub fn array(&self) -> Result<Array> {
        let values = match &self.levels {
            Levels::Uniform(steps) => {
                let columns = (self.codes.len() / steps.len().max(1)).max(1);
                let rows = self.codes.chunks(columns).zip(steps);
                rows.flat_map(|(row, s)| row.iter().map(|q| s.value() * f32::from(*q))).collect()
            }
            Levels::Codebook(levels) => {
                let half = levels.len() as i16 / 2;
                let level = |q: &i16| levels.get(usize::try_from(q + half).ok()?);
                let values = self.codes.iter().map(|q| Some(level(q)?.to_f32()));
                values.collect::<Option<_>>().context("an integer beyond the codebook")?
            }
        };
        Array::new(self.shape.clone(), values)
    }

    /// Bytes of an ideal code for the integers taken one by one: their order-0 entropy.
    pub fn entropy(&self) -> f64 {
        entropy(&self.codes)
    }
}

/// Bytes of an ideal code for integers with the frequencies of `codes`.
pub(super) fn entropy(codes: &[i16]) -> f64 {
    let mut counts = BTreeMap::<i16, usize>::new();
    for q in codes {
        *counts.entry(*q).or_default() += 1;
    }
    let n = codes.len() as f64;
    counts.values().map(|c| -(*c as f64) * (*c as f64 / n).log2()).sum::<f64>() / 8.0
}

/// Bytes of one tensor in the stream, to about a byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The tensor.
    pub name: String,
    /// Bits that bound the integers.
    pub bits: u8,
    /// Number of values.
    pub count: usize,
    /// Bits, steps or codebook, bytes.
    pub grid: usize,
    /// The integers, bytes.
    pub integers: usize,
    /// See [`Integers::entropy`].
    pub entropy: f64,
    /// Whether it is a weight: the others are vectors.
    pub is_weight: bool,
}

/// Most values that one byte of the stream may stand for. The coder could go further, but a network
/// of which less than 1/256 carries information is no network, and without a limit a small file could
/// ask for any amount of memory.
const VALUES_PER_BYTE: usize = 256;

/// The kind of contexts that steps use; see `Slot::kind` for the others.
const STEPS: usize = 5;

impl Quantized {
    /// `weights` at the nearest points of the grids `choices`.
    ///
    /// # Errors
    /// A tensor without a choice, or that its grid cannot hold.
    pub fn new(graph: &Graph, weights: &Weights, choices: &Choices) -> Result<Self> {
        let new = |slot: Slot| {
            let name = slot.name;
            let array = weights.get(&name).with_context(|| name.clone())?;
            let choice = *choices.get(&name).with_context(|| format!("no grid for {name}"))?;
            let integers = Integers::new(array, choice, 0.0).with_context(|| name.clone())?;
            Ok((name, integers))
        };
        slots(graph).into_iter().map(new).collect::<Result<_>>().map(Self)
    }

    /// `weights` on `grids`, which every tensor must have, weights rounded as [`uniform::round`] does.
    ///
    /// # Errors
    /// A tensor without a grid.
    pub fn on(weights: &Weights, grids: &Grids, lambda: f32) -> Result<Self> {
        let on = |(name, array): (&String, &Array)| {
            let grid = grids.get(name).with_context(|| format!("no grid for {name}"))?;
            // Vectors are few, and a bias rounded for bytes would be an error of every picture.
            let lambda = if array.shape.len() == 1 { 0.0 } else { lambda };
            Ok((name.clone(), Integers::on(array, grid, lambda)))
        };
        weights.iter().map(on).collect::<Result<_>>().map(Self)
    }

    /// The grids, where all are uniform; none otherwise.
    pub fn grids(&self) -> Grids {
        let grid = |(name, t): (&String, &Integers)| match &t.levels {
            Levels::Uniform(steps) => {
                Some((name.clone(), Grid { bits: t.bits, steps: steps.clone() }))
            }
            Levels::Codebook(_) => None,
        };
        self.0.iter().map(grid).collect::<Option<_>>().unwrap_or_default()
    }

    /// The values that the integers stand for.
    ///
    /// # Errors
    /// Integers beyond a codebook.
    pub fn weights(&self) -> Result<Weights> {
        self.0.iter().map(|(n, t)| Ok((n.clone(), t.array().context(n.clone())?))).collect()
    }

    /// The stream.
    ///
    /// # Errors
    /// Tensors missing; more than 256 values to a byte.
    pub fn encode(&self, graph: &Graph) -> Result<Vec<u8>> {
        let (mut out, mut contexts) = (Encoder::new(), integers::Contexts::new());
        let mut count = 0;
        for slot in slots(graph) {
            let tensor = self.0.get(&slot.name).with_context(|| slot.name.clone())?;
            put_grid(&mut out, &mut contexts, tensor);
            let columns = slot.columns()?;
            integers::put(&mut out, &mut contexts, slot.kind, columns, &tensor.codes);
            count += tensor.codes.len();
        }
        let out = out.finish();
        ensure!(
            count <= out.len().saturating_mul(VALUES_PER_BYTE),
            "nearly all weights are zero: choose more bits"
        );
        Ok(out)
    }

    /// The tensors in a stream, and where its bytes go.
    ///
    /// # Errors
    /// A stream of another length than the graph asks for.
    pub fn decode(graph: &Graph, payload: &[u8]) -> Result<(Self, Vec<Part>)> {
        let slots = slots(graph);
        let count =
            slots.iter().try_fold(0usize, |sum, s| anyhow::Ok(sum.saturating_add(s.len()?)));
        let count = count?;
        ensure!(
            count <= payload.len().saturating_mul(VALUES_PER_BYTE),
            "{count} weights cannot be in {} bytes",
            payload.len()
        );
        let (mut from, mut contexts) = (Decoder::new(payload), integers::Contexts::new());
        let (mut all, mut parts) = (BTreeMap::new(), Vec::new());
        for slot in slots {
            let start = from.position();
            let (bits, levels) = get_grid(&mut from, &mut contexts, &slot)?;
            let middle = from.position();
            let (n, columns) = (slot.len()?, slot.columns()?);
            let codes = integers::get(&mut from, &mut contexts, slot.kind, columns, n);
            ensure!(!from.is_beyond_end(), "{}: the stream ends within it", slot.name);
            let is_weight = !slot.is_vector();
            let tensor = Integers { shape: slot.shape, bits, levels, codes };
            parts.push(Part {
                name: slot.name.clone(),
                bits,
                count: n,
                grid: middle - start,
                integers: from.position() - middle,
                entropy: tensor.entropy(),
                is_weight,
            });
            all.insert(slot.name, tensor);
        }
        ensure!(from.finish(), "the stream goes on after the last tensor");
        Ok((Self(all), parts))
    }
}

/// `n` bits of a number, high bits first, each taken for as likely as not.
fn put_number(out: &mut Encoder, number: u32, n: u32) {
    for place in (0..n).rev() {
        out.put(&mut Bit::NEW.clone(), number >> place & 1 == 1);
    }
}

fn get_number(from: &mut Decoder, n: u32) -> u32 {
    (0..n).fold(0, |number, _| number << 1 | u32::from(from.get(&mut Bit::NEW.clone())))
}

/// Bits of the fields of a grid.
const BITS_FIELD: u32 = 4;
const ROWS_FIELD: u32 = 2;
const STEP_FIELD: u32 = 11;
const LEVELS_FIELD: u32 = 9;

/// Bits, kind of rows, then the mean step's code and every step's distance from it; or the levels.
fn put_grid(out: &mut Encoder, contexts: &mut integers::Contexts, tensor: &Integers) {
    put_number(out, u32::from(tensor.bits), BITS_FIELD);
    match &tensor.levels {
        Levels::Uniform(steps) => {
            put_number(out, u32::from(steps.len() > 1), ROWS_FIELD);
            let sum: i64 = steps.iter().map(|s| i64::from(s.code())).sum();
            let mean = sum.div_euclid(steps.len().max(1) as i64) as i16;
            put_number(out, (mean - Step::RANGE.start()) as u32, STEP_FIELD);
            let rest: Vec<i16> = steps.iter().map(|s| s.code() - mean).collect();
            if steps.len() > 1 {
                integers::put(out, contexts, STEPS, rest.len(), &rest);
            }
        }
        Levels::Codebook(levels) => {
            put_number(out, 2, ROWS_FIELD);
            put_number(out, levels.len() as u32, LEVELS_FIELD);
            levels.iter().for_each(|l| put_number(out, u32::from(l.to_bits()), 16));
        }
    }
}

fn get_grid(
    from: &mut Decoder,
    contexts: &mut integers::Contexts,
    slot: &Slot,
) -> Result<(u8, Levels)> {
    let bits = get_number(from, BITS_FIELD) as u8;
    ensure!((2..=MOST_BITS).contains(&bits), "{}: {bits} bits", slot.name);
    let rows = get_number(from, ROWS_FIELD);
    if rows == 2 {
        let n = get_number(from, LEVELS_FIELD);
        let levels = (0..n).map(|_| f16::from_bits(get_number(from, 16) as u16));
        let levels: Vec<f16> = levels.collect();
        ensure!(levels.iter().all(|l| l.is_finite()), "{}: a level that is not finite", slot.name);
        return Ok((bits, Levels::Codebook(levels)));
    }
    ensure!(rows < 2, "{}: an unknown grid", slot.name);
    let mean = get_number(from, STEP_FIELD) as i16 + Step::RANGE.start();
    if rows == 0 {
        return Ok((bits, Levels::Uniform(vec![Step::from_code(mean)])));
    }
    let n = slot.shape[0];
    let rest = integers::get(from, contexts, STEPS, n.max(1), n);
    let steps = rest.into_iter().map(|d| Step::from_code(mean.saturating_add(d))).collect();
    Ok((bits, Levels::Uniform(steps)))
}
