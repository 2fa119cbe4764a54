//! The views of a picture, whose mean logits are the answer, as nodes around the network.
//!
//! A view reads rows and columns apart: a gather where it reads them as they are, else a product with a matrix that
//! has two numbers a column. All views of all pictures are one batch for the network, view after view.

use crate::protobuf::{Message, constant, constants, int, ints, operation, tensor};
use graph::Array;
use views::{FixedViews, Tap};

/// The nodes that make of `pictures` `[N, 3, size, size]` the batch `[views · N, 3, size, size]` called `out`.
pub(super) fn seen(views: &FixedViews, size: usize, pictures: &str, out: &str) -> Vec<Message> {
    let mut nodes = Vec::new();
    let mut seen = Vec::new();
    for k in 0..views.count() {
        let mut x = pictures.to_owned();
        for ((taps, axis), side) in views.taps(k, size).iter().zip([2, 3]).zip(["rows", "columns"])
        {
            let y = format!("{out}.{k}.{side}");
            let new = along(&x, taps, axis, &y);
            if !new.is_empty() {
                (x, nodes) = (y, nodes.into_iter().chain(new).collect());
            }
        }
        seen.push(x);
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    nodes.push(operation("Concat", &seen, out, vec![int("axis", 0)]));
    nodes
}

/// The nodes that read `x` by `taps` along an axis; none where that changes nothing.
fn along(x: &str, taps: &[Tap], axis: usize, out: &str) -> Vec<Message> {
    let reads = format!("{out}.reads");
    if taps.iter().enumerate().all(|(i, tap)| (tap.0, tap.2) == (i, 0.0)) {
        return Vec::new();
    }
    if taps.iter().all(|tap| tap.2 == 0.0) {
        let whole: Vec<i64> = taps.iter().map(|tap| tap.0 as i64).collect();
        let gather = operation("Gather", &[x, &reads], out, vec![int("axis", axis)]);
        return vec![constants(&reads, &whole), gather];
    }
    // Rows are made from the left, columns from the right.
    let n = taps.len();
    let mut values = vec![0.0; n * n];
    for (to, (first, second, weight)) in taps.iter().enumerate() {
        for (from, share) in [(first, 1.0 - weight), (second, *weight)] {
            values[if axis == 2 { to * n + from } else { from * n + to }] += share;
        }
    }
    let factors = if axis == 2 { [reads.as_str(), x] } else { [x, reads.as_str()] };
    let matrix = Array { shape: vec![n, n], values };
    vec![constant(&reads, tensor("", &matrix)), operation("MatMul", &factors, out, Vec::new())]
}

/// The nodes that make of the logits `x` `[views · N, classes]` their means `out` `[N, classes]`.
pub(super) fn mean(views: &FixedViews, classes: usize, x: &str, out: &str) -> Vec<Message> {
    let [shape, apart] = ["shape", "apart"].map(|s| format!("{out}.{s}"));
    vec![
        constants(&shape, &[views.count() as i64, -1, classes as i64]),
        operation("Reshape", &[x, &shape], &apart, Vec::new()),
        operation("ReduceMean", &[&apart], out, vec![ints("axes", &[0]), int("keepdims", 0)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(node: &Message, part: &Message) -> bool {
        node.0.windows(part.0.len()).any(|w| w == part.0)
    }

    /// By hand, of 4 pixels: a mirrored picture reads 3 2 1 0; the one a pixel above reads 0 0 1 2; the middle two
    /// pixels, 1 and 2, enlarged to four, lie at 0.75, 1.25, 1.75, 2.25.
    #[test]
    fn views_read_what_they_should() {
        let taps = |text: &str, k| text.parse::<FixedViews>().unwrap().taps(k, 4);
        let [rows, columns] = taps("flip", 1);
        assert!(along("x", &rows, 2, "y").is_empty());
        let nodes = along("x", &columns, 3, "y");
        assert!(holds(&nodes[0], &crate::protobuf::whole("", &[3, 2, 1, 0])));
        assert!(holds(&nodes[1], &int("axis", 3)));
        let nodes = along("x", &taps("shift=1", 1)[0], 2, "y");
        assert!(holds(&nodes[0], &crate::protobuf::whole("", &[0, 0, 1, 2])));
        let zoomed = &taps("zoom=1", 1)[1];
        let across = [
            0.25, 0.0, 0.0, 0.0, 0.75, 0.75, 0.25, 0.0, 0.0, 0.25, 0.75, 0.75, 0.0, 0.0, 0.0, 0.25,
        ];
        let matrix = Array { shape: vec![4, 4], values: across.to_vec() };
        let nodes = along("x", zoomed, 3, "y");
        assert!(holds(&nodes[0], &tensor("", &matrix)));
        assert!(holds(&nodes[1], &Message::default().text(1, "x").text(1, "y.reads")));
        // The rows by the same numbers from the other side: the matrix turned.
        let turned = (0..16).map(|i| across[i % 4 * 4 + i / 4]).collect();
        let nodes = along("x", zoomed, 2, "y");
        assert!(holds(&nodes[0], &tensor("", &Array { shape: vec![4, 4], values: turned })));
    }
}
