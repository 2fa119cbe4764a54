//! Folding batch norm into the convolution before it.
//!
//! With stored statistics batch norm is `y = s·x + t`, `s = γ / √(var + ε)`, `t = β − s·mean`; after a
//! convolution `x = W∗u + b` that is one convolution with `sW` and `sb + t` (Jacob et al. 2018,
//! "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
//! section 3.2).

use super::{EPSILON, Graph, Node, Op, Weights};
use crate::array::Array;
use anyhow::{Context, Result};

impl Graph {
    /// The same function with every batch norm that follows a convolution of its own folded away.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn fold(&self, weights: &Weights) -> Result<(Self, Weights)> {
        self.check_weights(weights)?;
        let readers = self.readers();
        let mut weights = weights.clone();
        let mut nodes: Vec<Node> = Vec::new();
        // Position of each old node's result among the new nodes.
        let mut place = vec![0; self.nodes().len()];
        for (i, node) in self.nodes().iter().enumerate() {
            if let (Op::BatchNorm { .. }, Some(&j)) = (node.op, node.inputs.first())
                && matches!(self.nodes()[j].op, Op::Conv { .. })
                && readers[j] == [i]
            {
                let conv = &mut nodes[place[j]];
                absorb(conv, &node.name, &mut weights)?;
                place[i] = place[j];
                continue;
            }
            let inputs = node.inputs.iter().map(|j| place[*j]).collect();
            place[i] = nodes.len();
            nodes.push(Node { inputs, ..node.clone() });
        }
        Ok((Self::new(nodes)?, weights))
    }
}

impl Graph {
    /// The inverse of [`Graph::fold`] for a graph with batch norms, `self`, and weights of its folded
    /// form, at any widths: batch norms that change nothing but, where the original convolution had
    /// no bias, add it. Programs that build the original network can then load the weights by name.
    ///
    /// # Errors
    /// Weights that are not of this graph.
    pub fn unfold(&self, folded: &Weights) -> Result<(Self, Weights)> {
        let mut weights = folded.clone();
        for node in self.nodes() {
            let (Op::BatchNorm { .. }, Some(&j)) = (node.op, node.inputs.first()) else { continue };
            let conv = &self.nodes()[j];
            let bias_name = format!("{}.bias", conv.name);
            let bias = weights.get(&bias_name).with_context(|| bias_name.clone())?.clone();
            let zero = Array::filled(&bias.shape, 0.0);
            let shift = match conv.op {
                Op::Conv { bias: false, .. } => {
                    weights.remove(&bias_name);
                    bias
                }
                _ => zero.clone(),
            };
            let name = |end: &str| format!("{}.{end}", node.name);
            let one = Array::filled(&zero.shape, 1.0);
            // Cancels √(1 + ε).
            let scale = Array::filled(&zero.shape, (1.0 + EPSILON).sqrt());
            weights.insert(name("weight"), scale);
            weights.insert(name("bias"), shift);
            weights.insert(name("running_mean"), zero);
            weights.insert(name("running_var"), one);
        }
        let graph = self.with_widths_of(&weights)?;
        Ok((graph, weights))
    }
}

fn absorb(conv: &mut Node, norm: &str, weights: &mut Weights) -> Result<()> {
    let mut take = |name: String| weights.remove(&name).context(name);
    let gamma = take(format!("{norm}.weight"))?;
    let beta = take(format!("{norm}.bias"))?;
    let mean = take(format!("{norm}.running_mean"))?;
    let variance = take(format!("{norm}.running_var"))?;
    weights.remove(&format!("{norm}.num_batches_tracked"));
    let bias_name = format!("{}.bias", conv.name);
    let old = weights.remove(&bias_name);
    let kernel = weights.get_mut(&format!("{}.weight", conv.name)).context("convolution weight")?;
    let channels = gamma.values.len();
    let per_channel = kernel.values.len() / channels.max(1);
    let mut bias = Array::filled(&[channels], 0.0);
    for c in 0..channels {
        // In f64: this happens once, and its rounding would be all that is lost.
        let deviation = (f64::from(variance.values[c]) + f64::from(EPSILON)).sqrt();
        let scale = f64::from(gamma.values[c]) / deviation;
        for v in &mut kernel.values[c * per_channel..(c + 1) * per_channel] {
            *v = (f64::from(*v) * scale) as f32;
        }
        let b = old.as_ref().map_or(0.0, |b| f64::from(b.values[c]));
        let shifted = (b - f64::from(mean.values[c])) * scale + f64::from(beta.values[c]);
        bias.values[c] = shifted as f32;
    }
    weights.insert(bias_name, bias);
    if let Op::Conv { bias, .. } = &mut conv.op {
        *bias = true;
    }
    Ok(())
}
