//! A model that runs, in candle tensors and the custom operations of `kernels`.
//!
//! [`Inference`] runs a folded model; [`Training`] has variables, batch statistics and gradients.
//! Activations are NHWC inside; a picture enters as `[b, size, size, 3]`, logits leave as `[b, classes]`.

mod quantized;

use crate::array::Array;
use crate::codec::Grids;
use crate::graph::{EPSILON, Graph, Op, Weights, Window};
use crate::model::Model;
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use kernels::activation::Clamp;
use kernels::conv::{self, Conv, ConvBias};
use kernels::norm::{BatchNormAct, Moments};
use kernels::pool::{self, GlobalAvgPool, MaxPool};
use std::collections::BTreeMap;

type Tensors = BTreeMap<String, Tensor>;
/// Lower and upper bound of an activation.
type Bounds = (f32, f32);

const LINEAR: Bounds = (f32::NEG_INFINITY, f32::INFINITY);

fn bounds(op: Op) -> Option<Bounds> {
    match op {
        Op::Relu => Some((0.0, f32::INFINITY)),
        Op::Relu6 => Some((0.0, 6.0)),
        _ => None,
    }
}

fn tensor(array: &Array) -> Result<Tensor> {
    Ok(Tensor::from_vec(array.values.clone(), array.shape.as_slice(), &Device::Cpu)?)
}

fn pictures(x: Vec<f32>, size: usize) -> Result<Tensor> {
    let b = x.len() / (3 * size * size).max(1);
    ensure!(b * 3 * size * size == x.len() && b > 0, "a batch of {} values", x.len());
    Ok(Tensor::from_vec(x, (b, size, size, 3), &Device::Cpu)?)
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

/// A model ready to answer.
pub struct Inference {
    graph: Graph,
    tensors: Tensors,
    weights: Weights,
    size: usize,
}

impl Inference {
    /// Fold `model` and load its weights.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn new(model: &Model) -> Result<Self> {
        let (graph, weights) = model.graph.fold(&model.weights)?;
        let tensors =
            weights.iter().map(|(n, a)| Ok((n.clone(), tensor(a)?))).collect::<Result<_>>()?;
        Ok(Self { graph, tensors, weights, size: model.input.preparation.size })
    }

    /// Logits `[b, classes]` (row-major) for pictures `x` `[b, size, size, 3]`.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn logits(&self, x: Vec<f32>) -> Result<Vec<f32>> {
        let x = pictures(x, self.size)?;
        let y = run(&self.graph, &self.tensors, x, |name, x, b| self.norm(name, x, b))?;
        Ok(y.flatten_all()?.to_vec1()?)
    }

    /// Number of logits per picture.
    pub fn classes(&self) -> usize {
        self.graph.classes()
    }

    /// A batch norm that could not be folded.
    fn norm(&self, name: &str, x: &Tensor, (lo, hi): Bounds) -> Result<Tensor> {
        let get = |end: &str| {
            let array = self.weights.get(&format!("{name}.{end}"));
            array.map(|a| a.values.clone()).with_context(|| format!("{name}.{end}"))
        };
        let moments =
            Moments { mean: get("running_mean")?, variance: get("running_var")?, count: 1 };
        let affine =
            kernels::norm::cpu::Affine::new(&get("weight")?, &get("bias")?, &moments, EPSILON);
        let scale = Tensor::new(affine.scale, &Device::Cpu)?;
        let shift = Tensor::new(affine.shift, &Device::Cpu)?;
        let y = x.broadcast_mul(&scale)?.broadcast_add(&shift)?;
        Ok(if (lo, hi) == LINEAR { y } else { y.apply_op1(Clamp { lo, hi })? })
    }
}

/// A model being trained.
pub struct Training {
    graph: Graph,
    size: usize,
    /// Trained values, by name: of a tensor without a grid its parameters.
    pub variables: BTreeMap<String, Var>,
    /// Running means and variances, by name.
    buffers: Weights,
    grids: Grids,
    settled: bool,
}

/// Weight of a batch in the running statistics, PyTorch's default.
const MOMENTUM: f32 = 0.1;

impl Training {
    /// Variables that start at the weights of `model`.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn new(model: &Model) -> Result<Self> {
        model.graph.check_weights(&model.weights)?;
        let mut variables = BTreeMap::new();
        let mut buffers = Weights::new();
        let graph = model.graph.clone();
        let names = graph.nodes().iter().flat_map(|n| n.buffers()).map(|(name, _)| name);
        let buffer_names: std::collections::BTreeSet<String> = names.collect();
        for (name, array) in quantized::latents(&model.weights, &model.grids) {
            if buffer_names.contains(&name) || array.shape.is_empty() {
                buffers.insert(name, array);
            } else {
                variables.insert(name, quantized::variable(&array)?);
            }
        }
        let (size, grids) = (model.input.preparation.size, model.grids.clone());
        Ok(Self { graph, size, variables, buffers, grids, settled: false })
    }

    /// Logits `[b, classes]` for pictures `x` `[b, size, size, 3]`, with batch statistics; updates
    /// the running ones. `rate` is a loss per bit of a weight that has a grid, added to the gradients
    /// only.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn forward(&mut self, x: Vec<f32>, rate: f32) -> Result<Tensor> {
        let x = pictures(x, self.size)?;
        let tensors = quantized::tensors(self, rate)?;
        let mut moments = Vec::new();
        let logits = run(&self.graph, &tensors, x, |name, x, (lo, hi)| {
            let get =
                |end: &str| tensors.get(&format!("{name}.{end}")).with_context(|| name.to_owned());
            let op = BatchNormAct::new(EPSILON, lo, hi);
            let y = x.apply_op3(get("weight")?, get("bias")?, op.clone())?;
            moments.push((name.to_owned(), op.moments().context("no statistics")?));
            Ok(y)
        })?;
        for (name, m) in moments {
            // PyTorch keeps the unbiased variance.
            let unbias = m.count as f32 / (m.count.max(2) - 1) as f32;
            self.track(&format!("{name}.running_mean"), &m.mean, 1.0)?;
            self.track(&format!("{name}.running_var"), &m.variance, unbias)?;
        }
        Ok(logits)
    }

    fn track(&mut self, name: &str, batch: &[f32], factor: f32) -> Result<()> {
        let buffer = self.buffers.get_mut(name).with_context(|| name.to_owned())?;
        for (b, v) in buffer.values.iter_mut().zip(batch) {
            *b += MOMENTUM * (v * factor - *b);
        }
        Ok(())
    }

    /// Variables and buffers as they are now; see [`Training::stored`] for what they stand for.
    ///
    /// # Errors
    /// Only what candle reports when it copies.
    pub fn weights(&self) -> Result<Weights> {
        let mut weights = self.buffers.clone();
        for (name, v) in &self.variables {
            let values = v.flatten_all()?.to_vec1()?;
            weights.insert(name.clone(), Array::new(v.dims().to_vec(), values)?);
        }
        Ok(weights)
    }
}
