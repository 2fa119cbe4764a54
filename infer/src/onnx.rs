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
#[derive(Default)]
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

fn window(w: Window) -> Vec<Message> {
    vec![
        ints("kernel_shape", &[w.kernel; 2]),
        ints("strides", &[w.stride; 2]),
        ints("pads", &[w.padding; 4]),
    ]
}

fn pool(w: Window) -> Vec<Message> {
    let mut attributes = window(w);
    attributes.push(int("ceil_mode", usize::from(w.ceil)));
    attributes
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

/// The nodes and constants of one network node with an output of `size`; `x` are the names of its
/// inputs.
fn network_node(node: &Node, x: &[&str], out: &str, size: Shape) -> Vec<Message> {
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
            let mut attributes = window(conv.window);
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
        Op::MaxPool(p) => vec![operation("MaxPool", x, out, pool(p.0))],
        Op::AvgPool(p) => {
            let mut attributes = pool(p.0);
            attributes.push(int("count_include_pad", 1));
            vec![operation("AveragePool", x, out, attributes)]
        }
        Op::GlobalAvgPool(_) => vec![operation("GlobalAveragePool", x, out, Vec::new())],
        Op::Add(_) => vec![operation("Add", x, out, Vec::new())],
        Op::Concat(_) => vec![operation("Concat", x, out, vec![int("axis", 1)])],
        Op::Split(split) => split_nodes(split, x[0], out),
        Op::Shuffle(shuffle) => shuffle_nodes(shuffle, x[0], out, size),
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
fn shuffle_nodes(shuffle: Shuffle, x: &str, out: &str, [c, h, w]: Shape) -> Vec<Message> {
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
    for ((node, out), shape) in graph.nodes().iter().zip(&names).zip(&shapes) {
        let inputs: Vec<&str> = node.inputs.iter().map(|j| names[*j].as_str()).collect();
        let nodes = network_node(node, &inputs, out, *shape);
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
