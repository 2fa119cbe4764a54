//! A model that runs, on the CPU engine of `kernels`.
//!
//! [`Inference`] runs a folded model; [`Training`] has variables, batch statistics and gradients.
//! Activations are NHWC inside; a picture enters as `[b, size, size, 3]`, logits leave as
//! `[b, classes]`. [`reference`] does the same in candle.

mod quantized;
pub mod reference;

use crate::array::Array;
use crate::codec::Grids;
use crate::graph::{EPSILON, Graph, Op, Weights};
use crate::model::Model;
use anyhow::{Context, Result};
use candle_core::{Device, Var};
use kernels::conv;
use kernels::engine::{self, Engine, Mode};
use kernels::pool;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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

/// The engine of a graph, and the names of its parameters in the engine's order.
fn compile(graph: &Graph, size: usize) -> Result<(Engine, Vec<String>)> {
    let (mut names, mut lengths, mut nodes) = (Vec::new(), Vec::new(), Vec::new());
    for node in graph.nodes() {
        let mut parameters = Vec::new();
        for (name, shape) in [node.parameters(), node.buffers()].concat() {
            parameters.push(names.len());
            names.push(name);
            lengths.push(shape.iter().product());
        }
        let (lo, hi) = bounds(node.op).unwrap_or(LINEAR);
        let op = match node.op {
            Op::Input { .. } => engine::Op::Input,
            Op::Conv { window, groups, output, .. } => {
                let (kernel, stride, padding) = (window.kernel, window.stride, window.padding);
                engine::Op::Conv(conv::Window { kernel, stride, padding, groups }, output)
            }
            Op::Linear { output, .. } => {
                let point = conv::Window { kernel: 1, stride: 1, padding: 0, groups: 1 };
                engine::Op::Conv(point, output)
            }
            Op::BatchNorm { .. } => engine::Op::Norm,
            Op::Relu | Op::Relu6 => engine::Op::Clamp(lo, hi),
            Op::MaxPool(w) => engine::Op::MaxPool(pool::Window {
                kernel: w.kernel,
                stride: w.stride,
                padding: w.padding,
            }),
            Op::GlobalAvgPool => engine::Op::GlobalAvgPool,
            Op::Add => engine::Op::Add,
        };
        nodes.push(engine::Node { op, inputs: node.inputs.clone(), parameters });
    }
    let engine = Engine::new(&nodes, &lengths, [size, size, 3], EPSILON)?;
    Ok((engine, names))
}

/// The values of the parameters with these names.
fn slices<'a>(names: &[String], weights: &'a Weights) -> Result<Vec<&'a [f32]>> {
    let get = |n: &String| weights.get(n).map(|a| &a.values[..]).with_context(|| n.clone());
    names.iter().map(get).collect()
}

/// A model ready to answer.
pub struct Inference {
    engine: Mutex<Engine>,
    names: Vec<String>,
    weights: Weights,
    classes: usize,
    /// Pictures run together.
    batch: usize,
    /// Floats of a picture.
    floats: usize,
}

/// Floats of the largest activations of the pictures run together, 16 MiB: enough rows for the deep
/// layers' sums, little enough that what one layer writes is near when the next reads it.
const TOGETHER: usize = 4 * 1024 * 1024;

impl Inference {
    /// Fold `model` and load its weights.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn new(model: &Model) -> Result<Self> {
        let (graph, weights) = model.graph.fold(&model.weights)?;
        let size = model.input.preparation.size;
        let (engine, names) = compile(&graph, size)?;
        let largest = graph.shapes(size)?.iter().map(|s| s.iter().product()).max().unwrap_or(1);
        Ok(Self {
            engine: Mutex::new(engine),
            names,
            weights,
            classes: graph.classes(),
            batch: (TOGETHER / largest.max(1)).max(1),
            floats: 3 * size * size,
        })
    }

    /// Logits `[b, classes]` (row-major) for pictures `x` `[b, size, size, 3]`.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn logits(&self, x: &[f32]) -> Result<Vec<f32>> {
        let parameters = slices(&self.names, &self.weights)?;
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let mut logits = Vec::with_capacity(x.len() / self.floats * self.classes);
        for x in x.chunks(self.batch * self.floats) {
            logits.extend(engine.forward(&parameters, x.to_vec(), Mode::Inference)?);
        }
        Ok(logits)
    }

    /// Number of logits per picture.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

/// A model being trained.
pub struct Training {
    engine: Engine,
    /// The engine's parameters.
    names: Vec<String>,
    /// Gradients of the engine's parameters.
    gradients: Vec<Vec<f32>>,
    /// Number of logits per picture.
    classes: usize,
    /// Trained values, by name: of a tensor without a grid its parameters.
    pub variables: Weights,
    /// Running means and variances, by name.
    buffers: Weights,
    /// What is stored of variables with grids, as of the last forward pass.
    rounded: Weights,
    /// Gradients of the logarithms of steps, by name.
    step_gradients: BTreeMap<String, Vec<f32>>,
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
        let (engine, names) = compile(&model.graph, model.input.preparation.size)?;
        let buffer_names = model.graph.nodes().iter().flat_map(|n| n.buffers());
        let buffer_names: std::collections::BTreeSet<String> =
            buffer_names.map(|(name, _)| name).collect();
        let latents = Self::latents(&model.weights, &model.grids);
        let (buffers, variables) = latents
            .into_iter()
            .partition(|(name, array)| buffer_names.contains(name) || array.shape.is_empty());
        let gradients =
            slices(&names, &model.weights)?.iter().map(|v| vec![0.0; v.len()]).collect();
        Ok(Self {
            engine,
            names,
            gradients,
            classes: model.graph.classes(),
            variables,
            buffers,
            rounded: Weights::new(),
            step_gradients: BTreeMap::new(),
            grids: model.grids.clone(),
            settled: false,
        })
    }

    /// Logits `[b, classes]` for pictures `x` `[b, size, size, 3]`, with batch statistics; updates
    /// the running ones. The logits are a leaf: a loss is written in candle on them, and its gradient
    /// goes to [`Training::backward`].
    ///
    /// # Errors
    /// A batch of another size.
    pub fn forward(&mut self, x: Vec<f32>) -> Result<Var> {
        self.round();
        let sources = [&self.rounded, &self.variables, &self.buffers];
        let parameters = Self::parameters(&self.names, sources)?;
        let logits = self.engine.forward(&parameters, x, Mode::Training)?;
        let b = logits.len() / self.classes;
        let leaf = Var::from_slice(logits, (b, self.classes), &Device::Cpu)?;
        for (gamma, m) in self.engine.moments() {
            let node = self.names[gamma].trim_end_matches(".weight");
            // PyTorch keeps the unbiased variance.
            let unbias = m.count as f32 / (m.count.max(2) - 1) as f32;
            for (end, batch, factor) in
                [("running_mean", &m.mean, 1.0), ("running_var", &m.variance, unbias)]
            {
                let name = format!("{node}.{end}");
                let buffer = self.buffers.get_mut(&name).with_context(|| name.clone())?;
                for (b, v) in buffer.values.iter_mut().zip(batch) {
                    *b += MOMENTUM * (v * factor - *b);
                }
            }
        }
        Ok(leaf)
    }

    /// What the engine computes with: the first of `sources` that has a name.
    fn parameters<'a>(names: &[String], sources: [&'a Weights; 3]) -> Result<Vec<&'a [f32]>> {
        let get = |n: &String| {
            let array = sources.iter().find_map(|s| s.get(n));
            array.map(|a| &a.values[..]).with_context(|| n.clone())
        };
        names.iter().map(get).collect()
    }

    /// Gradients of the variables for the gradient `grad` `[b, classes]` of the logits of the last
    /// forward pass; [`Training::update`] hands them out. `rate` is a loss per bit of a weight that has
    /// a grid.
    ///
    /// # Errors
    /// A gradient of another size.
    pub fn backward(&mut self, grad: &[f32], rate: f32) -> Result<()> {
        let sources = [&self.rounded, &self.variables, &self.buffers];
        let parameters = Self::parameters(&self.names, sources)?;
        self.engine.backward(&parameters, grad, &mut self.gradients)?;
        self.gradients_of_latents(rate);
        Ok(())
    }

    /// Calls `f(name, variable, gradient)` for every variable that still moves.
    pub fn update(&mut self, mut f: impl FnMut(&str, &mut Array, &[f32])) {
        for (name, gradient) in self.names.iter().zip(&self.gradients) {
            if let Some(variable) = self.variables.get_mut(name) {
                // Settled integers stay, vectors go on.
                let stays = self.settled && variable.shape.len() > 1;
                if !(stays && self.grids.contains_key(name)) {
                    f(name, variable, gradient);
                }
            }
        }
        for (name, gradient) in &self.step_gradients {
            if let Some(variable) = self.variables.get_mut(name) {
                f(name, variable, gradient);
            }
        }
    }

    /// Variables and buffers as they are now; see [`Training::stored`] for what they stand for.
    pub fn weights(&self) -> Weights {
        self.arrays().map(|(n, a)| (n.clone(), a.clone())).collect()
    }

    /// Variables and buffers, by name.
    pub fn arrays(&self) -> impl Iterator<Item = (&String, &Array)> {
        self.variables.iter().chain(&self.buffers)
    }

    /// Bytes of the engine's buffers.
    pub fn bytes(&self) -> usize {
        self.engine.bytes()
    }
}
