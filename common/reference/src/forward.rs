//! The nodes of a graph, one after the other, in candle tensors.

use crate::activation::Clamp;
use crate::conv::{Conv, ConvBias, Sliding};
use crate::norm::BatchNormAct;
use crate::pool::{AvgPool, GlobalAvgPool, MaxPool};
use candle_core::{Result, Tensor, bail};
use graph::op::Activation;
use graph::{Bounds, Graph, Node, Op};
use std::collections::BTreeMap;

/// Parameters by name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// How batch norm normalizes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistics {
    /// By the moments of the batch.
    Batch,
    /// By stored ones.
    Stored,
}

/// Mean and unbiased variance of a batch, `[c]` each.
pub(crate) type BatchStats = [Tensor; 2];

/// What a pass through a graph gives.
pub(crate) struct Pass {
    /// `[b, classes]`.
    pub(crate) logits: Tensor,
    /// Of every batch norm, by the node's name; only with batch statistics.
    pub(crate) statistics: BTreeMap<String, BatchStats>,
}

/// Runs all nodes of `graph` on pictures `x` `[b, size, size, 3]`.
pub(crate) fn run(
    graph: &Graph,
    parameters: &Tensors,
    x: &Tensor,
    statistics: Statistics,
) -> Result<Pass> {
    let readers = graph.readers();
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
    let mut batch = BTreeMap::new();
    for (i, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<Tensor> = node
            .inputs
            .iter()
            .map(|j| match &values[*j] {
                Some(v) => Ok(v.clone()),
                None => bail!("node {i} reads a value that was freed"),
            })
            .collect::<Result<_>>()?;
        let value = match node.op {
            Op::Input(_) => x.clone(),
            Op::BatchNorm(norm) if statistics == Statistics::Batch => {
                batch.insert(node.name.clone(), batch_stats(&inputs[0])?);
                let (gamma, beta) =
                    (get(parameters, node, "weight")?, get(parameters, node, "bias")?);
                let op = BatchNormAct::new(norm.epsilon, Bounds::NONE);
                inputs[0].contiguous()?.apply_op3(gamma, beta, op)?
            }
            _ => value(node, parameters, &inputs)?,
        };
        values[i] = Some(value);
        for j in &node.inputs {
            if readers[*j].iter().all(|r| *r <= i) {
                values[*j] = None;
            }
        }
    }
    let Some(logits) = values.pop().flatten() else { bail!("an empty network") };
    let (b, _, _, classes) = logits.dims4()?;
    Ok(Pass { logits: logits.reshape((b, classes))?, statistics: batch })
}

fn get<'a>(parameters: &'a Tensors, node: &Node, end: &str) -> Result<&'a Tensor> {
    let name = format!("{}.{end}", node.name);
    match parameters.get(&name) {
        Some(t) => Ok(t),
        None => bail!("tensor {name} is missing"),
    }
}

/// Over batch, height and width, off the tape.
fn batch_stats(x: &Tensor) -> Result<BatchStats> {
    let x = x.detach();
    let channels = x.dim(3)?;
    let x = x.contiguous()?.reshape(((), channels))?;
    let n = x.dim(0)? as f64;
    let mean = x.mean(0)?;
    let squares = x.broadcast_sub(&mean)?.sqr()?.sum(0)?;
    Ok([mean, (squares / (n - 1.0).max(1.0))?])
}

/// Those that do not only clamp are written in candle's own operations.
fn activation(x: &Tensor, f: Activation) -> Result<Tensor> {
    match (f, f.bounds()) {
        (_, Some(bounds)) => x.contiguous()?.apply_op1(Clamp(bounds)),
        (Activation::Silu, _) => x.silu(),
        _ => {
            let gate = (x + 3.0)?.contiguous()?.apply_op1(Clamp(Bounds { lo: 0.0, hi: 6.0 }))?;
            x * (gate / 6.0)?
        }
    }
}

/// What a node other than the picture and a batch norm in training makes of its inputs.
fn value(node: &Node, parameters: &Tensors, inputs: &[Tensor]) -> Result<Tensor> {
    let get = |end: &str| get(parameters, node, end);
    let x = &inputs[0];
    match node.op {
        Op::Input(_) => bail!("a second input"),
        Op::Conv(_) | Op::Linear(_) => {
            let Some(conv) = node.op.as_conv() else { bail!("no convolution") };
            let k = conv.window.kernel;
            let weight = get("weight")?.reshape((conv.output, conv.input / conv.groups, k, k))?;
            let sliding = Sliding { window: conv.window, groups: conv.groups };
            let x = x.contiguous()?;
            if conv.bias {
                x.apply_op3(&weight, get("bias")?, ConvBias(sliding))
            } else {
                x.apply_op2(&weight, Conv(sliding))
            }
        }
        Op::BatchNorm(norm) => {
            let (mean, variance) = (get("running_mean")?, get("running_var")?);
            let scale = (get("weight")? / (variance + f64::from(norm.epsilon))?.sqrt()?)?;
            let shift = (get("bias")? - (mean * &scale)?)?;
            x.broadcast_mul(&scale)?.broadcast_add(&shift)
        }
        Op::ScaleShift(_) => x.broadcast_mul(get("weight")?)?.broadcast_add(get("bias")?),
        Op::Activation(a) => activation(x, a),
        Op::MaxPool(p) => x.contiguous()?.apply_op1(MaxPool::new(p.0)),
        Op::AvgPool(p) => x.contiguous()?.apply_op1(AvgPool(p.0)),
        Op::GlobalAvgPool(_) => x.contiguous()?.apply_op1(GlobalAvgPool),
        Op::Add(_) => x + &inputs[1],
        Op::Concat(_) => Tensor::cat(inputs, 3),
        Op::Split(s) => x.narrow(3, s.start, s.end - s.start),
        Op::Shuffle(s) => {
            let (b, h, w, c) = x.dims4()?;
            let groups = x.reshape((b, h, w, s.groups, c / s.groups))?;
            groups.transpose(3, 4)?.contiguous()?.reshape((b, h, w, c))
        }
    }
}
