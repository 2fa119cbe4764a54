//! The network in candle tensors and the custom operations of `kernels`, with candle's autograd: what
//! the engine is measured against, and what could run on other devices.

use super::{Bounds, LINEAR, bounds};
use crate::array::Array;
use crate::graph::{EPSILON, Graph, Op, Weights, Window};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use kernels::activation::Clamp;
use kernels::conv::{self, Conv, ConvBias};
use kernels::norm::cpu::Affine;
use kernels::norm::{BatchNormAct, Moments};
use kernels::pool::{self, GlobalAvgPool, MaxPool};
use std::collections::BTreeMap;

type Tensors = BTreeMap<String, Tensor>;

fn tensor(array: &Array) -> Result<Tensor> {
    Ok(Tensor::from_vec(array.values.clone(), array.shape.as_slice(), &Device::Cpu)?)
}

/// Logits `[b, classes]` for pictures `x` `[b, size, size, 3]` with stored statistics.
///
/// # Errors
/// Weights that do not fit the graph.
pub fn logits(graph: &Graph, weights: &Weights, x: Vec<f32>, size: usize) -> Result<Vec<f32>> {
    let tensors =
        weights.iter().map(|(n, a)| Ok((n.clone(), tensor(a)?))).collect::<Result<_>>()?;
    let y =
        run(graph, &tensors, pictures(x, size)?, |name, x, b| stored_norm(weights, name, x, b))?;
    Ok(y.flatten_all()?.to_vec1()?)
}

/// One training pass.
pub struct Pass {
    /// `[b, classes]`.
    pub logits: Vec<f32>,
    /// Of every parameter, laid out like it.
    pub gradients: BTreeMap<String, Vec<f32>>,
    /// Of each batch norm, by its node's name.
    pub moments: BTreeMap<String, Moments>,
}

/// Logits with batch statistics, and the gradients of Σ logits · `grad`, `[b, classes]`.
///
/// # Errors
/// Weights that do not fit the graph.
pub fn pass(
    graph: &Graph,
    weights: &Weights,
    x: Vec<f32>,
    size: usize,
    grad: &[f32],
) -> Result<Pass> {
    let vars: BTreeMap<String, Var> = weights
        .iter()
        .map(|(n, a)| Ok((n.clone(), Var::from_tensor(&tensor(a)?)?)))
        .collect::<Result<_>>()?;
    let tensors = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
    let mut moments = BTreeMap::new();
    let y = run(graph, &tensors, pictures(x, size)?, |name, x, (lo, hi)| {
        let get =
            |end: &str| tensors.get(&format!("{name}.{end}")).with_context(|| name.to_owned());
        let op = BatchNormAct::new(EPSILON, lo, hi);
        let y = x.apply_op3(get("weight")?, get("bias")?, op.clone())?;
        moments.insert(name.to_owned(), op.moments().context("no statistics")?);
        Ok(y)
    })?;
    let grad = Tensor::from_slice(grad, y.shape(), &Device::Cpu)?;
    let store = (&y * grad)?.sum_all()?.backward()?;
    let mut gradients = BTreeMap::new();
    for (name, v) in &vars {
        if let Some(g) = store.get(v) {
            gradients.insert(name.clone(), g.flatten_all()?.to_vec1()?);
        }
    }
    Ok(Pass { logits: y.flatten_all()?.to_vec1()?, gradients, moments })
}

fn pictures(x: Vec<f32>, size: usize) -> Result<Tensor> {
    let b = x.len() / (3 * size * size).max(1);
    Ok(Tensor::from_vec(x, (b, size, size, 3), &Device::Cpu)?)
}

/// A batch norm with stored statistics.
fn stored_norm(weights: &Weights, name: &str, x: &Tensor, (lo, hi): Bounds) -> Result<Tensor> {
    let get = |end: &str| {
        let array = weights.get(&format!("{name}.{end}"));
        array.map(|a| a.values.clone()).with_context(|| format!("{name}.{end}"))
    };
    let moments = Moments { mean: get("running_mean")?, variance: get("running_var")?, count: 1 };
    let affine = Affine::new(&get("weight")?, &get("bias")?, &moments, EPSILON);
    let scale = Tensor::new(affine.scale, &Device::Cpu)?;
    let shift = Tensor::new(affine.shift, &Device::Cpu)?;
    let y = x.broadcast_mul(&scale)?.broadcast_add(&shift)?;
    Ok(if (lo, hi) == LINEAR { y } else { y.apply_op1(Clamp { lo, hi })? })
}

fn convolve(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    win: Window,
    groups: usize,
) -> Result<Tensor> {
    let window =
        conv::Window { kernel: win.kernel, stride: win.stride, padding: win.padding, groups };
    Ok(match b {
        Some(b) => x.apply_op3(w, b, ConvBias(window))?,
        None => x.apply_op2(w, Conv(window))?,
    })
}

/// Runs all nodes. `norm(name, x, bounds)` does batch norm followed by a clamp to `bounds`.
fn run(
    graph: &Graph,
    tensors: &Tensors,
    x: Tensor,
    mut norm: impl FnMut(&str, &Tensor, Bounds) -> Result<Tensor>,
) -> Result<Tensor> {
    let readers = graph.readers();
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
    // An activation that alone reads a batch norm is done together with it.
    let mut done = vec![false; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate() {
        if done[i] {
            continue;
        }
        let input = |k: usize| -> Result<&Tensor> {
            let j = node.inputs.get(k).context("missing input")?;
            values[*j].as_ref().context("an input that was freed")
        };
        let get = |end: &str| tensors.get(&format!("{}.{end}", node.name));
        let weight = || get("weight").with_context(|| format!("{}.weight", node.name));
        let value = match node.op {
            Op::Input { .. } => x.clone(),
            Op::Conv { window, groups, .. } => {
                convolve(input(0)?, weight()?, get("bias"), window, groups)?
            }
            Op::Linear { input: n, output, .. } => {
                let w = weight()?.reshape((output, n, 1, 1))?;
                let point = Window { kernel: 1, stride: 1, padding: 0 };
                convolve(input(0)?, &w, get("bias"), point, 1)?
            }
            Op::BatchNorm { .. } => match readers[i][..] {
                [r] if bounds(graph.nodes()[r].op).is_some() => {
                    let b = bounds(graph.nodes()[r].op).unwrap_or(LINEAR);
                    let y = norm(&node.name, input(0)?, b)?;
                    values[r] = Some(y.clone());
                    done[r] = true;
                    y
                }
                _ => norm(&node.name, input(0)?, LINEAR)?,
            },
            Op::Relu | Op::Relu6 => {
                let (lo, hi) = bounds(node.op).unwrap_or(LINEAR);
                input(0)?.apply_op1(Clamp { lo, hi })?
            }
            Op::MaxPool(Window { kernel, stride, padding }) => {
                let window = pool::Window { kernel, stride, padding };
                input(0)?.apply_op1(MaxPool::new(window))?
            }
            Op::GlobalAvgPool => input(0)?.apply_op1(GlobalAvgPool)?,
            Op::Add => (input(0)? + input(1)?)?,
        };
        values[i] = Some(value);
        for j in &node.inputs {
            if readers[*j].iter().all(|r| *r <= i) {
                values[*j] = None;
            }
        }
    }
    let logits = values.pop().flatten().context("an empty network")?;
    let (b, _, _, classes) = logits.dims4()?;
    Ok(logits.reshape((b, classes))?)
}
