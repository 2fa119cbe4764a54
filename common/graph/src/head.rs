//! Folding a network's last layers into one, and back.
//!
//! Where nothing bends between a pointwise convolution `C`, the mean over the picture and the last layer `F`, the three are
//! one linear map of the mean: `F(mean(Cx + c)) + f = (FC)·mean(x) + (Fc + f)`. Of the course's student, whose last
//! convolution has no activation, that is a quarter of the weights, and a sixth of the multiplications, that need
//! neither be stored nor computed.

use crate::array::Array;
use crate::error::{Error, Result, ensure};
use crate::fold::take;
use crate::network::{Graph, Weights};
use crate::op::{Conv, Linear, Op};
use std::collections::BTreeSet;

/// A pointwise convolution, the mean that alone reads it, and the layer that alone reads that; by their numbers.
struct Head {
    conv: usize,
    mean: usize,
    linear: usize,
    /// Whether a batch norm stands behind the convolution.
    is_normed: bool,
}

impl Head {
    /// That of `graph` which has more weights as three than as one; None if there is none.
    fn of(graph: &Graph) -> Option<(Self, Conv, Linear)> {
        let (nodes, readers) = (graph.nodes(), graph.readers());
        nodes.iter().enumerate().find_map(|(i, node)| {
            let Op::Linear(linear) = node.op else { return None };
            let mean = *node.inputs.first()?;
            let Op::GlobalAvgPool(_) = nodes[mean].op else { return None };
            let before = *nodes[mean].inputs.first()?;
            let is_normed = matches!(nodes[before].op, Op::BatchNorm(_));
            let at = if is_normed { *nodes[before].inputs.first()? } else { before };
            let conv = nodes[at].op.as_conv().filter(|_| matches!(nodes[at].op, Op::Conv(_)))?;
            let alone = readers[before] == [mean] && readers[mean] == [i] && readers[at].len() == 1;
            let less = linear.output * conv.input < (linear.output + conv.input) * conv.output;
            // What stands between the two is drawn out with them.
            let adjacent = before == at || before == at + 1;
            let joins = alone && adjacent && less && conv.is_pointwise() && linear.side == 1;
            joins.then_some((Self { conv: at, mean, linear: i, is_normed }, conv, linear))
        })
    }
}

impl Graph {
    /// The same function with fewer weights, where last layers can be one; of a graph without batch norms.
    ///
    /// # Errors
    /// Weights that do not fit the graph.
    pub(crate) fn join_head(self, weights: &mut Weights) -> Result<Self> {
        self.joined(|[conv, linear], c, l| join([conv, linear], c, l, weights))
    }

    /// How the graph is stored, for counting: its last layers joined as [`Graph::fold`] joins them, batch norms as they
    /// are.
    ///
    /// # Errors
    /// None of a graph that is valid.
    pub fn with_joined_head(&self) -> Result<Self> {
        self.clone().joined(|_, _, _| Ok(()))
    }

    /// Names of the layers that [`Graph::fold`] joins with the last: no file holds them, so that nothing is saved where they
    /// become smaller.
    ///
    /// # Errors
    /// None of a graph that is valid.
    pub fn joined_names(&self) -> Result<BTreeSet<String>> {
        let left = self.with_joined_head()?;
        let names = |graph: &Self| -> BTreeSet<String> {
            graph.nodes().iter().map(|n| n.name.clone()).collect()
        };
        Ok(names(self).difference(&names(&left)).cloned().collect())
    }

    /// Without the convolutions of heads, one after the other: of one in two factors both go. `join` gets their names.
    fn joined(self, mut join: impl FnMut([&str; 2], Conv, Linear) -> Result<()>) -> Result<Self> {
        let mut graph = self;
        while let Some((Head { conv, mean, linear, is_normed }, c, l)) = Head::of(&graph) {
            let mut nodes = graph.nodes().to_vec();
            join([&nodes[conv].name, &nodes[linear].name], c, l)?;
            let bias = l.bias || c.bias || is_normed;
            nodes[linear].op = Op::Linear(Linear { input: c.input, bias, ..l });
            nodes[mean].inputs = nodes[conv].inputs.clone();
            let gone = if is_normed { conv + 1 } else { conv };
            nodes.drain(conv..=gone);
            let later = |j: &mut usize| *j -= if *j > gone { gone - conv + 1 } else { 0 };
            nodes.iter_mut().flat_map(|n| &mut n.inputs).for_each(later);
            graph = Self::new(nodes)?;
        }
        Ok(graph)
    }

    /// Puts the weights that [`Graph::join_head`] joined, of this graph at any widths, into two layers again: the convolution
    /// makes the logits in its first channels, the last layer hands them on. Where the convolution has as many channels
    /// as it reads, it has so again.
    ///
    /// # Errors
    /// Weights that are not of this graph.
    pub(crate) fn part_head(&self, weights: &mut Weights) -> Result<()> {
        let Some((Head { conv, linear, is_normed, .. }, c, l)) = Head::of(self) else {
            return Ok(());
        };
        let [conv, linear] = [conv, linear].map(|i| self.nodes()[i].name.clone());
        let [map, maps] = [&linear, &conv].map(|name| format!("{name}.weight"));
        if weights.contains_key(&maps) {
            return Ok(());
        }
        let array = take(&map, weights)?;
        let [classes, input] = array.shape[..] else {
            return Err(Error::new(format!("tensor {map} has {} dimensions", array.shape.len())));
        };
        let width = if c.input == c.output { input.max(classes) } else { classes };
        let mut first = Array::filled(&[width, input, 1, 1], 0.0);
        first.values[..classes * input].copy_from_slice(&array.values);
        let mut second = Array::filled(&[classes, width], 0.0);
        (0..classes).for_each(|i| second.values[i * width + i] = 1.0);
        weights.extend([(maps, first), (map, second)]);
        if c.bias || is_normed {
            let mut bias = Array::filled(&[width], 0.0);
            if !l.bias {
                let name = format!("{linear}.bias");
                let values = take(&name, weights)?.values;
                ensure!(values.len() == classes, "tensor {name} has {} values", values.len());
                bias.values[..classes].copy_from_slice(&values);
            }
            weights.insert(format!("{conv}.bias"), bias);
        }
        Ok(())
    }
}

/// The weights of convolution `c` and layer `l`, of these names, become those of one layer of the second name; in f64: this
/// happens once, and its rounding would be all that is lost.
fn join([conv, linear]: [&str; 2], c: Conv, l: Linear, weights: &mut Weights) -> Result<()> {
    let [first, second] = [conv, linear].map(|name| format!("{name}.weight"));
    let (first, outer) = (take(&first, weights)?, take(&second, weights)?);
    let rows = outer.values.chunks_exact(c.output);
    let of = |row: &[f32], column: usize, width: usize, values: &[f32]| -> f64 {
        let column = values[column..].iter().step_by(width);
        row.iter().zip(column).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let map = rows.clone().flat_map(|row| {
        let first = &first.values;
        (0..c.input).map(move |j| of(row, j, c.input, first) as f32)
    });
    let map = Array { shape: vec![l.output, c.input], values: map.collect() };
    let [inner, bias] = [conv, linear].map(|name| weights.remove(&format!("{name}.bias")));
    if inner.is_some() || bias.is_some() {
        let sum = rows.enumerate().map(|(i, row)| {
            let inner = inner.as_ref().map_or(0.0, |b| of(row, 0, 1, &b.values));
            (inner + bias.as_ref().map_or(0.0, |b| f64::from(b.values[i]))) as f32
        });
        let sum = Array { shape: vec![l.output], values: sum.collect() };
        weights.insert(format!("{linear}.bias"), sum);
    }
    weights.insert(second, map);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families;

    fn array(shape: &[usize], values: &[f32]) -> Array {
        Array { shape: shape.to_vec(), values: values.to_vec() }
    }

    /// By hand: `C = [[1, 2], [3, 4], [5, 6]]`, `c = (1, 0, −1)`, `F = [[1, 0, 2], [0, 1, 1]]`, `f = (0.5, 0.25)`:
    /// `FC = [[11, 14], [8, 10]]`, `Fc + f = (−0.5, −0.75)`; the factor `(1, −1)ᵀ` before it goes as well.
    #[test]
    fn three_layers_become_one() {
        let graph: Graph =
            "input 3;a:conv 3>1 k3 p1;b:conv 1>2 k1;c:conv 2>3 k1 bias;gap;f:linear 3>2 bias"
                .parse()
                .unwrap();
        let given = [
            ("a.weight", array(&[1, 3, 3, 3], &[0.0; 27])),
            ("b.weight", array(&[2, 1, 1, 1], &[1.0, -1.0])),
            ("c.weight", array(&[3, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ("c.bias", array(&[3], &[1.0, 0.0, -1.0])),
            ("f.weight", array(&[2, 3], &[1.0, 0.0, 2.0, 0.0, 1.0, 1.0])),
            ("f.bias", array(&[2], &[0.5, 0.25])),
        ];
        let mut weights: Weights = given.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let joined = graph.clone().join_head(&mut weights).unwrap();
        let expected: Graph = "input 3;a:conv 3>1 k3 p1;gap;f:linear 1>2 bias".parse().unwrap();
        assert_eq!(joined, expected);
        assert_eq!(weights["f.weight"], array(&[2, 1], &[-3.0, -2.0]));
        assert_eq!(weights["f.bias"], array(&[2], &[-0.5, -0.75]));
        assert_eq!(weights.len(), 3);
    }

    /// What bends, what others read, what a window of more than a pixel makes, and what would grow, stays.
    #[test]
    fn others_stay() {
        for text in [
            "input 3;a:conv 3>8 k1 bias;relu;gap;f:linear 8>2 bias",
            "input 3;a:conv 3>8 k3 p1;gap;f:linear 8>2",
            "input 3;a:conv 3>8 k1 s2;gap;f:linear 8>2",
            "input 3;a:conv 3>8 k1;gap;f:linear 8>8;add @2,3",
            "input 3;a:conv 3>1 k1;gap;f:linear 1>9 bias",
        ] {
            let graph: Graph = text.parse().unwrap();
            let before = crate::init::weights(&graph, 1);
            let mut weights = before.clone();
            assert_eq!(graph.clone().join_head(&mut weights).unwrap(), graph, "{text}");
            assert_eq!(weights, before, "{text}");
        }
    }

    /// Files from before hold last layers apart: they are known as well as those of today.
    #[test]
    fn both_forms_are_known() {
        let knobs = families::Knobs { width: 0.1, ..families::Knobs::standard(4) };
        let original = families::find("studentnet").unwrap().build(&knobs).unwrap();
        let weights = crate::init::weights(&original, 1);
        let before = original.fold_norms(weights.clone()).unwrap();
        let today = original.fold(weights.clone()).unwrap();
        assert_eq!(before.0.nodes().len(), today.0.nodes().len() + 1);
        for (folded, values) in [before, today] {
            let (graph, unfolded) = families::unfold(&folded, &values, None).unwrap();
            assert!(graph == original && unfolded.keys().eq(weights.keys()));
            assert!(unfolded.iter().all(|(name, array)| array.shape == weights[name].shape));
        }
    }
}
