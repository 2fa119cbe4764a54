//! The nodes of a graph, one after the other, in candle tensors.

use crate::op::{BatchStats, Site, Statistics, Tensors, run};
use candle_core::{Result, Tensor};
use graph::Graph;
use std::collections::BTreeMap;

/// What a pass through a graph gives.
pub(crate) struct Pass {
    /// `[b, classes]`.
    pub(crate) logits: Tensor,
    /// Of every batch norm, by the node's name; only with batch statistics.
    pub(crate) statistics: BTreeMap<String, BatchStats>,
}

/// Runs all nodes of `graph` on `pictures` `[b, size, size, 3]`.
pub(crate) fn pass(
    graph: &Graph,
    parameters: &Tensors,
    pictures: &Tensor,
    statistics: Statistics,
) -> Result<Pass> {
    let readers = graph.readers();
    let mut values: Vec<Option<Tensor>> = vec![None; graph.nodes().len()];
    let mut found = BTreeMap::new();
    for (i, node) in graph.nodes().iter().enumerate() {
        let input = |j: &usize| values[*j].clone().expect("a value lives until its last reader");
        let inputs: Vec<Tensor> = node.inputs.iter().map(input).collect();
        let mut site = Site { node, parameters, pictures, statistics, found: &mut found };
        values[i] = Some(run(&node.op).run(&mut site, &inputs)?);
        for j in &node.inputs {
            if readers[*j].iter().all(|r| *r <= i) {
                values[*j] = None;
            }
        }
    }
    let logits = values.pop().flatten().expect("a network has nodes, and nobody reads the last");
    let (b, _, _, classes) = logits.dims4()?;
    Ok(Pass { logits: logits.reshape((b, classes))?, statistics: found })
}
