//! Weights ↔ few bytes. Pure arithmetic on integers and f32 without candle, so that a file decodes
//! to the same weights on every machine.
//!
//! The payload holds the tensors of the graph in node order, weight before bias, without any
//! header: shapes follow from the graph. [`Spec::bits`] says how weights are coded:
//!
//! * 16: IEEE half precision; vectors f32.
//! * 8: per output channel a grid `low + step · q`, `q` in 0..=255 ([`minmax`]); vectors f32.
//! * 2 to 7: per output channel a grid about zero ([`symmetric`]), its integers entropy-coded
//!   ([`integers`], [`range`]); vectors and steps in half precision.
//!
//! Vectors are biases and batch norms that could not be folded.

mod integers;
mod minmax;
mod range;
mod symmetric;

use crate::array::Array;
use crate::graph::{Graph, Op, Weights};
use anyhow::{Context, Result, bail, ensure};
use half::f16;
use range::{Decoder, Encoder};
use serde::{Deserialize, Serialize};

/// How weights are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Bits per weight: 16, or 2 to 8.
    pub bits: u8,
}

/// Where the bytes of a payload go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breakdown {
    /// Vectors and grids, bytes.
    pub vectors: usize,
    /// Weights, bytes.
    pub weights: usize,
    /// Number of weights.
    pub count: usize,
    /// Bytes that an ideal code of each tensor's integers, taken one by one, would need: its order-0
    /// entropy. None where integers are not entropy-coded.
    pub entropy: Option<f64>,
}

/// A tensor of the payload: its name, shape, and the kind of its integers.
struct Slot {
    name: String,
    shape: Vec<usize>,
    kind: usize,
}

impl Slot {
    fn is_vector(&self) -> bool {
        self.shape.len() == 1
    }

    fn len(&self) -> Result<usize> {
        let n = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        n.with_context(|| format!("{}: shape {:?}", self.name, self.shape))
    }
}

/// The tensors of a graph in the order of the payload.
fn slots(graph: &Graph) -> Vec<Slot> {
    let mut slots = Vec::new();
    for node in graph.nodes() {
        let kind = match node.op {
            Op::Conv { groups, .. } if groups > 1 => 0,
            Op::Conv { window, .. } if window.kernel > 1 => 1,
            Op::Linear { .. } => 3,
            _ => 2,
        };
        let tensors = [node.parameters(), node.buffers()].concat();
        slots.extend(tensors.into_iter().map(|(name, shape)| Slot { name, shape, kind }));
    }
    slots
}

fn check_bits(spec: &Spec) -> Result<()> {
    ensure!(
        matches!(spec.bits, 2..=8 | 16),
        "{} bits are not supported: choose 2 to 8, or 16",
        spec.bits
    );
    Ok(())
}

fn half_precision(name: &str, v: f32) -> Result<f16> {
    let h = f16::from_f32(v);
    ensure!(h.is_finite(), "{name}: {v} is too large for half precision");
    Ok(h)
}

/// Code `weights`.
///
/// # Errors
/// Unsupported bits, missing tensors, values that are not finite or too large for half precision.
pub fn encode(graph: &Graph, spec: &Spec, weights: &Weights) -> Result<Vec<u8>> {
    check_bits(spec)?;
    graph.check_weights(weights)?;
    let mut out = Vec::new();
    let (mut encoder, mut contexts) = (Encoder::new(), integers::Contexts::new());
    for slot in slots(graph) {
        let name = &slot.name;
        let array = weights.get(name).with_context(|| name.clone())?;
        let finite = array.values.iter().all(|v| v.is_finite());
        ensure!(finite, "{name}: holds values that are not finite; was training stable?");
        match (spec.bits, slot.is_vector()) {
            (8 | 16, true) => out.extend(array.values.iter().flat_map(|v| v.to_le_bytes())),
            (16, false) | (_, true) => {
                for v in &array.values {
                    out.extend(half_precision(name, *v)?.to_le_bytes());
                }
            }
            (8, false) => minmax::encode(array, &mut out).with_context(|| name.clone())?,
            (bits, false) => {
                let (steps, codes) =
                    symmetric::quantize(array, bits).with_context(|| name.clone())?;
                out.extend(steps.iter().flat_map(|s| s.to_le_bytes()));
                let columns = codes.len() / slot.shape[0].max(1);
                let top = symmetric::top(bits);
                integers::put(&mut encoder, &mut contexts, slot.kind, columns, top, &codes);
            }
        }
    }
    if spec.bits < 8 {
        let coded = encoder.finish();
        let count: usize = weights.values().map(|a| a.values.len()).sum();
        ensure!(
            count <= coded.len() * WEIGHTS_PER_BYTE,
            "nearly all weights are zero at {} bits",
            spec.bits
        );
        out.extend(coded);
    }
    Ok(out)
}

/// The weights in `payload`.
///
/// # Errors
/// A payload of another length than the graph asks for.
pub fn decode(graph: &Graph, spec: &Spec, payload: &[u8]) -> Result<Weights> {
    check_bits(spec)?;
    let weights = if spec.bits < 8 {
        let coded = coded_tensors(graph, spec.bits, payload)?;
        coded.into_iter().map(|t| t.weights()).collect::<Result<Weights>>()?
    } else {
        plain_tensors(graph, spec.bits, payload)?
    };
    for (name, array) in &weights {
        let finite = array.values.iter().all(|v| v.is_finite());
        ensure!(finite, "{name}: holds values that are not finite");
    }
    Ok(weights)
}

/// Payloads of 8 and 16 bits.
fn plain_tensors(graph: &Graph, bits: u8, payload: &[u8]) -> Result<Weights> {
    let mut rest = payload;
    let mut weights = Weights::new();
    for slot in slots(graph) {
        let (n, is_vector, name) = (slot.len()?, slot.is_vector(), slot.name);
        let array = if is_vector {
            let bytes = take(&mut rest, n, 4, &name)?;
            let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Array::new(slot.shape, values)?
        } else if bits == 16 {
            let values = halves(take(&mut rest, n, 2, &name)?).map(f16::to_f32).collect();
            Array::new(slot.shape, values)?
        } else {
            let grids = take(&mut rest, slot.shape[0], minmax::BYTES, &name)?;
            let codes = take(&mut rest, n, 1, &name)?;
            minmax::decode(slot.shape, grids, codes)?
        };
        weights.insert(name, array);
    }
    ensure!(rest.is_empty(), "{} bytes after the last tensor", rest.len());
    Ok(weights)
}

/// A tensor of a payload of 2 to 7 bits.
struct Coded {
    slot: Slot,
    /// A vector's values, or the steps of a weight's channels.
    halves: Vec<f16>,
    codes: Vec<i8>,
}

impl Coded {
    fn weights(self) -> Result<(String, Array)> {
        let array = if self.slot.is_vector() {
            Array::new(self.slot.shape, self.halves.iter().map(|h| h.to_f32()).collect())?
        } else {
            symmetric::dequantize(self.slot.shape, &self.halves, &self.codes)?
        };
        Ok((self.slot.name, array))
    }
}

/// Most weights that one byte of entropy-coded data may stand for. The coder could go further, but
/// a network of which less than 1/256 carries information is no network, and without a limit a
/// small file could ask for any amount of memory.
const WEIGHTS_PER_BYTE: usize = 256;

fn coded_tensors(graph: &Graph, bits: u8, payload: &[u8]) -> Result<Vec<Coded>> {
    let mut rest = payload;
    let mut tensors = Vec::new();
    for slot in slots(graph) {
        let n = if slot.is_vector() { slot.len()? } else { slot.shape[0] };
        let halves = halves(take(&mut rest, n, 2, &slot.name)?).collect();
        tensors.push(Coded { slot, halves, codes: Vec::new() });
    }
    let count = tensors
        .iter()
        .filter(|t| !t.slot.is_vector())
        .try_fold(0usize, |sum, t| Ok::<_, anyhow::Error>(sum.saturating_add(t.slot.len()?)))?;
    ensure!(
        count <= rest.len().saturating_mul(WEIGHTS_PER_BYTE),
        "{count} weights cannot be in {} bytes",
        rest.len()
    );
    let (mut decoder, mut contexts) = (Decoder::new(rest), integers::Contexts::new());
    for t in tensors.iter_mut().filter(|t| !t.slot.is_vector()) {
        let n = t.slot.len()?;
        let columns = (n / t.slot.shape[0].max(1)).max(1);
        let top = symmetric::top(bits);
        t.codes = integers::get(&mut decoder, &mut contexts, t.slot.kind, columns, top, n);
    }
    ensure!(decoder.finish(), "the entropy-coded weights end elsewhere than the payload");
    Ok(tensors)
}

/// Where the bytes of `payload` go.
///
/// # Errors
/// As [`decode`].
pub fn breakdown(graph: &Graph, spec: &Spec, payload: &[u8]) -> Result<Breakdown> {
    check_bits(spec)?;
    let slots = slots(graph);
    let (vectors, weights): (Vec<&Slot>, Vec<&Slot>) = slots.iter().partition(|s| s.is_vector());
    let sum = |slots: &[&Slot]| slots.iter().map(|s| s.len()).sum::<Result<usize>>();
    let (vector_values, count) = (sum(&vectors)?, sum(&weights)?);
    let channels: usize = weights.iter().map(|s| s.shape[0]).sum();
    let vectors = match spec.bits {
        16 => 4 * vector_values,
        8 => 4 * vector_values + minmax::BYTES * channels,
        _ => 2 * (vector_values + channels),
    };
    let entropy = match spec.bits {
        8 | 16 => None,
        bits => {
            let coded = coded_tensors(graph, bits, payload)?;
            Some(coded.iter().map(|t| order_0_entropy(&t.codes)).sum())
        }
    };
    let Some(weights) = payload.len().checked_sub(vectors) else {
        bail!("the payload is too short")
    };
    Ok(Breakdown { vectors, weights, count, entropy })
}

/// Bytes of an ideal code for integers with the frequencies of `codes`.
fn order_0_entropy(codes: &[i8]) -> f64 {
    let mut counts = [0usize; 256];
    for q in codes {
        counts[usize::from(q.to_le_bytes()[0])] += 1;
    }
    let n = codes.len() as f64;
    let bits = |c: usize| if c == 0 { 0.0 } else { -(c as f64) * (c as f64 / n).log2() };
    counts.into_iter().map(bits).sum::<f64>() / 8.0
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = f16> + '_ {
    bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b))
}

/// The next `n` items of `width` bytes.
fn take<'a>(rest: &mut &'a [u8], n: usize, width: usize, name: &str) -> Result<&'a [u8]> {
    let taken = n.checked_mul(width).and_then(|bytes| rest.split_at_checked(bytes));
    let (head, tail) =
        taken.with_context(|| format!("{name}: only {} bytes left in the payload", rest.len()))?;
    *rest = tail;
    Ok(head)
}
