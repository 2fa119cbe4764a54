//! Folding batch norm into the convolution before it, and back; last layers go into one by [`crate::head`].
//!
//! With stored statistics batch norm is `y = s·x + t`, `s = γ / √(var + ε)`, `t = β − s·mean`; after a
//! convolution `x = W∗u + b` that is one convolution with `sW` and `sb + t` (Jacob et al. 2018,
//! "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
//! section 3.2).

use crate::array::Array;
use crate::error::{Error, Result};
use crate::network::{Graph, Node, Weights};
use crate::op::{BatchNorm, Op, ScaleShift};

impl Graph {
    /// The convolution that batch norm `i` can be folded into: the one before it, if nothing else
    /// reads that.
    fn before_norm(&self, i: usize, readers: &[Vec<usize>]) -> Option<usize> {
        let node = &self.nodes()[i];
        let &j = node.inputs.first()?;
        let folds = matches!(node.op, Op::BatchNorm(_))
            && matches!(self.nodes()[j].op, Op::Conv(_))
            && readers[j] == [i];
        folds.then_some(j)
    }

    /// The same function without batch norm: what follows a convolution of its own is folded into it,
    /// any other becomes a [`ScaleShift`]. No statistics are left. Last layers that are one linear map become one
    /// layer.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub fn fold(&self, weights: Weights) -> Result<(Self, Weights)> {
        let (graph, mut weights) = self.fold_norms(weights)?;
        Ok((graph.join_head(&mut weights)?, weights))
    }

    /// [`Graph::fold`] of batch norms alone: what files hold that were packed before last layers were joined.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub(crate) fn fold_norms(&self, mut weights: Weights) -> Result<(Self, Weights)> {
        self.check_weights(&weights)?;
        let readers = self.readers();
        let mut nodes: Vec<Node> = Vec::new();
        // Position of each old node's result among the new nodes.
        let mut place = vec![0; self.nodes().len()];
        for (i, node) in self.nodes().iter().enumerate() {
            let mut op = node.op;
            if let Op::BatchNorm(norm) = op {
                let affine = Affine::take(&norm, &node.name, &mut weights)?;
                if let Some(j) = self.before_norm(i, &readers) {
                    absorb(&mut nodes[place[j]], affine, &mut weights)?;
                    place[i] = place[j];
                    continue;
                }
                affine.put(&node.name, &mut weights);
                op = Op::ScaleShift(ScaleShift { channels: norm.channels });
            }
            let inputs = node.inputs.iter().map(|j| place[*j]).collect();
            place[i] = nodes.len();
            nodes.push(Node { name: node.name.clone(), op, inputs });
        }
        Ok((Self::new(nodes)?, weights))
    }

    /// The inverse of [`Graph::fold`] for a graph with batch norms, `self`, and weights of its folded
    /// form, at any widths: batch norms that change nothing but, where the original convolution had
    /// no bias, add it; layers that were joined are two again. Programs that build the original network can then load the weights by name.
    ///
    /// # Errors
    /// Weights that are not of this graph.
    pub fn unfold(&self, folded: &Weights) -> Result<(Self, Weights)> {
        let mut weights = folded.clone();
        self.part_head(&mut weights)?;
        let readers = self.readers();
        for (i, node) in self.nodes().iter().enumerate() {
            let Op::BatchNorm(norm) = node.op else { continue };
            let [gamma, beta] = ["weight", "bias"].map(|end| format!("{}.{end}", node.name));
            if let Some(j) = self.before_norm(i, &readers) {
                let conv = &self.nodes()[j];
                let bias_name = format!("{}.bias", conv.name);
                let bias = take(&bias_name, &mut weights)?;
                let zero = Array::filled(&bias.shape, 0.0);
                let keeps = matches!(conv.op, Op::Conv(c) if c.bias);
                let shift = if keeps { zero } else { bias.clone() };
                if keeps {
                    weights.insert(bias_name, bias);
                }
                weights.insert(gamma.clone(), Array::filled(&shift.shape, 1.0));
                weights.insert(beta, shift);
            }
            let missing = || Error::new(format!("tensor {gamma} is missing"));
            let scale = weights.get_mut(&gamma).ok_or_else(missing)?;
            // Cancels √(1 + ε).
            scale.values.iter_mut().for_each(|v| *v *= (1.0 + norm.epsilon).sqrt());
            let shape = scale.shape.clone();
            weights.insert(format!("{}.running_mean", node.name), Array::filled(&shape, 0.0));
            weights.insert(format!("{}.running_var", node.name), Array::filled(&shape, 1.0));
        }
        let graph = self.with_widths_of(&weights)?;
        Ok((graph, weights))
    }
}

/// That tensor, which leaves `weights`.
pub(crate) fn take(name: &str, weights: &mut Weights) -> Result<Array> {
    weights.remove(name).ok_or_else(|| Error::new(format!("tensor {name} is missing")))
}

/// Batch norm with stored statistics, `y = scale · x + shift`, in f64: this happens once, and its
/// rounding would be all that is lost.
struct Affine {
    scale: Vec<f64>,
    /// What is taken off before scaling.
    mean: Vec<f64>,
    /// What is added afterwards.
    beta: Vec<f64>,
}

impl Affine {
    /// That of the batch norm `norm`, called `name`, whose tensors leave `weights`.
    fn take(norm: &BatchNorm, name: &str, weights: &mut Weights) -> Result<Self> {
        let mut values = |end: &str| -> Result<Vec<f64>> {
            let array = take(&format!("{name}.{end}"), weights)?;
            Ok(array.values.into_iter().map(f64::from).collect())
        };
        let (gamma, beta) = (values("weight")?, values("bias")?);
        let (mean, variance) = (values("running_mean")?, values("running_var")?);
        weights.remove(&format!("{name}.num_batches_tracked"));
        let epsilon = f64::from(norm.epsilon);
        let scale = gamma.iter().zip(variance).map(|(g, v)| g / (v + epsilon).sqrt());
        Ok(Self { scale: scale.collect(), mean, beta })
    }

    /// As the tensors of a [`ScaleShift`].
    fn put(self, name: &str, weights: &mut Weights) {
        let shift = self.beta.iter().zip(&self.mean).zip(&self.scale).map(|((b, m), s)| b - m * s);
        let array = |values: Vec<f64>| Array {
            shape: vec![values.len()],
            values: values.into_iter().map(|v| v as f32).collect(),
        };
        weights.insert(format!("{name}.bias"), array(shift.collect()));
        weights.insert(format!("{name}.weight"), array(self.scale));
    }
}

/// Folds a batch norm into the convolution before it.
fn absorb(conv: &mut Node, norm: Affine, weights: &mut Weights) -> Result<()> {
    let (weight_name, bias_name) = (format!("{}.weight", conv.name), format!("{}.bias", conv.name));
    let old = weights.remove(&bias_name);
    let mut kernel = take(&weight_name, weights)?;
    let channels = norm.scale.len();
    let per_channel = kernel.values.len() / channels.max(1);
    let mut bias = Array::filled(&[channels], 0.0);
    for c in 0..channels {
        for v in &mut kernel.values[c * per_channel..(c + 1) * per_channel] {
            *v = (f64::from(*v) * norm.scale[c]) as f32;
        }
        let b = old.as_ref().map_or(0.0, |b| f64::from(b.values[c]));
        bias.values[c] = ((b - norm.mean[c]) * norm.scale[c] + norm.beta[c]) as f32;
    }
    weights.insert(weight_name, kernel);
    weights.insert(bias_name, bias);
    if let Op::Conv(conv) = &mut conv.op {
        conv.bias = true;
    }
    Ok(())
}
