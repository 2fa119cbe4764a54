//! Tensors as integers: the payload of [`Spec::Grids`](super::Spec::Grids), one entropy-coded stream.

use crate::range::{Bit, Decoder, Encoder};
use crate::{Slot, codebook, integers, slots, uniform};
use anyhow::{Context, Result, ensure};
use graph::Array;
use graph::grid::{self, Grid, Grids, MOST_BITS, Scale};
use graph::{Graph, Weights};
use half::f16;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the values of a tensor may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// A scale for each output channel.
    Channel,
    /// One scale for the tensor.
    Tensor,
    /// No scales: levels anywhere, the same for the tensor.
    Codebook,
}

/// How one tensor is to be quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What the grid covers.
    pub rows: Rows,
    /// Bits per weight before entropy coding: 2 to 12.
    pub bits: u8,
    /// Sixteenths of an octave by which scales are wider than those of least error: of plans of before, which chose so.
    #[serde(default)]
    pub coarser: i16,
}

/// A choice for every tensor, by name.
pub type Choices = BTreeMap<String, Choice>;

/// The values that integers stand for.
#[derive(Clone, Debug, PartialEq)]
pub enum Levels {
    /// Value = scale · integer; a scale per row.
    Uniform(Vec<Scale>),
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

/// All tensors of a network as integers, by name.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Quantized(pub BTreeMap<String, Integers>);

/// Bits of biases and of batch norms that could not be folded: they are few.
const VECTOR_BITS: u8 = 10;

/// The same choice for every weight of `graph`, ten bits for vectors.
pub fn uniform_choices(graph: &Graph, rows: Rows, bits: u8) -> Choices {
    let choice = |slot: &Slot| match slot.is_weight() {
        true => Choice { rows, bits, coarser: 0 },
        false => Choice { rows: Rows::Tensor, bits: VECTOR_BITS, coarser: 0 },
    };
    slots(graph).into_iter().map(|s| (s.name.clone(), choice(&s))).collect()
}

impl Integers {
    /// The values of `array` on the grid `choice`, rounded as `uniform::round` does.
    ///
    /// # Errors
    /// Bits out of range; values that no scale reaches.
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
        let scales = values
            .chunks(columns)
            .map(|row| Ok(uniform::best_scale(row, bits)?.coarser(coarser)))
            .collect::<Result<Vec<Scale>>>()?;
        Ok(Self::on(array, &Grid { bits, scales }, lambda))
    }

    /// The values of `array` on a grid that is known, rounded as `uniform::round` does.
    pub fn on(array: &Array, grid: &Grid, lambda: f32) -> Self {
        let Grid { bits, scales } = grid.clone();
        let codes = uniform::round(&array.values, &scales, bits, lambda);
        Self { shape: array.shape.clone(), bits, levels: Levels::Uniform(scales), codes }
    }

    /// The integers `codes`, row-major, of a tensor of `shape`, on a grid that is known.
    ///
    /// # Errors
    /// Integers that are too few, too many or beyond the grid.
    pub fn from_codes(shape: Vec<usize>, grid: Grid, codes: Vec<i16>) -> Result<Self> {
        let Grid { bits, scales } = grid;
        let n: usize = shape.iter().product();
        ensure!(codes.len() == n, "{} integers for {shape:?}", codes.len());
        ensure!((2..=MOST_BITS).contains(&bits), "{bits} bits: expected 2 to {MOST_BITS}");
        let most = grid::top(bits);
        ensure!(codes.iter().all(|q| q.abs() <= most), "an integer beyond {bits} bits");
        Ok(Self { shape, bits, levels: Levels::Uniform(scales), codes })
    }

    /// The values that the integers stand for.
    ///
    /// # Errors
    /// Integers beyond a codebook.
    pub fn array(&self) -> Result<Array> {
        let values = match &self.levels {
            Levels::Uniform(scales) => {
                let columns = (self.codes.len() / scales.len().max(1)).max(1);
                let rows = self.codes.chunks(columns).zip(scales);
                rows.flat_map(|(row, s)| row.iter().map(|q| s.value() * f32::from(*q))).collect()
            }
            Levels::Codebook(levels) => {
                let half = levels.len() as i16 / 2;
                let level = |q: &i16| levels.get(usize::try_from(q + half).ok()?);
                let values = self.codes.iter().map(|q| Some(level(q)?.to_f32()));
                values.collect::<Option<_>>().context("an integer beyond the codebook")?
            }
        };
        Ok(Array::new(self.shape.clone(), values)?)
    }

    /// Bytes of an ideal code for the integers taken one by one: their order-0 entropy.
    pub fn entropy(&self) -> f64 {
        integers::entropy(&self.codes)
    }
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
    /// Bits, scales or codebook, bytes.
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

/// The kind of contexts that scales use; see `Slot::kind` for the others.
const SCALES: usize = 5;

impl Quantized {
    /// `weights` at the nearest points of the grids `choices`.
    ///
    /// # Errors
    /// A tensor without a choice, or that its grid cannot hold.
    pub fn new(graph: &Graph, weights: &Weights, choices: &Choices) -> Result<Self> {
        let new = |slot: Slot| {
            let name = slot.name;
            let array = weights.get(&name).with_context(|| format!("tensor {name} is missing"))?;
            let choice = *choices.get(&name).with_context(|| format!("no grid for {name}"))?;
            let integers = Integers::new(array, choice, 0.0);
            let integers = integers.with_context(|| format!("tensor {name}"))?;
            Ok((name, integers))
        };
        slots(graph).into_iter().map(new).collect::<Result<_>>().map(Self)
    }

    /// `weights` on `grids`, which every tensor must have, weights rounded as `uniform::round` does.
    ///
    /// # Errors
    /// A tensor without a grid.
    pub fn on(graph: &Graph, weights: &Weights, grids: &Grids, lambda: f32) -> Result<Self> {
        let on = |slot: Slot| {
            let name = &slot.name;
            let array = weights.get(name).with_context(|| format!("tensor {name} is missing"))?;
            let grid = grids.get(name).with_context(|| format!("no grid for {name}"))?;
            // Vectors are few, and a bias rounded for bytes would be an error of every picture.
            let lambda = if slot.is_weight() { lambda } else { 0.0 };
            Ok((slot.name, Integers::on(array, grid, lambda)))
        };
        slots(graph).into_iter().map(on).collect::<Result<_>>().map(Self)
    }

    /// The grids, where all are uniform; none otherwise.
    pub fn grids(&self) -> Grids {
        let grid = |(name, t): (&String, &Integers)| match &t.levels {
            Levels::Uniform(scales) => {
                Some((name.clone(), Grid { bits: t.bits, scales: scales.clone() }))
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
        self.0
            .iter()
            .map(|(n, t)| Ok((n.clone(), t.array().with_context(|| format!("tensor {n}"))?)))
            .collect()
    }

    /// The stream.
    ///
    /// # Errors
    /// Tensors missing; more than 256 values to a byte.
    pub fn encode(&self, graph: &Graph) -> Result<Vec<u8>> {
        let (out, least) = self.stream(graph)?;
        ensure!(out.len() >= least, "nearly all weights are zero: choose more bits");
        Ok(out)
    }

    /// As long as the stream, and no shorter than any with so many values may be: for sizes, so that whoever looks for
    /// one never falls off its end. Nothing reads it.
    ///
    /// # Errors
    /// Tensors missing.
    pub fn padded(&self, graph: &Graph) -> Result<Vec<u8>> {
        let (mut out, least) = self.stream(graph)?;
        out.resize(out.len().max(least), 0);
        Ok(out)
    }

    /// The stream, and the fewest bytes for its values.
    fn stream(&self, graph: &Graph) -> Result<(Vec<u8>, usize)> {
        let (mut out, mut contexts) = (Encoder::new(), integers::Contexts::new());
        let mut count = 0;
        for slot in slots(graph) {
            let tensor = self
                .0
                .get(&slot.name)
                .with_context(|| format!("tensor {} is missing", slot.name))?;
            put_grid(&mut out, &mut contexts, tensor);
            let columns = slot.columns()?;
            integers::put(&mut out, &mut contexts, slot.kind, columns, &tensor.codes);
            count += tensor.codes.len();
        }
        Ok((out.finish(), count.div_ceil(VALUES_PER_BYTE)))
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
            let is_weight = slot.is_weight();
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
const SCALE_FIELD: u32 = 11;
const LEVELS_FIELD: u32 = 9;

/// Bits, kind of rows, then the mean scale's code and every scale's distance from it; or the levels.
fn put_grid(out: &mut Encoder, contexts: &mut integers::Contexts, tensor: &Integers) {
    put_number(out, u32::from(tensor.bits), BITS_FIELD);
    match &tensor.levels {
        Levels::Uniform(scales) => {
            put_number(out, u32::from(scales.len() > 1), ROWS_FIELD);
            let sum: i64 = scales.iter().map(|s| i64::from(s.code())).sum();
            let mean = sum.div_euclid(scales.len().max(1) as i64) as i16;
            put_number(out, (mean - Scale::RANGE.start()) as u32, SCALE_FIELD);
            let rest: Vec<i16> = scales.iter().map(|s| s.code() - mean).collect();
            if scales.len() > 1 {
                integers::put(out, contexts, SCALES, rest.len(), &rest);
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
    let mean = get_number(from, SCALE_FIELD) as i16 + Scale::RANGE.start();
    if rows == 0 {
        return Ok((bits, Levels::Uniform(vec![Scale::from_code(mean)])));
    }
    let n = slot.shape[0];
    let rest = integers::get(from, contexts, SCALES, n.max(1), n);
    let scales = rest.into_iter().map(|d| Scale::from_code(mean.saturating_add(d))).collect();
    Ok((bits, Levels::Uniform(scales)))
}
