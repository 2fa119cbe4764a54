//! In which order variables lie on the device.
//!
//! Weights of convolutions of all channels are `[o, c, k, k]` in files and on the host, and `[o, k, k, c]` on the
//! device: the order in which NHWC pictures have their patches, and cuDNN's KRSC. Gradients, momenta and averages lie
//! as the variables do, so they are turned where they come up or go down, and no step turns anything. Weights of an
//! output channel stay together, so that rows of grids, and sums over them, are where they were.

use graph::{Graph, Layout};
use std::ops::Range;

/// See the module.
pub(super) struct Order {
    tensors: Vec<Turned>,
}

/// Matrices below each other of which each lies turned round.
struct Turned {
    range: Range<usize>,
    /// Of each, on the host: channels.
    rows: usize,
    /// Of each, on the host: taps.
    columns: usize,
}

impl Order {
    /// Of the parameters of `graph`, which lie at the start of a buffer.
    pub(super) fn of(graph: &Graph) -> Self {
        let layout = Layout::of(graph);
        let turned = graph.nodes().iter().filter_map(|node| {
            let conv = node.op.as_conv()?;
            let (rows, columns) = (conv.input, conv.window.taps());
            let name = format!("{}.weight", node.name);
            let slot = layout.slots().iter().find(|s| s.name == name)?;
            let turned = Turned { range: slot.range.clone(), rows, columns };
            (conv.groups == 1 && rows > 1 && columns > 1).then_some(turned)
        });
        Self { tensors: turned.collect() }
    }

    /// What is to go up, as it lies there. What holds no parameters stays as it is.
    pub(super) fn up(&self, values: &[f32]) -> Vec<f32> {
        self.moved(values, |Turned { rows, columns, .. }, k| k % rows * columns + k / rows)
    }

    /// What came down, as it lies here.
    pub(super) fn down(&self, values: &[f32]) -> Vec<f32> {
        self.moved(values, |Turned { rows, columns, .. }, k| k % columns * rows + k / columns)
    }

    /// Value `k` of every matrix from place `from` of it.
    fn moved(&self, values: &[f32], from: impl Fn(&Turned, usize) -> usize) -> Vec<f32> {
        let mut moved = values.to_vec();
        for turned in &self.tensors {
            // Momenta that are not in use are not there.
            let Some(source) = values.get(turned.range.clone()) else { continue };
            let each = turned.rows * turned.columns;
            let to = moved[turned.range.clone()].chunks_exact_mut(each);
            for (to, source) in to.zip(source.chunks_exact(each)) {
                to.iter_mut().enumerate().for_each(|(k, v)| *v = source[from(turned, k)]);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: what stays, a pointwise one; two filters of two channels under 2 × 2; what stays, a depthwise one and
    /// the head.
    #[test]
    fn channels_come_last() {
        let text = "input 3;a:conv 3>2 k1;b:conv 2>2 k2;c:conv 2>2 k2 g2;gap;f:linear 2>2";
        let order = Order::of(&text.parse().unwrap());
        let host: Vec<f32> = (0..34).map(|k| (k - 6) as f32).collect();
        let device = order.up(&host);
        let filters = [0., 4., 1., 5., 2., 6., 3., 7., 8., 12., 9., 13., 10., 14., 11., 15.];
        assert_eq!(device[6..22], filters);
        assert_eq!((&device[..6], &device[22..]), (&host[..6], &host[22..]));
        assert_eq!(order.down(&device), host);
        assert!(order.up(&[]).is_empty() && order.down(&[0.0]) == [0.0]);
    }
}
