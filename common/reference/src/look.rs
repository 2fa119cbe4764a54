//! A look into a network: what a single node makes of its inputs, and how much the answers owe to each number of a
//! node's result.

use crate::op::{Site, Statistics, Tensors, run};
use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use graph::{Graph, Node, Weights};
use std::collections::BTreeMap;

/// What a node makes of a batch of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// Pictures, height, width, channels.
    pub shape: [usize; 4],
    /// In that order.
    pub values: Vec<f32>,
}

impl Map {
    fn tensor(&self) -> candle_core::Result<Tensor> {
        Tensor::from_slice(&self.values, &self.shape, &Device::Cpu)
    }

    fn of(tensor: &Tensor) -> candle_core::Result<Self> {
        let (b, h, w, c) = tensor.dims4()?;
        Ok(Self { shape: [b, h, w, c], values: tensor.flatten_all()?.to_vec1()? })
    }
}

/// The parameters of `node` among `weights`, as tensors.
fn parameters(node: &Node, weights: &Weights) -> candle_core::Result<Tensors> {
    let own = node.parameters().into_iter().filter_map(|p| Some((weights.get(&p.name)?, p.name)));
    own.map(|(a, name)| {
        Ok((name, Tensor::from_slice(&a.values, a.shape.as_slice(), &Device::Cpu)?))
    })
    .collect()
}

/// What `node` makes of `inputs`, of a network that is shown `pictures`; batch norms go by stored statistics.
///
/// # Errors
/// Inputs or weights that do not fit the node.
pub fn result(node: &Node, weights: &Weights, pictures: &Map, inputs: &[&Map]) -> Result<Map> {
    let inputs: Vec<Tensor> = inputs.iter().map(|m| m.tensor()).collect::<Result<_, _>>()?;
    Ok(Map::of(&step(node, &parameters(node, weights)?, &pictures.tensor()?, &inputs)?)?)
}

fn step(
    node: &Node,
    parameters: &Tensors,
    pictures: &Tensor,
    inputs: &[Tensor],
) -> candle_core::Result<Tensor> {
    let (statistics, found) = (Statistics::Stored, &mut BTreeMap::new());
    let mut site = Site { node, parameters, pictures, statistics, found };
    run(&node.op).run(&mut site, inputs)
}

/// The derivatives of Σ probe · logits by the results of `nodes`, in ascending order; `probe` makes its numbers
/// `[b, classes]` from the logits.
///
/// # Errors
/// Pictures or weights that do not fit the graph.
pub fn slopes(
    graph: &Graph,
    weights: &Weights,
    pictures: &Map,
    nodes: &[usize],
    probe: impl FnOnce(&[f32]) -> Vec<f32>,
) -> Result<Vec<Map>> {
    let (mut leaves, pictures) = (Vec::new(), pictures.tensor()?);
    let mut values: Vec<Tensor> = Vec::with_capacity(graph.nodes().len());
    for (i, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<Tensor> = node.inputs.iter().map(|j| values[*j].clone()).collect();
        let mut result = step(node, &parameters(node, weights)?, &pictures, &inputs)?;
        if nodes.contains(&i) {
            // Nothing is added, but what is has a derivative of its own.
            let leaf = Var::zeros(result.shape(), DType::F32, &Device::Cpu)?;
            result = (result + leaf.as_tensor())?;
            leaves.push(leaf);
        }
        values.push(result);
    }
    let logits = values.pop().expect("a graph has nodes");
    let probe = probe(&logits.flatten_all()?.to_vec1::<f32>()?);
    let probe = Tensor::from_slice(&probe, logits.shape(), &Device::Cpu)?;
    let slopes = (logits * probe)?.sum_all()?.backward()?;
    let slope = |leaf: &Var| match slopes.get(leaf) {
        Some(slope) => Map::of(slope),
        None => Map::of(&leaf.zeros_like()?),
    };
    Ok(leaves.iter().map(slope).collect::<Result<_, _>>()?)
}
