//! Weights ↔ few bytes. Pure arithmetic on integers and f32 without candle, so that a file decodes
//! to the same weights on every machine.
//!
//! The payload holds the tensors of the graph in node order, weight before bias, each without any
//! header: shapes follow from the graph. [`Spec::bits`] says how weights are coded:
//!
//! * 16: IEEE half precision.
//! * 8: per output channel a grid `low + step · q`, `q` in 0..=255 ([`grid`]).
//!
//! Vectors (biases, batch norms that could not be folded) stay f32.

mod grid;

use crate::array::Array;
use crate::graph::{Graph, Weights};
use anyhow::{Context, Result, ensure};
use half::f16;
use serde::{Deserialize, Serialize};

/// How weights are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Bits per weight: 16 or 8.
    pub bits: u8,
}

/// Names and shapes of the tensors of a graph in the order of the payload.
fn tensors(graph: &Graph) -> impl Iterator<Item = (String, Vec<usize>)> {
    graph.nodes().iter().flat_map(|n| n.parameters().into_iter().chain(n.buffers()))
}

/// Code `weights`.
///
/// # Errors
/// Unsupported bits, missing tensors, values that are not finite or too large for half precision.
pub fn encode(graph: &Graph, spec: &Spec, weights: &Weights) -> Result<Vec<u8>> {
    graph.check_weights(weights)?;
    let mut out = Vec::new();
    for (name, shape) in tensors(graph) {
        let array = weights.get(&name).with_context(|| name.clone())?;
        let finite = array.values.iter().all(|v| v.is_finite());
        ensure!(finite, "{name}: holds values that are not finite; was training stable?");
        if shape.len() == 1 {
            out.extend(array.values.iter().flat_map(|v| v.to_le_bytes()));
            continue;
        }
        match spec.bits {
            16 => {
                for v in &array.values {
                    let h = f16::from_f32(*v);
                    ensure!(h.is_finite(), "{name}: {v} is too large for half precision");
                    out.extend(h.to_le_bytes());
                }
            }
            8 => grid::encode(array, &mut out).with_context(|| name.clone())?,
            bits => anyhow::bail!("{bits} bits are not supported; choose 8 or 16"),
        }
    }
    Ok(out)
}

/// The weights in `payload`.
///
/// # Errors
/// A payload of another length than the graph asks for.
pub fn decode(graph: &Graph, spec: &Spec, payload: &[u8]) -> Result<Weights> {
    let mut rest = payload;
    let mut weights = Weights::new();
    for (name, shape) in tensors(graph) {
        let n = shape
            .iter()
            .try_fold(1usize, |n, d| n.checked_mul(*d))
            .with_context(|| format!("{name}: shape {shape:?}"))?;
        let array = if shape.len() == 1 {
            let bytes = take(&mut rest, n, 4, &name)?;
            let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Array::new(shape, values)?
        } else {
            match spec.bits {
                16 => {
                    let bytes = take(&mut rest, n, 2, &name)?.as_chunks().0;
                    let values = bytes.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect();
                    Array::new(shape, values)?
                }
                8 => {
                    let grids = take(&mut rest, shape[0], grid::BYTES, &name)?;
                    let codes = take(&mut rest, n, 1, &name)?;
                    grid::decode(shape, grids, codes)?
                }
                bits => anyhow::bail!("{bits} bits are not supported by this program"),
            }
        };
        let finite = array.values.iter().all(|v| v.is_finite());
        ensure!(finite, "{name}: holds values that are not finite");
        weights.insert(name, array);
    }
    ensure!(rest.is_empty(), "{} bytes after the last tensor", rest.len());
    Ok(weights)
}

/// The next `n` items of `width` bytes.
fn take<'a>(rest: &mut &'a [u8], n: usize, width: usize, name: &str) -> Result<&'a [u8]> {
    let taken = n.checked_mul(width).and_then(|bytes| rest.split_at_checked(bytes));
    let (head, tail) =
        taken.with_context(|| format!("{name}: only {} bytes left in the payload", rest.len()))?;
    *rest = tail;
    Ok(head)
}
