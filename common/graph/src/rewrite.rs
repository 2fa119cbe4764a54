//! A node rewritten as several: low-rank factors of convolutions and linear layers.
//!
//! A weight of rank r is the product of two: a layer to r channels and one from them (Denton et al.
//! 2014, "Exploiting linear structure within convolutional networks"; Zhang et al. 2016, "Accelerating
//! very deep convolutional networks", section 3.1). In PyTorch the pair stands where the layer stood,
//! as a `Sequential`: layer `x` becomes `x.0`, without bias, and `x.1`.

use crate::error::{Result, bail, ensure};
use crate::network::{Graph, Node, Weights};
use crate::op::{Conv, Linear, Op, Window};

/// Which of the two factors of a convolution has its window; the other is 1 × 1. Of a linear layer
/// and of a 1 × 1 convolution it is the first, which keeps its stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Windowed {
    /// The window over all input channels, then 1 × 1: output channels are of low rank.
    First,
    /// 1 × 1, then the window: input channels are of low rank.
    Second,
}

/// A node that is to be two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factoring {
    /// Channels between the two.
    pub rank: usize,
    /// Where the window goes.
    pub windowed: Windowed,
}

impl Op {
    /// The two operations, if this is one that can be factored.
    fn factors(&self, factoring: &Factoring) -> Option<[Self; 2]> {
        let Factoring { rank, windowed } = *factoring;
        if let Self::Linear(linear) = *self {
            return Some([
                Linear { output: rank, bias: false, ..linear }.into(),
                Linear { input: rank, side: 1, ..linear }.into(),
            ]);
        }
        let conv = self.as_conv().filter(|c| c.groups == 1)?;
        let (first, second) = match windowed {
            Windowed::Second if conv.window.kernel > 1 => (Window::POINT, conv.window),
            Windowed::First | Windowed::Second => (conv.window, Window::POINT),
        };
        Some([
            Conv { output: rank, window: first, bias: false, ..conv }.into(),
            Conv { input: rank, window: second, ..conv }.into(),
        ])
    }
}

impl Graph {
    /// The same network with the nodes that `factoring` names, by their names, as pairs.
    ///
    /// # Errors
    /// A node that cannot be factored, or a rank of 0.
    pub fn factored(&self, factoring: impl Fn(&Node) -> Option<Factoring>) -> Result<Self> {
        let mut nodes: Vec<Node> = Vec::new();
        // Position of each old node's result among the new nodes.
        let mut place = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let inputs = node.inputs.iter().map(|j| place[*j]).collect();
            match factoring(node) {
                None => nodes.push(Node { inputs, ..node.clone() }),
                Some(f) => {
                    ensure!(f.rank > 0, "{}: a rank of 0", node.name);
                    let Some([first, second]) = node.op.factors(&f) else {
                        let text = node.op.about().text();
                        bail!("{} ({text}) cannot be factored: its groups see no others", node.name)
                    };
                    let [a, b] = [0, 1].map(|i| format!("{}.{i}", node.name));
                    nodes.push(Node { name: a, op: first, inputs });
                    nodes.push(Node { name: b, op: second, inputs: vec![nodes.len() - 1] });
                }
            }
            place.push(nodes.len() - 1);
        }
        Self::new(nodes)
    }

    /// The same network with those nodes as pairs that `weights` hold as pairs.
    ///
    /// # Errors
    /// Only graphs that are none.
    pub fn factored_like(&self, weights: &Weights) -> Result<Self> {
        self.factored(|node| {
            let shape = |end: &str| weights.get(&format!("{}.{end}", node.name)).map(|a| &a.shape);
            let (None, Some(first), Some(second)) =
                (shape("weight"), shape("0.weight"), shape("1.weight"))
            else {
                return None;
            };
            let conv = node.op.as_conv()?;
            let (&rank, kernel) = (first.first()?, first.get(2).copied().unwrap_or(1));
            let meets = second.get(1) == Some(&rank) && conv.groups == 1 && rank > 0;
            let windowed =
                if kernel == conv.window.kernel { Windowed::First } else { Windowed::Second };
            meets.then_some(Factoring { rank, windowed })
        })
    }
}
