//! A network as data: a list of nodes, each with named parameters and the nodes it reads.
//!
//! Counting, pruning, folding, quantizing, exporting and running are all functions over this list.

use crate::array::Array;
use crate::error::{Error, Result, bail, ensure};
use crate::limits::{self, MAX_FLOATS, MAX_MULTIPLICATIONS};
use crate::op::{Change, Input, LIMIT, Op, Parameter, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Parameters by name, in PyTorch's layout.
pub type Weights = BTreeMap<String, Array>;

/// Most nodes a graph may have.
pub(crate) const MAX_NODES: usize = 10_000;

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Prefix of its parameters; empty where it has none.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// The nodes it reads, by position.
    pub inputs: Vec<usize>,
}

/// A network: nodes in an order in which they can run; the last one gives the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    /// Output channels of each node.
    channels: Vec<usize>,
}

/// Height, width, channels: of a map as executors store it.
pub type Shape = [usize; 3];

impl Node {
    /// Its parameters, trained ones and statistics, under their full names.
    pub fn parameters(&self) -> Vec<Parameter> {
        let own = self.op.about().parameters().into_iter();
        own.map(|p| Parameter { name: format!("{}.{}", self.name, p.name), ..p }).collect()
    }
}

impl Graph {
    /// A graph of the given nodes.
    ///
    /// # Errors
    /// Nodes that read a later one, channel counts that do not meet, names used twice, more parameters than
    /// [`limits`] allows.
    pub fn new(nodes: Vec<Node>) -> Result<Self> {
        Self::placed(nodes, &|i| format!("node {i}"))
    }

    /// [`Graph::new`], with `place` for what errors call a node.
    pub(crate) fn placed(nodes: Vec<Node>, place: &dyn Fn(usize) -> String) -> Result<Self> {
        ensure!(nodes.len() <= MAX_NODES, "more than {MAX_NODES} nodes");
        let first = nodes.first().map(|n| n.op);
        ensure!(matches!(first, Some(Op::Input(_))), "the first node must be the input");
        let mut names = BTreeSet::new();
        let mut channels: Vec<usize> = Vec::with_capacity(nodes.len());
        let mut floats = 0;
        for (i, node) in nodes.iter().enumerate() {
            let out = check_node(node, i, &channels).map_err(|e| e.at(place(i)))?;
            let has_parameters = !node.op.about().parameters().is_empty();
            ensure!(
                has_parameters != node.name.is_empty()
                    && (!has_parameters || names.insert(&node.name)),
                "{}: parameters need a name of their own, {:?} is not",
                place(i),
                node.name
            );
            floats += check_parameters(node).map_err(|e| e.at(place(i)))?;
            ensure!(
                floats <= MAX_FLOATS,
                "{}: more than {MAX_FLOATS} parameters up to here",
                place(i)
            );
            channels.push(out);
        }
        ensure!(!names.is_empty(), "a network without parameters");
        Ok(Self { nodes, channels })
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of classes: channels of the last node.
    pub fn classes(&self) -> usize {
        self.channels.last().copied().unwrap_or(0)
    }

    /// The layer that makes the logits: the last node with parameters, if nothing behind it has any and each node there
    /// reads the one before alone. Where it has weights, [`Layout::head`](crate::Layout::head) and
    /// [`Schedule::head`](crate::schedule::Schedule::head) are it, too.
    pub fn head(&self) -> Option<usize> {
        let mut at = self.nodes.len() - 1;
        while self.nodes[at].name.is_empty() {
            let [input] = self.nodes[at].inputs[..] else { return None };
            at = input;
        }
        Some(at)
    }

    /// All parameters in node order, trained ones and statistics.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.nodes.iter().flat_map(Node::parameters)
    }

    /// Shape of every node's output for a picture of `size × size`.
    ///
    /// # Errors
    /// A picture of nothing or too small for a window, sums of different shapes, results or work beyond
    /// [`limits`], logits that are not 1 × 1 or only one.
    pub fn shapes(&self, size: usize) -> Result<Vec<Shape>> {
        // A wide margin would make something of nothing.
        ensure!(size > 0, "pictures of 0 px");
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        let mut work = 0;
        for (i, node) in self.nodes.iter().enumerate() {
            let sizes: Vec<[usize; 2]> = match node.inputs[..] {
                [] => vec![[size, size]],
                _ => node.inputs.iter().map(|j| [shapes[*j][0], shapes[*j][1]]).collect(),
            };
            let op = node.op.about();
            let at = || format!("node {i} ({}) for pictures of {size} px", op.text());
            let [h, w] = op.size(&sizes).map_err(|e| e.at(at()))?;
            let shape = [h, w, self.channels[i]];
            limits::floats(&shape, "a result").map_err(|e| e.at(at()))?;
            // No sum overflows: each result has at most 2²⁸ numbers, each of a sum of at most 2²⁰ products.
            work += op.multiplications([h, w]);
            ensure!(
                work <= MAX_MULTIPLICATIONS,
                "{}: {work} multiplications up to here, at most {MAX_MULTIPLICATIONS} are done",
                at()
            );
            shapes.push(shape);
        }
        if let Some([h, w, _]) = shapes.last() {
            let end = "the network must end in one pixel: in a linear layer or a global mean";
            ensure!((*h, *w) == (1, 1), "{end}, not in {h} × {w}");
        }
        self.check_classes()?;
        Ok(shapes)
    }

    /// Checks that the largest logit says something.
    ///
    /// # Errors
    /// A single logit: the largest is always the first.
    pub fn check_classes(&self) -> Result<()> {
        let n = self.classes();
        ensure!(
            n >= 2,
            "the network gives {n} logit, whose class is always the first: two are needed. What was \
             trained with a sigmoid of one output x gives the same answers by the logits 0 and x: put a \
             row of zeros before that of its last weight, and a zero before its bias"
        );
        Ok(())
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let trained = self.parameters().filter(|p| p.role.is_trained());
        trained.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Multiplications per picture of `size × size`, convolutions and linear layers.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn multiplications(&self, size: usize) -> Result<u64> {
        let shapes = self.shapes(size)?;
        let count = |(n, [h, w, _]): (&Node, Shape)| n.op.about().multiplications([h, w]);
        Ok(self.nodes.iter().zip(shapes).map(count).sum())
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
        let expected: BTreeMap<String, Vec<usize>> =
            self.parameters().map(|p| (p.name, p.shape)).collect();
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

    /// Checks that `weights` can be computed with: nothing infinite, no number that is none, no negative
    /// variance.
    ///
    /// # Errors
    /// The first tensor that holds one.
    pub fn check_values(&self, weights: &Weights) -> Result<()> {
        for (name, array) in weights {
            let bad = array.values.iter().position(|v| !v.is_finite());
            if let Some(i) = bad {
                bail!("tensor {name} holds {} at {i}: training has diverged?", array.values[i]);
            }
        }
        for p in self.parameters().filter(|p| p.role == Role::Variance) {
            let values = weights.get(&p.name).map_or(&[][..], |a| &a.values);
            ensure!(values.iter().all(|v| *v >= 0.0), "tensor {} holds a variance below 0", p.name);
        }
        Ok(())
    }

    /// The same network with ε = `epsilon` in every batch norm; one without batch norms as it is.
    ///
    /// # Errors
    /// An ε that is not from 10⁻¹² to 1.
    pub fn with_epsilon(&self, epsilon: f32) -> Result<Self> {
        let mut nodes = self.nodes.clone();
        for node in &mut nodes {
            if let Op::BatchNorm(norm) = &mut node.op {
                norm.epsilon = epsilon;
            }
        }
        Self::new(nodes)
    }

    /// The same nodes with the channel counts that `weights` have.
    ///
    /// # Errors
    /// Weights that are not of these nodes, or whose shapes do not meet.
    pub fn with_widths_of(&self, weights: &Weights) -> Result<Self> {
        let mut nodes = self.nodes.clone();
        let mut channels: Vec<usize> = Vec::with_capacity(nodes.len());
        for node in &mut nodes {
            let name = node.name.clone();
            let shape = |end: &str| {
                let key = format!("{name}.{end}");
                match weights.get(&key).map(|a| &a.shape[..]) {
                    Some([first, rest @ ..]) => Ok([*first, rest.first().copied().unwrap_or(1)]),
                    Some([]) => bail!("tensor {key} has no dimensions"),
                    None => bail!("tensor {key} is missing"),
                }
            };
            let inputs: Vec<usize> = node.inputs.iter().map(|j| channels[*j]).collect();
            let change = node.inputs.first().map_or(Change { before: 0, after: 0 }, |j| Change {
                before: self.channels[*j],
                after: channels[*j],
            });
            node.op.about_mut().resize(&shape, change)?;
            channels.push(node.op.about().channels(&inputs)?);
        }
        let graph = Self::new(nodes)?;
        graph.check_weights(weights)?;
        Ok(graph)
    }
}

/// Output channels of node `i`, whose inputs are among nodes with the given channels.
fn check_node(node: &Node, i: usize, channels: &[usize]) -> Result<usize> {
    let op = node.op.about();
    ensure!(node.inputs.iter().all(|j| *j < i), "reads a node that comes later");
    let (wanted, found) = (op.inputs(), node.inputs.len());
    let (least, most) = (wanted.start(), wanted.end());
    ensure!(wanted.contains(&found), "reads {found} nodes, expected {least} to {most}");
    ensure!(matches!(node.op, Op::Input(_)) == (i == 0), "an input must come first");
    let inputs: Vec<usize> = node.inputs.iter().map(|j| channels[*j]).collect();
    op.channels(&inputs).map_err(|e: Error| e.at(format!("{:?}", op.text())))
}

/// Numbers in the parameters of `node`, whose channels are in order.
fn check_parameters(node: &Node) -> Result<u64> {
    let at = |e: Error| e.at(format!("{:?}", node.op.about().text()));
    if let Some(conv) = node.op.as_conv() {
        // What is gathered for one output, which kernels keep for many at once.
        let products = conv.input / conv.groups * conv.window.taps();
        ensure!(
            products <= LIMIT,
            "{:?}: sums of {products} products are larger than {LIMIT}",
            node.op.about().text()
        );
    }
    let mut sum = 0;
    for Parameter { name, shape, .. } in node.op.about().parameters() {
        sum += limits::floats(&shape, format!("a {name}")).map_err(at)? as u64;
    }
    Ok(sum)
}

/// Puts a graph together node by node.
pub struct Builder {
    nodes: Vec<Node>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Starts with an RGB picture.
    pub fn new() -> Self {
        let op = Op::Input(Input { channels: 3 });
        Self { nodes: vec![Node { name: String::new(), op, inputs: Vec::new() }] }
    }

    /// Position of the latest node.
    pub fn last(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Append a node that reads the latest one.
    pub fn then(&mut self, name: &str, op: impl Into<Op>) -> usize {
        self.push(name, op, vec![self.last()])
    }

    /// Append a node that reads `inputs`.
    pub fn push(&mut self, name: &str, op: impl Into<Op>, inputs: Vec<usize>) -> usize {
        self.nodes.push(Node { name: name.to_owned(), op: op.into(), inputs });
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
