//! ONNX files: the few protobuf messages that a convolutional network needs.
//!
//! Field numbers are those of `onnx.proto` (ONNX 1.x; they never change). A message is a list of
//! fields; a field is a tag `number << 3 | wire type` and a varint (wire type 0), four bytes (5) or
//! a length and bytes (2).

use anyhow::{Context, Result};
use graph::op::{Activation, Shuffle, Split};
use graph::{Array, Graph, Node, Op, Shape, Weights, Window};

/// Operator set the nodes are written for.
const OPSET: u64 = 13;
/// File format version that belongs to operator set 13.
const IR_VERSION: u64 = 7;
const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// A protobuf message being written.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    fn int(mut self, field: u64, v: u64) -> Self {
        self.varint(field << 3);
        self.varint(v);
        self
    }

    fn float(mut self, field: u64, v: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(v.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, v: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(v.len() as u64);
        self.0.extend(v);
        self
    }

    fn text(self, field: u64, v: &str) -> Self {
        self.bytes(field, v.as_bytes())
    }

    fn message(self, field: u64, v: Self) -> Self {
        self.bytes(field, &v.0)
    }
}

/// An attribute of whole numbers.
fn ints(name: &str, values: &[usize]) -> Message {
    let attribute = Message::default().text(1, name);
    values.iter().fold(attribute, |m, v| m.int(8, *v as u64)).int(20, 7)
}

/// An attribute of one whole number.
fn int(name: &str, value: usize) -> Message {
    Message::default().text(1, name).int(3, value as u64).int(20, 2)
}

fn tensor(name: &str, array: &Array) -> Message {
    let raw: Vec<u8> = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dims = array.shape.iter().fold(Message::default(), |m, d| m.int(1, *d as u64));
    dims.int(2, FLOAT).text(8, name).bytes(9, &raw)
}

/// An input or output `[N, …]`, the batch free.
fn value(name: &str, sizes: &[usize]) -> Message {
    let batch = Message::default().message(1, Message::default().text(2, "N"));
    let size = |m: Message, d: &usize| m.message(1, Message::default().int(1, *d as u64));
    let shape = sizes.iter().fold(batch, size);
    let kind = Message::default().int(1, FLOAT).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, kind))
}

fn operation(kind: &str, inputs: &[&str], output: &str, attributes: Vec<Message>) -> Message {
    let node = inputs.iter().fold(Message::default(), |m, i| m.text(1, i)).text(2, output);
    attributes.into_iter().fold(node.text(3, output).text(4, kind), |m, a| m.message(5, a))
}

/// A window with so many pixels before and behind each side: above, left, below, right.
fn window(w: Window, pads: [usize; 4]) -> Vec<Message> {
    vec![ints("kernel_shape", &[w.kernel; 2]), ints("strides", &[w.stride; 2]), ints("pads", &pads)]
}

/// What a window reads around a picture of `[h, w]`. The size is known, so no `ceil_mode` is written:
/// runtimes disagree about a position that begins in the margin behind the picture.
fn margins(window: Window, [h, w]: [usize; 2]) -> [usize; 4] {
    [window.padding, window.padding, window.behind(h), window.behind(w)]
}

/// An average pool that `reads` so many pixels. Its margin counts as zeros; what a last position of `ceil`
/// reads beyond the margin does not count, so there the margin becomes part of the picture.
fn average_nodes(pool: Window, x: &str, out: &str, [h, w]: [usize; 2]) -> Vec<Message> {
    let (p, pads) = (pool.padding, margins(pool, [h, w]));
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

/// Whole numbers under a name.
fn whole(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = Message::default().int(1, values.len() as u64);
    tensor.int(2, INT64).text(8, name).bytes(9, &raw)
}

/// A node that gives whole numbers.
fn constants(out: &str, values: &[i64]) -> Message {
    let value = Message::default().text(1, "value").message(5, whole("", values)).int(20, 4);
    operation("Constant", &[], out, vec![value])
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
            let mut attributes = window(conv.window, [conv.window.padding; 4]);
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
            let epsilon = Message::default().text(1, "epsilon").float(2, norm.epsilon).int(20, 1);
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
        Op::Add(_) => vec![operation("Add", x, out, Vec::new())],
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

/// A model file. Input `pictures` `[N, 3, size, size]`, values 0..1; output `logits` `[N, classes]`.
/// `mean` and `std` are taken off inside. `metadata` is stored as it is.
///
/// # Errors
/// Weights that do not fit the graph, or a size that does not.
pub(crate) fn file(
    graph: &Graph,
    weights: &Weights,
    size: usize,
    (mean, std): ([f32; 3], [f32; 3]),
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let shapes = graph.shapes(size)?;
    let colours = |v: [f32; 3]| Array { shape: vec![1, 3, 1, 1], values: v.to_vec() };
    let scalar = |v: f32| Array { shape: Vec::new(), values: vec![v] };
    let name = |i| if i == 0 { "normalized".to_owned() } else { format!("node{i}") };
    let names: Vec<String> = (0..shapes.len()).map(name).collect();
    let mut body = Message::default()
        .message(1, operation("Sub", &["pictures", "mean"], "centered", Vec::new()))
        .message(1, operation("Div", &["centered", "std"], "normalized", Vec::new()));
    for (node, out) in graph.nodes().iter().zip(&names) {
        let inputs: Vec<&str> = node.inputs.iter().map(|j| names[*j].as_str()).collect();
        let read = shapes[node.inputs.first().copied().unwrap_or(0)];
        let nodes = network_node(node, &inputs, out, read);
        body = nodes.into_iter().fold(body, |m, n| m.message(1, n));
    }
    let last = names.last().map_or("", String::as_str);
    body = body.message(1, operation("Flatten", &[last], "logits", vec![int("axis", 1)]));
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
    let swishes = any(|op| *op == Op::Activation(Activation::Hardswish));
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
    use graph::op::{AvgPool, BatchNorm, MaxPool};

    /// The nodes of one operation that reads 4 channels of `side` × `side`.
    fn written(op: impl Into<Op>, side: usize) -> Vec<Message> {
        let node = Node { name: "n".to_owned(), op: op.into(), inputs: vec![0] };
        network_node(&node, &["x"], "y", [4, side, side])
    }

    fn holds(node: &Message, part: &Message) -> bool {
        node.0.windows(part.0.len()).any(|w| w == part.0)
    }

    /// By hand, see `graph::Window::behind`.
    #[test]
    fn pools_have_explicit_margins() {
        let ceil = |k, s, p| Window { ceil: true, ..Window::new(k, s, p) };
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

    /// What a last position reads beyond the margin is not divided by: it is a margin that does not count.
    #[test]
    fn averages_count_their_margin_and_nothing_beyond() {
        let ceil = |k, s, p| Window { ceil: true, ..Window::new(k, s, p) };
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
