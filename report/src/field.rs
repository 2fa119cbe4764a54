//! What a layer sees of the picture: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural
//! networks", section "Computing the receptive field size".

use graph::op::{Op, Window};
use graph::{Graph, Result};

/// A layer that moves a window over its map.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    /// Its name, or its text where it has none.
    pub(crate) layer: String,
    /// Side of its window.
    pub(crate) kernel: usize,
    /// Pixels of its map from one position of the window to the next.
    pub(crate) stride: usize,
    /// Channels behind it.
    pub(crate) channels: usize,
    /// Side of the map behind it.
    pub(crate) map: usize,
    /// Side of the square of the picture, margins counted, that a value behind it depends on.
    pub(crate) field: usize,
}

/// Side of the window of an operation and its step; None where each value depends on those at its place alone. The
/// global mean has the window of its whole map, and is left to the reader: behind it there is no map.
fn window(op: &Op) -> Option<(usize, usize)> {
    let of = |w: &Window| Some((w.kernel, w.stride));
    match op {
        Op::Conv(conv) => of(&conv.window),
        Op::MaxPool(pool) => of(&pool.0),
        Op::AvgPool(pool) => of(&pool.0),
        Op::Blur(blur) => Some((blur.taps.values().len(), blur.stride)),
        Op::Input(_)
        | Op::Activation(_)
        | Op::Add(_)
        | Op::BatchNorm(_)
        | Op::Concat(_)
        | Op::GlobalAvgPool(_)
        | Op::Linear(_)
        | Op::Mul(_)
        | Op::ScaleShift(_)
        | Op::Shuffle(_)
        | Op::Split(_) => None,
    }
}

/// Every layer with a window, for pictures of `size` × `size`, in the order of the network. A layer that reads several
/// others sees what the one of them sees that sees most.
///
/// # Errors
/// As [`Graph::shapes`].
pub(crate) fn seen(graph: &Graph, size: usize) -> Result<Vec<Seen>> {
    let shapes = graph.shapes(size)?;
    // Of each node: side of its field, and pixels of the picture from one value to the next.
    let mut fields: Vec<(usize, usize)> = Vec::new();
    let mut all = Vec::new();
    for (node, [map, _, channels]) in graph.nodes().iter().zip(shapes) {
        let before = node.inputs.iter().map(|i| fields[*i]);
        let (mut field, mut step) = before.max().unwrap_or((1, 1));
        if let Some((kernel, stride)) = window(&node.op) {
            field += (kernel - 1) * step;
            step *= stride;
            let layer =
                if node.name.is_empty() { node.op.about().text() } else { node.name.clone() };
            all.push(Seen { layer, kernel, stride, channels, map, field });
        }
        fields.push((field, step));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, r + (k − 1) · j and j · s: 3, j 1; pool 4, j 2; 3 × 3 makes 8; pool 10, j 4; 3 × 3 makes 18.
    #[test]
    fn fields_by_hand() {
        let text = "input 3;a:conv 3>4 k3 p1;relu;max k2 s2;b:conv 4>6 k3 p1;max k2 s2;c:conv 6>6 k3 p1 g6;gap;\
                    f:linear 6>2 bias";
        let graph: Graph = text.parse().unwrap();
        let found = seen(&graph, 36).unwrap();
        let sides: Vec<_> = found.iter().map(|s| (s.field, s.map, s.channels)).collect();
        assert_eq!(sides, [(3, 36, 4), (4, 18, 4), (8, 18, 6), (10, 9, 6), (18, 9, 6)]);
        assert_eq!((found[0].layer.as_str(), found[1].layer.as_str()), ("a", "max k2 s2"));
    }

    /// ResNet-18 by hand: 7 × 7 and a pool of 3, each of stride 2, see 7 + 2 · 2 = 11 at step 4; four 3 × 3 make
    /// 11 + 4 · 8 = 43; the first of the next stage goes at step 4, the other three at 8: 43 + 8 + 3 · 16 = 99; then
    /// 99 + 16 + 3 · 32 = 211 and 211 + 32 + 3 · 64 = 435. The shortcuts beside them see less.
    #[test]
    fn of_branches_the_wider_counts() {
        let family = graph::families::find("resnet18").unwrap();
        let graph = family.build(&graph::families::Knobs::standard(11)).unwrap();
        let widest = seen(&graph, 224).unwrap().into_iter().map(|s| s.field).max();
        assert_eq!(widest, Some(435));
    }
}
