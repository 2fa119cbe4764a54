//! ONNX files: the nodes that each operation of a network becomes.

mod asked;

use crate::protobuf::{
    Message, constant, constants, float, int, ints, operation, tensor, value, whole, word,
};
use anyhow::{Context, Result};
use artifacts::Input;
use graph::op::{Activation, Blur, Shuffle, Split};
use graph::{Array, Graph, Node, Op, Shape, Weights, Window};
use views::{FixedViews, Normalization};

/// Operator set the nodes are written for.
const OPSET: u64 = 13;
/// File format version that belongs to operator set 13.
const IR_VERSION: u64 = 7;

/// A window with so many pixels before and behind each side: above, left, below, right.
fn window(w: Window, pads: [usize; 4]) -> Vec<Message> {
    vec![ints("kernel_shape", &[w.kernel; 2]), ints("strides", &[w.stride; 2]), ints("pads", &pads)]
}

/// What a window reads around a picture of `[h, w]`. The size is known, so no `ceil_mode` is written:
/// runtimes disagree about a position that begins in the margin behind the picture.
fn margins(window: Window, [h, w]: [usize; 2]) -> [usize; 4] {
    [window.before(h), window.before(w), window.behind(h), window.behind(w)]
}

/// An average pool that `reads` so many pixels. Its margin counts as zeros; what a last position of `ceil`
/// reads beyond the margin does not count, so there the margin becomes part of the picture.
fn average_nodes(pool: Window, x: &str, out: &str, [h, w]: [usize; 2]) -> Vec<Message> {
    let (p, pads) = (pool.before(h), margins(pool, [h, w]));
    let average = |x: &str, pads: [usize; 4], counts: bool| {
        let mut attributes = window(pool, pads);
        attributes.push(int("count_include_pad", usize::from(counts)));
        operation("AveragePool", &[x], out, attributes)
    };
    if pads == [p; 4] {
        return vec![average(x, pads, true)];
    }
    let beyond = [0, 0, pads[2] - p, pads[3] - p];
    if p == 0 {
        return vec![average(x, beyond, false)];
    }
    let [sides, wide] = ["sides", "wide"].map(|s| format!("{out}.{s}"));
    let p = p as i64;
    vec![
        constants(&sides, &[0, 0, p, p, 0, 0, p, p]),
        operation("Pad", &[x, &sides], &wide, Vec::new()),
        average(&wide, beyond, false),
    ]
}

/// The nodes and constants of one network node; `x` are the names of its inputs, `read` the shape of the
/// first.
fn network_node(node: &Node, x: &[&str], out: &str, read: Shape) -> Vec<Message> {
    let [h, w, _] = read;
    let weight = format!("{}.weight", node.name);
    let bias_name = format!("{}.bias", node.name);
    let mut inputs = x.to_vec();
    match node.op {
        Op::Input(_) => Vec::new(),
        Op::Conv(conv) => {
            inputs.push(&weight);
            if conv.bias {
                inputs.push(&bias_name);
            }
            let mut attributes = window(conv.window, margins(conv.window, [h, w]));
            attributes.push(int("group", conv.groups));
            vec![operation("Conv", &inputs, out, attributes)]
        }
        Op::Linear(linear) => {
            let flat = format!("{out}.flat");
            let mut inputs = vec![flat.as_str(), weight.as_str()];
            if linear.bias {
                inputs.push(&bias_name);
            }
            let gemm = format!("{out}.linear");
            vec![
                operation("Flatten", x, &flat, vec![int("axis", 1)]),
                operation("Gemm", &inputs, &gemm, vec![int("transB", 1)]),
                // Like every other result, a picture of one pixel.
                operation("Unsqueeze", &[&gemm, "last axes"], out, Vec::new()),
            ]
        }
        Op::BatchNorm(norm) => {
            let names = ["weight", "bias", "running_mean", "running_var"]
                .map(|end| format!("{}.{end}", node.name));
            inputs.extend(names.iter().map(String::as_str));
            let epsilon = float("epsilon", norm.epsilon);
            vec![operation("BatchNormalization", &inputs, out, vec![epsilon])]
        }
        Op::ScaleShift(_) => {
            // The parameters are vectors; as [C, 1, 1] they go along the channels.
            let [w, b, scaled] = ["scale", "shift", "scaled"].map(|s| format!("{out}.{s}"));
            vec![
                operation("Unsqueeze", &[&weight, "pixel axes"], &w, Vec::new()),
                operation("Unsqueeze", &[&bias_name, "pixel axes"], &b, Vec::new()),
                operation("Mul", &[x[0], &w], &scaled, Vec::new()),
                operation("Add", &[&scaled, &b], out, Vec::new()),
            ]
        }
        Op::Activation(f) => activation_nodes(f, x[0], out),
        Op::MaxPool(p) => {
            vec![operation("MaxPool", x, out, window(p.0, margins(p.0, [h, w])))]
        }
        Op::AvgPool(p) => average_nodes(p.0, x[0], out, [h, w]),
        Op::GlobalAvgPool(_) => vec![operation("GlobalAveragePool", x, out, Vec::new())],
        Op::Blur(blur) => blur_nodes(blur, x[0], out, read),
        Op::Add(_) => vec![operation("Add", x, out, Vec::new())],
        Op::Mul(_) => vec![operation("Mul", x, out, Vec::new())],
        Op::Concat(_) => vec![operation("Concat", x, out, vec![int("axis", 1)])],
        Op::Split(split) => split_nodes(split, x[0], out),
        Op::Shuffle(shuffle) => shuffle_nodes(shuffle, x[0], out, read),
    }
}

/// Hardswish and silu by their definitions: operator set 13 has neither.
fn activation_nodes(f: Activation, x: &str, out: &str) -> Vec<Message> {
    let [moved, gate, product] = ["moved", "gate", "product"].map(|s| format!("{out}.{s}"));
    match f {
        Activation::Relu => vec![operation("Relu", &[x], out, Vec::new())],
        Activation::Relu6 => vec![operation("Clip", &[x, "zero", "six"], out, Vec::new())],
        Activation::Hardswish => vec![
            operation("Add", &[x, "three"], &moved, Vec::new()),
            operation("Clip", &[&moved, "zero", "six"], &gate, Vec::new()),
            operation("Mul", &[x, &gate], &product, Vec::new()),
            operation("Div", &[&product, "six"], out, Vec::new()),
        ],
        Activation::Silu => vec![
            operation("Sigmoid", &[x], &gate, Vec::new()),
            operation("Mul", &[x, &gate], out, Vec::new()),
        ],
        Activation::Sigmoid => vec![operation("Sigmoid", &[x], out, Vec::new())],
        Activation::Hardsigmoid => vec![
            operation("Add", &[x, "three"], &moved, Vec::new()),
            operation("Clip", &[&moved, "zero", "six"], &gate, Vec::new()),
            operation("Div", &[&gate, "six"], out, Vec::new()),
        ],
    }
}

fn split_nodes(split: Split, x: &str, out: &str) -> Vec<Message> {
    let (from, to) = (format!("{out}.from"), format!("{out}.to"));
    vec![
        constants(&from, &[split.start as i64]),
        constants(&to, &[split.end as i64]),
        operation("Slice", &[x, &from, &to, "channel axis"], out, Vec::new()),
    ]
}

/// Channels as [groups, channels in a group], the two exchanged, flat again.
fn shuffle_nodes(shuffle: Shuffle, x: &str, out: &str, [h, w, c]: Shape) -> Vec<Message> {
    let [shape, apart, turned, back] =
        ["shape", "apart", "turned", "back"].map(|s| format!("{out}.{s}"));
    let groups = shuffle.groups;
    let sizes = |sizes: &[usize]| -> Vec<i64> {
        std::iter::once(-1).chain(sizes.iter().map(|n| *n as i64)).collect()
    };
    vec![
        constants(&shape, &sizes(&[groups, c / groups, h, w])),
        operation("Reshape", &[x, &shape], &apart, Vec::new()),
        operation("Transpose", &[&apart], &turned, vec![ints("perm", &[0, 2, 1, 3, 4])]),
        constants(&back, &sizes(&[c, h, w])),
        operation("Reshape", &[&turned, &back], out, Vec::new()),
    ]
}

/// The mirrored margin, then a convolution of each channel with the same filter.
fn blur_nodes(blur: Blur, x: &str, out: &str, [_, _, c]: Shape) -> Vec<Message> {
    let [sides, wide, filter] = ["sides", "wide", "filter"].map(|s| format!("{out}.{s}"));
    let shares: Vec<f32> = blur.taps.shares().collect();
    let k = shares.len();
    let square = shares.iter().flat_map(|a| shares.iter().map(move |b| a * b));
    let values = square.collect::<Vec<f32>>().repeat(c);
    let array = Array { shape: vec![c, 1, k, k], values };
    let (before, behind) = (blur.taps.before() as i64, blur.taps.behind() as i64);
    let attributes = vec![
        ints("kernel_shape", &[k, k]),
        ints("strides", &[blur.stride, blur.stride]),
        int("group", c),
    ];
    vec![
        constants(&sides, &[0, 0, before, before, 0, 0, behind, behind]),
        operation("Pad", &[x, &sides], &wide, vec![word("mode", "reflect")]),
        constant(&filter, tensor("", &array)),
        operation("Conv", &[&wide, &filter], out, attributes),
    ]
}

/// A model file. Input `pictures` `[N, 3, size, size]`, values 0..1; output `logits` `[N, classes]`.
/// `mean` and `std` are taken off inside. `metadata` is stored as it is.
///
/// # Errors
/// Weights that do not fit the graph, or a size that does not.
pub(crate) fn file(
    graph: &Graph,
    weights: &Weights,
    input: &Input,
    views: &FixedViews,
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let (size, Normalization { mean, std }) = (input.preparation.size, input.normalization);
    let shapes = graph.shapes(size)?;
    let colours = |v: [f32; 3]| Array { shape: vec![1, 3, 1, 1], values: v.to_vec() };
    let scalar = |v: f32| Array { shape: Vec::new(), values: vec![v] };
    let name = |i| if i == 0 { "normalized".to_owned() } else { format!("node{i}") };
    let names: Vec<String> = (0..shapes.len()).map(name).collect();
    let (seen, answers) = if views.is_plain() { ("pictures", "logits") } else { ("seen", "each") };
    let mut body = Message::default();
    if !views.is_plain() {
        let nodes = asked::seen(views, size, "pictures", seen);
        body = nodes.into_iter().fold(body, |m, n| m.message(1, n));
    }
    body = body
        .message(1, operation("Sub", &[seen, "mean"], "centered", Vec::new()))
        .message(1, operation("Div", &["centered", "std"], "normalized", Vec::new()));
    for (node, out) in graph.nodes().iter().zip(&names) {
        let inputs: Vec<&str> = node.inputs.iter().map(|j| names[*j].as_str()).collect();
        let read = shapes[node.inputs.first().copied().unwrap_or(0)];
        let nodes = network_node(node, &inputs, out, read);
        body = nodes.into_iter().fold(body, |m, n| m.message(1, n));
    }
    let last = names.last().map_or("", String::as_str);
    body = body.message(1, operation("Flatten", &[last], answers, vec![int("axis", 1)]));
    if !views.is_plain() {
        let nodes = asked::mean(views, graph.classes(), answers, "logits");
        body = nodes.into_iter().fold(body, |m, n| m.message(1, n));
    }
    body = body.text(2, "crumb");
    let constants = [
        ("mean", colours(mean)),
        ("std", colours(std)),
        ("zero", scalar(0.0)),
        ("six", scalar(6.0)),
        ("three", scalar(3.0)),
    ];
    let any = |f: fn(&Op) -> bool| graph.nodes().iter().any(|n| f(&n.op));
    // Runtimes warn about constants that nothing reads.
    let swishes =
        any(|op| matches!(op, Op::Activation(Activation::Hardswish | Activation::Hardsigmoid)));
    let clips = any(|op| *op == Op::Activation(Activation::Relu6));
    let used = constants.iter().take(match (swishes, clips) {
        (true, _) => 5,
        (false, true) => 4,
        (false, false) => 2,
    });
    body = used.fold(body, |m, (n, a)| m.message(5, tensor(n, a)));
    for (name, axes, used) in [
        ("last axes", &[2, 3][..], any(|op| matches!(op, Op::Linear(_)))),
        ("pixel axes", &[1, 2], any(|op| matches!(op, Op::ScaleShift(_)))),
        ("channel axis", &[1], any(|op| matches!(op, Op::Split(_)))),
    ] {
        if used {
            body = body.message(5, whole(name, axes));
        }
    }
    for name in graph.parameters().map(|p| p.name) {
        let array = weights.get(&name).with_context(|| format!("tensor {name} is missing"))?;
        body = body.message(5, tensor(&name, array));
    }
    body = body
        .message(11, value("pictures", &[3, size, size]))
        .message(12, value("logits", &[graph.classes()]));
    let model = Message::default().int(1, IR_VERSION).text(2, "crumb").message(7, body);
    let model = model.message(8, Message::default().text(1, "").int(2, OPSET));
    let entry = |m: Message, (k, v): &(&str, String)| {
        m.message(14, Message::default().text(1, k).text(2, v))
    };
    Ok(metadata.iter().fold(model, entry).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use graph::op::{AvgPool, BatchNorm, Conv, MaxPool};

    /// The nodes of one operation that reads 4 channels of `side` × `side`.
    fn written(op: impl Into<Op>, side: usize) -> Vec<Message> {
        let node = Node { name: "n".to_owned(), op: op.into(), inputs: vec![0] };
        network_node(&node, &["x"], "y", [side, side, 4])
    }

    fn holds(node: &Message, part: &Message) -> bool {
        node.0.windows(part.0.len()).any(|w| w == part.0)
    }

    /// By hand, see `graph::Window::behind`.
    #[test]
    fn pools_have_explicit_margins() {
        let ceil = Window::ceil;
        for (window, side, pads) in [
            // 13 px: windows begin at −1, 1, …, 11; one at 13 would read the margin alone.
            (ceil(2, 2, 1), 13, [1, 1, 1, 1]),
            // 12 px: windows begin at −1, 1, …, 11, and the last reads up to 13.
            (ceil(3, 2, 1), 12, [1, 1, 2, 2]),
            (ceil(3, 2, 0), 12, [0, 0, 1, 1]),
            (ceil(3, 2, 0), 13, [0, 0, 0, 0]),
            (Window::new(3, 2, 1), 12, [1, 1, 1, 1]),
        ] {
            let [node] = &written(MaxPool(window), side)[..] else { panic!("one node") };
            assert!(holds(node, &ints("pads", &pads)), "{window:?} on {side} px: {node:?}");
            let mode = Message::default().text(1, "ceil_mode");
            assert!(!holds(node, &mode), "{window:?} on {side} px: {node:?}");
        }
    }

    /// By hand, see `graph::Window::before`: 12 px at stride 2 are 6 positions, which with windows of 5 read
    /// 3 pixels more, one of them before; 13 px are 7 positions and read 4 more.
    #[test]
    fn convolutions_have_explicit_margins() {
        let conv = |window| Conv { input: 4, output: 4, window, groups: 4, bias: false };
        for (window, side, pads) in [
            (Window::same(5, 2), 12, [1, 1, 2, 2]),
            (Window::same(5, 2), 13, [2, 2, 2, 2]),
            (Window::new(5, 2, 2), 12, [2, 2, 2, 2]),
        ] {
            let [node] = &written(conv(window), side)[..] else { panic!("one node") };
            assert!(holds(node, &ints("pads", &pads)), "{window:?} on {side} px: {node:?}");
        }
    }

    /// What a last position reads beyond the margin is not divided by: it is a margin that does not count.
    #[test]
    fn averages_count_their_margin_and_nothing_beyond() {
        let ceil = Window::ceil;
        for (window, side, nodes, pads, counts) in [
            (Window::new(3, 2, 1), 12, 1, [1, 1, 1, 1], 1),
            (ceil(2, 2, 1), 13, 1, [1, 1, 1, 1], 1),
            (ceil(3, 2, 0), 12, 1, [0, 0, 1, 1], 0),
            (ceil(3, 2, 1), 12, 3, [0, 0, 1, 1], 0),
        ] {
            let all = written(AvgPool(window), side);
            assert_eq!(all.len(), nodes, "{window:?} on {side} px");
            let pool = &all[nodes - 1];
            assert!(holds(pool, &ints("pads", &pads)), "{window:?} on {side} px: {pool:?}");
            assert!(holds(pool, &int("count_include_pad", counts)), "{window:?} on {side} px");
        }
        let all = written(AvgPool(ceil(3, 2, 1)), 12);
        assert!(holds(&all[0], &whole("", &[0, 0, 1, 1, 0, 0, 1, 1])), "{:?}", all[0]);
    }

    #[test]
    fn a_batch_norm_has_its_own_epsilon() {
        for epsilon in [1e-5, 1e-3] {
            let [node] = &written(BatchNorm { epsilon, ..BatchNorm::new(4) }, 9)[..] else {
                panic!("one node")
            };
            let value = Message::default().float(2, epsilon);
            assert!(holds(node, &value), "{epsilon}: {node:?}");
        }
    }
}
