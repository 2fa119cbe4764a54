//! Other readings of the same weights: what names and shapes leave open.

use anyhow::{Context, Result, ensure};
use artifacts::Model;
use graph::op::{Activation, MaxPool};
use graph::{Graph, Op, Weights, Window};
use std::collections::BTreeSet;
use views::Normalization;

/// A reading of the file: what is different, and the model.
pub(super) type Reading = (String, Model);

/// Turns the colours of the first layers round: RGB pixels then do what BGR ones did.
///
/// # Errors
/// Weights that do not fit the graph.
pub(crate) fn turn_colours(graph: &Graph, weights: &mut Weights) -> Result<()> {
    for node in graph.nodes().iter().filter(|n| n.inputs == [0]) {
        let name = format!("{}.weight", node.name);
        let weight = weights.get_mut(&name).with_context(|| format!("{name} is missing"))?;
        ensure!(
            node.op.as_conv().is_some_and(|c| c.input == 3 && c.groups == 1),
            "--colour bgr: the network does not begin with a convolution"
        );
        *weight = weight.select(1, &[2, 1, 0])?;
    }
    Ok(())
}

/// `model` with each of these graphs.
pub(super) fn with_graphs(model: &Model, graphs: Vec<(String, Graph)>) -> Vec<Reading> {
    graphs.into_iter().map(|(what, graph)| (what, Model { graph, ..model.clone() })).collect()
}

/// Other readings of the same weights, one difference each and the likely pairs.
pub(super) fn readings(model: &Model) -> Result<Vec<Reading>> {
    let mut graphs: Vec<(String, Graph)> = vec![(String::new(), model.graph.clone())];
    for to in Activation::ALL {
        if let Some(other) = with_activation(&model.graph, to)? {
            graphs.push((format!("with {}", to.name()), other));
        }
    }
    if let Some(other) = pools_as_strides(&model.graph)? {
        graphs.push(("with strides in place of max pools".to_owned(), other));
    }
    let near = |a: Normalization, b: Normalization| a.mean == b.mean && a.std == b.std;
    let scalings = [
        ("pixels of 0 to 1", [0.0; 3], [1.0; 3]),
        ("pixels of −1 to 1 (--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5)", [0.5; 3], [0.5; 3]),
        (
            "ImageNet's mean and deviation (--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225)",
            [0.485, 0.456, 0.406],
            [0.229, 0.224, 0.225],
        ),
        ("pixels of 0 to 255 (--std 0.00392157,0.00392157,0.00392157)", [0.0; 3], [1.0 / 255.0; 3]),
    ];
    let mut all = with_graphs(model, other_halvings(&model.graph)?);
    for (how, graph) in &graphs {
        for is_turned in [false, true] {
            for (pixels, mean, std) in &scalings {
                let mut other = Model { graph: graph.clone(), ..model.clone() };
                other.input.normalization = Normalization { mean: *mean, std: *std };
                let is_scaled = !near(other.input.normalization, model.input.normalization);
                if is_turned && turn_colours(graph, &mut other.weights).is_err() {
                    continue;
                }
                let words = [
                    how.clone(),
                    if is_turned { "with --colour bgr".to_owned() } else { String::new() },
                    if is_scaled { format!("with {pixels}") } else { String::new() },
                ];
                let what: Vec<String> = words.into_iter().filter(|w| !w.is_empty()).collect();
                if !what.is_empty() {
                    all.push((what.join(", "), other));
                }
            }
        }
    }
    Ok(all)
}

/// `graph` with `to` in place of every activation but those that make factors; None where that is no change.
fn with_activation(graph: &Graph, to: Activation) -> Result<Option<Graph>> {
    let mut nodes = graph.nodes().to_vec();
    let products = graph.nodes().iter().filter(|n| matches!(n.op, Op::Mul(_)));
    let factors: BTreeSet<usize> = products.map(|n| n.inputs[1]).collect();
    for (i, node) in nodes.iter_mut().enumerate() {
        if matches!(node.op, Op::Activation(_)) && !factors.contains(&i) {
            node.op = Op::Activation(to);
        }
    }
    Ok(if nodes == graph.nodes() { None } else { Some(Graph::new(nodes)?) })
}

/// `graph` without its 2 × 2 max pools, the convolution of more than a pixel before each with stride 2
/// instead; None where it has none.
fn pools_as_strides(graph: &Graph) -> Result<Option<Graph>> {
    let is_pool = |op: &Op| matches!(op, Op::MaxPool(MaxPool(w)) if w.kernel == 2 && w.stride == 2);
    let mut nodes: Vec<graph::Node> = Vec::new();
    let mut place = Vec::new();
    let mut count = 0;
    for node in graph.nodes() {
        if is_pool(&node.op) {
            let wide = |n: &&mut graph::Node| matches!(n.op, Op::Conv(c) if c.window.kernel > 1);
            let before = nodes.iter_mut().rev().find(wide);
            let Some(Op::Conv(conv)) = before.map(|n| &mut n.op) else { return Ok(None) };
            conv.window.stride *= 2;
            count += 1;
            place.push(place[node.inputs[0]]);
            continue;
        }
        let inputs = node.inputs.iter().map(|j| place[*j]).collect();
        place.push(nodes.len());
        nodes.push(graph::Node { inputs, ..node.clone() });
    }
    Ok(if count > 0 { Some(Graph::new(nodes)?) } else { None })
}

/// `graph` with one convolution of the other stride, 1 or 2; with one 2 × 2 max pool less, each in turn,
/// and with one more, behind each convolution or its batch norm and activation.
pub(super) fn other_halvings(graph: &Graph) -> Result<Vec<(String, Graph)>> {
    let pool = MaxPool(Window::new(2, 2, 0));
    let mut all = other_strides(graph)?;
    let last_named = |i: usize| {
        let named = graph.nodes()[..=i].iter().rev().find(|n| !n.name.is_empty());
        named.map_or("the picture", |n| n.name.as_str()).to_owned()
    };
    for i in 1..graph.nodes().len() {
        let is_pool = graph.nodes()[i].op == Op::MaxPool(pool);
        let next = graph.nodes().get(i + 1).map(|n| n.op);
        let ends = !matches!(
            next,
            None | Some(Op::BatchNorm(_) | Op::Activation(_) | Op::MaxPool(_) | Op::Linear(_))
        );
        let adds = ends && matches!(graph.nodes()[i].op, Op::Conv(_) | Op::Activation(_));
        if is_pool {
            all.push((
                format!("without the max pool behind {}", last_named(i)),
                edited(graph, i, None)?,
            ));
        } else if adds {
            let what = format!("with a max pool behind {}", last_named(i));
            all.push((what, edited(graph, i, Some(pool))?));
        }
    }
    Ok(all)
}

/// `graph` with one convolution of the other stride, 1 or 2, each in turn.
fn other_strides(graph: &Graph) -> Result<Vec<(String, Graph)>> {
    let mut all = Vec::new();
    for i in 1..graph.nodes().len() {
        let mut nodes = graph.nodes().to_vec();
        let Op::Conv(conv) = &mut nodes[i].op else { continue };
        if conv.window.kernel > 1 && conv.window.stride <= 2 {
            let stride = 3 - conv.window.stride;
            conv.window.stride = stride;
            let what = format!("with stride {stride} at {}", nodes[i].name);
            // One that a sum reads does not fit.
            all.extend(Graph::new(nodes).ok().map(|graph| (what, graph)));
        }
    }
    Ok(all)
}

/// `graph` without node `i`, or with `added` behind it.
fn edited(graph: &Graph, i: usize, added: Option<MaxPool>) -> Result<Graph> {
    let mut nodes: Vec<graph::Node> = Vec::new();
    let mut place = Vec::new();
    for (at, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<usize> = node.inputs.iter().map(|j| place[*j]).collect();
        match (at == i, added) {
            (true, None) => place.push(inputs[0]),
            (is_here, added) => {
                nodes.push(graph::Node { inputs, ..node.clone() });
                if let (true, Some(pool)) = (is_here, added) {
                    let inputs = vec![nodes.len() - 1];
                    nodes.push(graph::Node { name: String::new(), op: pool.into(), inputs });
                }
                place.push(nodes.len() - 1);
            }
        }
    }
    Ok(Graph::new(nodes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_factors_is_left_alone() -> Result<()> {
        let text = |act: &str| {
            format!(
                "input 3;a:conv 3>4 k3;{act};gap;g:conv 4>4 k1;sigmoid;mul @2,5;gap;f:linear 4>2"
            )
        };
        let graph: Graph = text("relu6").parse()?;
        let found = with_activation(&graph, Activation::Silu)?.context("another")?;
        assert_eq!(found.to_string(), text("silu"));
        assert_eq!(with_activation(&graph, Activation::Relu6)?, None);
        Ok(())
    }
}
