//! Payloads without entropy coding: half precision, and [`affine`] grids as in the course tutorial.
//! Tensor after tensor in the order of the graph; vectors are f32.

use super::{Spec, affine, halves, slots, take};
use anyhow::{Context, Result, ensure};
use graph::Array;
use graph::{Graph, Weights};
use half::f16;

pub(crate) fn encode(graph: &Graph, spec: Spec, weights: &Weights) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for slot in slots(graph) {
        let name = &slot.name;
        let array = weights.get(name).with_context(|| format!("tensor {name} is missing"))?;
        match spec {
            _ if !slot.is_weight() => {
                out.extend(array.values.iter().flat_map(|v| v.to_le_bytes()));
            }
            Spec::Affine(bits) => {
                affine::encode(array, bits, &mut out).with_context(|| format!("tensor {name}"))?;
            }
            _ => {
                for v in &array.values {
                    let h = f16::from_f32(*v);
                    ensure!(h.is_finite(), "{name}: {v} is too large for half precision");
                    out.extend(h.to_le_bytes());
                }
            }
        }
    }
    Ok(out)
}

pub(crate) fn decode(graph: &Graph, spec: Spec, payload: &[u8]) -> Result<Weights> {
    let mut rest = payload;
    let mut weights = Weights::new();
    for slot in slots(graph) {
        let (n, is_weight, name) = (slot.len()?, slot.is_weight(), slot.name);
        let array = match spec {
            _ if !is_weight => {
                let bytes = take(&mut rest, n, 4, &name)?;
                let values = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Array::new(slot.shape, values)?
            }
            Spec::Affine(bits) => {
                let grids = take(&mut rest, slot.shape[0], affine::GRID_BYTES, &name)?;
                let codes = take(&mut rest, affine::code_bytes(n, bits), 1, &name)?;
                affine::decode(slot.shape, bits, grids, codes)?
            }
            _ => {
                let values = halves(take(&mut rest, n, 2, &name)?).map(f16::to_f32).collect();
                Array::new(slot.shape, values)?
            }
        };
        weights.insert(name, array);
    }
    ensure!(rest.is_empty(), "{} bytes after the last tensor", rest.len());
    Ok(weights)
}
