//! Weights ↔ few bytes. Pure arithmetic on integers and f32, so that a file decodes to the same weights
//! on every machine.
//!
//! The payload holds the tensors of the graph in node order, weight before bias, without any
//! header: shapes follow from the graph. [`Spec`] says how they are coded. Vectors are biases and
//! batch norms that could not be folded.

mod affine;
mod codebook;
mod integers;
mod plain;
mod quantized;
mod range;
mod uniform;

use anyhow::{Context, Result, ensure};
use graph::{Graph, Op, Role, Weights};
use half::f16;
pub use quantized::{Choice, Choices, Integers, Levels, Part, Quantized, Rows, uniform_choices};
use serde::{Deserialize, Serialize};

/// How the tensors of a payload are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spec {
    /// IEEE half precision; vectors f32.
    Half,
    /// Per output channel a grid `low + scale · q` of so many bits, without entropy coding; vectors f32.
    Affine(u8),
    /// Grids of each tensor's own, entropy-coded: [`Quantized`].
    Grids,
}

/// A tensor of the payload.
struct Slot {
    name: String,
    shape: Vec<usize>,
    role: Role,
    /// The kind of its integers: those of one kind are distributed alike.
    kind: usize,
}

impl Slot {
    fn is_weight(&self) -> bool {
        self.role == Role::Weight
    }

    fn len(&self) -> Result<usize> {
        let n = self.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        n.with_context(|| format!("{}: shape {:?}", self.name, self.shape))
    }

    /// Values per output channel of a weight; all of another tensor's.
    fn columns(&self) -> Result<usize> {
        let n = self.len()?;
        Ok(if self.is_weight() { n / self.shape[0].max(1) } else { n }.max(1))
    }
}

/// The tensors of a graph in the order of the payload.
fn slots(graph: &Graph) -> Vec<Slot> {
    let mut slots = Vec::new();
    for node in graph.nodes() {
        let weight = match node.op.as_conv() {
            Some(_) if matches!(node.op, Op::Linear(_)) => 3,
            Some(conv) if conv.groups > 1 => 0,
            Some(conv) if conv.window.kernel > 1 => 1,
            Some(_) | None => 2, // None: has no weights
        };
        for p in node.parameters() {
            let kind = if p.role == Role::Weight { weight } else { 4 };
            slots.push(Slot { name: p.name, shape: p.shape, role: p.role, kind });
        }
    }
    slots
}

fn check(spec: Spec, weights: &Weights) -> Result<()> {
    if let Spec::Affine(bits) = spec {
        ensure!((2..=8).contains(&bits), "{bits} bits are not supported: choose 2 to 8");
    }
    for (name, array) in weights {
        let finite = array.values.iter().all(|v| v.is_finite());
        ensure!(finite, "{name}: holds values that are not finite; was training stable?");
    }
    Ok(())
}

/// Code `weights` by `spec`, which is not [`Spec::Grids`]: see [`Quantized::encode`] for that.
///
/// # Errors
/// Unsupported bits, missing tensors, values that are not finite or too large.
pub fn encode(graph: &Graph, spec: Spec, weights: &Weights) -> Result<Vec<u8>> {
    check(spec, weights)?;
    graph.check_weights(weights)?;
    ensure!(spec != Spec::Grids, "grids are coded from integers");
    plain::encode(graph, spec, weights)
}

/// The weights in `payload` and, of grids, their integers.
///
/// # Errors
/// A payload of another length than the graph asks for.
pub fn decode(graph: &Graph, spec: Spec, payload: &[u8]) -> Result<(Weights, Quantized)> {
    let (weights, quantized) = match spec {
        Spec::Grids => {
            let (quantized, _) = Quantized::decode(graph, payload)?;
            (quantized.weights()?, quantized)
        }
        _ => {
            check(spec, &Weights::new())?;
            (plain::decode(graph, spec, payload)?, Quantized::default())
        }
    };
    check(spec, &weights)?;
    Ok((weights, quantized))
}

/// Where the bytes of `payload` go, tensor by tensor.
///
/// # Errors
/// As [`decode`].
pub fn parts(graph: &Graph, spec: Spec, payload: &[u8]) -> Result<Vec<Part>> {
    if spec == Spec::Grids {
        return Ok(Quantized::decode(graph, payload)?.1);
    }
    decode(graph, spec, payload)?;
    let part = |slot: Slot| {
        let (count, is_weight) = (slot.len()?, slot.is_weight());
        let (bits, grid, integers) = match spec {
            _ if !is_weight => (32, 0, 4 * count),
            Spec::Affine(bits) => {
                (bits, affine::GRID_BYTES * slot.shape[0], affine::code_bytes(count, bits))
            }
            _ => (16, 0, 2 * count),
        };
        let entropy = integers as f64;
        Ok(Part { name: slot.name, bits, count, grid, integers, entropy, is_weight })
    };
    slots(graph).into_iter().map(part).collect()
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
