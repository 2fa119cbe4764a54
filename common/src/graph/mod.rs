//! A network as data: a list of nodes, each with named weights and the nodes it reads.
//!
//! Counting, pruning, folding, quantizing and running are all functions over this list. It is
//! stored in artifacts as text, one node per `;`:
//!
//! ```text
//! input 3;cnn.0.0:conv 3>16 k3 p1 bias;cnn.0.1:bn 16;relu6;max k2 s2;…;gap;fc.0:linear 256>11 bias
//! ```
//!
//! `name:` is the prefix of the node's weights, equal to the key in the PyTorch state dict of the
//! original. A node reads the one before it unless `@i` or `@i,j` says otherwise (counted from 0).

pub mod channels;
mod fold;
mod text;

use crate::array::Array;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;

/// Weights and buffers by name, in PyTorch's layout.
pub type Weights = BTreeMap<String, Array>;

/// ε of every batch norm: PyTorch's default.
pub const EPSILON: f32 = 1e-5;

/// Largest size of anything in a graph; keeps arithmetic on untrusted graphs from overflowing.
const LIMIT: usize = 1 << 20;
/// Most nodes a graph may have.
const MAX_NODES: usize = 10_000;

/// A square window moved over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side, pixels.
    pub kernel: usize,
    /// Step, pixels.
    pub stride: usize,
    /// Margin on each side, pixels.
    pub padding: usize,
}

/// What a node does. Shapes are per picture: channels, height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The picture, `[channels, h, w]`.
    Input {
        /// 3 for RGB.
        channels: usize,
    },
    /// Convolution; weight `[output, input / groups, k, k]`, bias `[output]`.
    Conv {
        /// Input channels.
        input: usize,
        /// Output channels.
        output: usize,
        /// Kernel, stride, zero padding.
        window: Window,
        /// Channel groups.
        groups: usize,
        /// Whether there is a bias.
        bias: bool,
    },
    /// Batch norm; weight, bias, running_mean, running_var `[channels]`.
    BatchNorm {
        /// Channels.
        channels: usize,
    },
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// Largest value in each window.
    MaxPool(Window),
    /// Mean over the picture: `[c, h, w]` → `[c, 1, 1]`.
    GlobalAvgPool,
    /// `y = W x + b` on `[c, 1, 1]`; weight `[output, input]`, bias `[output]`.
    Linear {
        /// Input channels.
        input: usize,
        /// Output channels.
        output: usize,
        /// Whether there is a bias.
        bias: bool,
    },
    /// Sum of two tensors of the same shape.
    Add,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Prefix of its weights; empty where it has none.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// The nodes it reads, by position.
    pub inputs: Vec<usize>,
}

/// A network: nodes in an order in which they can run; the last one gives the logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
}

/// Channels, height, width.
pub type Shape = [usize; 3];

impl Node {
    /// Names and shapes of its trained tensors.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let name = |end: &str| format!("{}.{end}", self.name);
        let with_bias = |weight: Vec<usize>, output: usize, bias: bool| {
            let mut all = vec![(name("weight"), weight)];
            if bias {
                all.push((name("bias"), vec![output]));
            }
            all
        };
        match self.op {
            Op::Conv { input, output, window, groups, bias } => {
                let weight = vec![output, input / groups, window.kernel, window.kernel];
                with_bias(weight, output, bias)
            }
            Op::Linear { input, output, bias } => with_bias(vec![output, input], output, bias),
            Op::BatchNorm { channels } => {
                vec![(name("weight"), vec![channels]), (name("bias"), vec![channels])]
            }
            _ => Vec::new(),
        }
    }

    /// Names and shapes of the tensors it keeps without training them.
    pub fn buffers(&self) -> Vec<(String, Vec<usize>)> {
        let Op::BatchNorm { channels } = self.op else { return Vec::new() };
        ["running_mean", "running_var"]
            .map(|b| (format!("{}.{b}", self.name), vec![channels]))
            .into()
    }
}

impl Graph {
    /// A graph of the given nodes.
    ///
    /// # Errors
    /// Nodes that read a later one, channel counts that do not meet, names used twice.
    pub fn new(nodes: Vec<Node>) -> Result<Self> {
        let graph = Self { nodes };
        graph.check()?;
        Ok(graph)
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of classes: channels of the last node.
    pub fn classes(&self) -> usize {
        match self.nodes.last().map(|n| n.op) {
            Some(Op::Linear { output, .. } | Op::Conv { output, .. }) => output,
            _ => 0,
        }
    }

    fn check(&self) -> Result<()> {
        ensure!(self.nodes.len() <= MAX_NODES, "more than {MAX_NODES} nodes");
        let first = self.nodes.first().map(|n| n.op);
        ensure!(matches!(first, Some(Op::Input { .. })), "the first node must be the input");
        ensure!(self.classes() > 0, "the last node must be a linear layer or a convolution");
        let mut names = std::collections::BTreeSet::new();
        let mut channels: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let out = check_node(node, i, &channels).with_context(|| format!("node {i}"))?;
            let weighted = !node.parameters().is_empty();
            ensure!(
                weighted != node.name.is_empty() && (!weighted || names.insert(&node.name)),
                "node {i}: weights need a name of their own, {:?} is not",
                node.name
            );
            channels.push(out);
        }
        Ok(())
    }

    /// Shape of every node's output for a picture of `size × size`.
    ///
    /// # Errors
    /// A picture too small for a window, or sums of different shapes.
    pub fn shapes(&self, size: usize) -> Result<Vec<Shape>> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            let x = node.inputs.first().map_or([0, size, size], |j| shapes[*j]);
            let shape = node_shape(node, x, &shapes);
            shapes.push(shape.with_context(|| {
                format!("node {i} ({}) for pictures of {size} px", text::describe(node))
            })?);
        }
        Ok(shapes)
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let sizes = self.nodes.iter().flat_map(Node::parameters);
        sizes.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Multiplications per picture of `size × size`, convolutions and linear layers.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn multiplications(&self, size: usize) -> Result<u64> {
        let shapes = self.shapes(size)?;
        let count = |node: &Node, [_, h, w]: Shape| match node.op {
            Op::Conv { input, output, window, groups, .. } => {
                let taps = window.kernel * window.kernel;
                (h * w * output) as u64 * (input / groups * taps) as u64
            }
            Op::Linear { input, output, .. } => (input * output) as u64,
            _ => 0,
        };
        Ok(self.nodes.iter().zip(shapes).map(|(n, s)| count(n, s)).sum())
    }

    /// For each node, the nodes that read it.
    pub fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for j in &node.inputs {
                readers[*j].push(i);
            }
        }
        readers
    }

    /// Checks that `weights` holds exactly what the graph needs, in the right shapes.
    ///
    /// # Errors
    /// The first tensor that is missing, superfluous or of another shape.
    pub fn check_weights(&self, weights: &Weights) -> Result<()> {
        let mut expected = BTreeMap::new();
        for node in &self.nodes {
            expected.extend(node.parameters());
            expected.extend(node.buffers());
        }
        for (name, shape) in &expected {
            match weights.get(name) {
                None => bail!("tensor {name} {shape:?} is missing"),
                Some(a) => ensure!(
                    a.shape == *shape,
                    "tensor {name} has shape {:?}, the network needs {shape:?}",
                    a.shape
                ),
            }
        }
        // PyTorch's count of batches is kept where it came along; nothing needs it.
        let counts = |k: &str| {
            let norm = k.strip_suffix(".num_batches_tracked");
            norm.is_some_and(|n| expected.contains_key(&format!("{n}.running_var")))
        };
        match weights.keys().find(|k| !expected.contains_key(*k) && !counts(k)) {
            Some(extra) => bail!("tensor {extra} belongs to no node of the network"),
            None => Ok(()),
        }
    }
}

/// Output channels of a node whose inputs have the given channels.
fn check_node(node: &Node, i: usize, channels: &[usize]) -> Result<usize> {
    ensure!(node.inputs.iter().all(|j| *j < i), "reads a node that comes later");
    let wanted = match node.op {
        Op::Input { .. } => 0,
        Op::Add => 2,
        _ => 1,
    };
    ensure!(node.inputs.len() == wanted, "needs {wanted} inputs, has {}", node.inputs.len());
    ensure!(matches!(node.op, Op::Input { .. }) == (i == 0), "an input must come first");
    let x = node.inputs.first().map_or(0, |j| channels[*j]);
    let meets = |n: usize| -> Result<()> {
        ensure!(n == x, "expects {n} channels, its input has {x}");
        Ok(())
    };
    let small = |n: usize| -> Result<()> {
        ensure!((1..=LIMIT).contains(&n), "{n} is not in 1..={LIMIT}");
        Ok(())
    };
    let window = |w: Window| -> Result<()> {
        small(w.kernel)?;
        small(w.stride)?;
        ensure!(w.kernel <= 15 && w.padding < w.kernel.max(2), "unsupported window {w:?}");
        Ok(())
    };
    match node.op {
        Op::Input { channels } => {
            ensure!(channels == 3, "pictures have 3 channels, not {channels}");
            Ok(channels)
        }
        Op::Conv { input, output, window: w, groups, .. } => {
            meets(input)?;
            small(output)?;
            small(groups)?;
            window(w)?;
            let divides = input.is_multiple_of(groups) && output.is_multiple_of(groups);
            ensure!(divides, "{groups} groups do not divide {input} and {output} channels");
            Ok(output)
        }
        Op::Linear { input, output, .. } => {
            meets(input)?;
            small(output)?;
            Ok(output)
        }
        Op::BatchNorm { channels } => {
            meets(channels)?;
            Ok(channels)
        }
        Op::MaxPool(w) => {
            window(w)?;
            ensure!(w.padding < w.kernel, "padding {} of a {} window", w.padding, w.kernel);
            Ok(x)
        }
        Op::Relu | Op::Relu6 | Op::GlobalAvgPool => Ok(x),
        Op::Add => {
            meets(channels[node.inputs[1]])?;
            Ok(x)
        }
    }
}

fn node_shape(node: &Node, x: Shape, shapes: &[Shape]) -> Result<Shape> {
    let slide = |w: Window, n: usize| -> Result<usize> {
        let padded = n + 2 * w.padding;
        ensure!(padded >= w.kernel, "{n} pixels are fewer than the window of {}", w.kernel);
        Ok((padded - w.kernel) / w.stride + 1)
    };
    let [c, h, w] = x;
    Ok(match node.op {
        Op::Input { channels } => [channels, h, w],
        Op::Conv { output, window, .. } => [output, slide(window, h)?, slide(window, w)?],
        Op::MaxPool(window) => [c, slide(window, h)?, slide(window, w)?],
        Op::GlobalAvgPool => [c, 1, 1],
        Op::Linear { output, .. } => {
            ensure!([h, w] == [1, 1], "a linear layer reads 1 × 1 pictures, not {h} × {w}");
            [output, 1, 1]
        }
        Op::Add => {
            let y = shapes[node.inputs[1]];
            ensure!(x == y, "sum of {x:?} and {y:?}");
            x
        }
        Op::BatchNorm { .. } | Op::Relu | Op::Relu6 => x,
    })
}

/// Puts a graph together node by node.
#[derive(Default)]
pub struct Builder {
    nodes: Vec<Node>,
}

impl Builder {
    /// Starts with an RGB picture.
    pub fn new() -> Self {
        let mut builder = Self::default();
        builder.nodes.push(Node {
            name: String::new(),
            op: Op::Input { channels: 3 },
            inputs: Vec::new(),
        });
        builder
    }

    /// Position of the latest node.
    pub fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Append a node that reads the latest one.
    pub fn then(&mut self, name: &str, op: Op) -> usize {
        self.push(name, op, vec![self.last()])
    }

    /// Append a node that reads `inputs`.
    pub fn push(&mut self, name: &str, op: Op, inputs: Vec<usize>) -> usize {
        self.nodes.push(Node { name: name.to_owned(), op, inputs });
        self.last()
    }

    /// The graph.
    ///
    /// # Errors
    /// As [`Graph::new`].
    pub fn finish(self) -> Result<Graph> {
        Graph::new(self.nodes)
    }
}
