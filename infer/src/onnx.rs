//! ONNX files: the few protobuf messages that a convolutional network needs.
//!
//! Field numbers are those of `onnx.proto` (ONNX 1.x; they never change). A message is a list of
//! fields; a field is a tag `number << 3 | wire type` and a varint (wire type 0), four bytes (5) or
//! a length and bytes (2).

use anyhow::{Context, Result};
use common::array::Array;
use common::graph::{EPSILON, Graph, Node, Op, Weights, Window};

/// Operator set the nodes are written for.
const OPSET: u64 = 13;
/// File format version that belongs to operator set 13.
const IR_VERSION: u64 = 7;
const FLOAT: u64 = 1;

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

/// The nodes and constants of one network node; `x` are the names of its inputs.
fn network_node(node: &Node, x: &[&str], out: &str) -> Vec<Message> {
    let weight = format!("{}.weight", node.name);
    let bias_name = format!("{}.bias", node.name);
    let mut inputs = x.to_vec();
    match node.op {
        Op::Input { .. } => Vec::new(),
        Op::Conv { window: w, groups, bias, .. } => {
            inputs.push(&weight);
            if bias {
                inputs.push(&bias_name);
            }
            let mut attributes = window(w);
            attributes.push(int("group", groups));
            vec![operation("Conv", &inputs, out, attributes)]
        }
        Op::Linear { bias, .. } => {
            let flat = format!("{out}.flat");
            let mut inputs = vec![flat.as_str(), weight.as_str()];
            if bias {
                inputs.push(&bias_name);
            }
            vec![
                operation("Flatten", x, &flat, vec![int("axis", 1)]),
                operation("Gemm", &inputs, out, vec![int("transB", 1)]),
            ]
        }
        Op::BatchNorm { .. } => {
            let names = ["weight", "bias", "running_mean", "running_var"]
                .map(|end| format!("{}.{end}", node.name));
            inputs.extend(names.iter().map(String::as_str));
            let epsilon = Message::default().text(1, "epsilon").float(2, EPSILON).int(20, 1);
            vec![operation("BatchNormalization", &inputs, out, vec![epsilon])]
        }
        Op::Relu => vec![operation("Relu", x, out, Vec::new())],
        Op::Relu6 => vec![operation("Clip", &[x[0], "zero", "six"], out, Vec::new())],
        Op::MaxPool(w) => vec![operation("MaxPool", x, out, window(w))],
        Op::GlobalAvgPool => vec![operation("GlobalAveragePool", x, out, Vec::new())],
        Op::Add => vec![operation("Add", x, out, Vec::new())],
    }
}

/// A model file. Input `pictures` `[N, 3, size, size]`, values 0..1; output `logits` `[N, classes]`.
/// `mean` and `deviation` are taken off inside. `metadata` is stored as it is.
///
/// # Errors
/// A network whose last node is no linear layer.
pub(crate) fn file(
    graph: &Graph,
    weights: &Weights,
    size: usize,
    (mean, deviation): ([f32; 3], [f32; 3]),
    metadata: &[(&str, String)],
) -> Result<Vec<u8>> {
    let last = graph.nodes().len() - 1;
    let linear = matches!(graph.nodes()[last].op, Op::Linear { .. });
    anyhow::ensure!(linear, "only networks that end in a linear layer can be exported");
    let colours = |v: [f32; 3]| Array { shape: vec![1, 3, 1, 1], values: v.to_vec() };
    let scalar = |v: f32| Array { shape: Vec::new(), values: vec![v] };
    let names: Vec<String> = (0..=last)
        .map(|i| match i {
            0 => "normalized".to_owned(),
            i if i == last => "logits".to_owned(),
            i => format!("node{i}"),
        })
        .collect();
    let mut body = Message::default()
        .message(1, operation("Sub", &["pictures", "mean"], "centered", Vec::new()))
        .message(1, operation("Div", &["centered", "deviation"], "normalized", Vec::new()));
    for (node, out) in graph.nodes().iter().zip(&names) {
        let inputs: Vec<&str> = node.inputs.iter().map(|j| names[*j].as_str()).collect();
        body = network_node(node, &inputs, out).into_iter().fold(body, |m, n| m.message(1, n));
    }
    body = body.text(2, "crumb");
    let constants = [
        ("mean", colours(mean)),
        ("deviation", colours(deviation)),
        ("zero", scalar(0.0)),
        ("six", scalar(6.0)),
    ];
    let clips = graph.nodes().iter().any(|n| n.op == Op::Relu6);
    let used = constants.iter().take(if clips { 4 } else { 2 });
    body = used.fold(body, |m, (n, a)| m.message(5, tensor(n, a)));
    for (name, _) in graph.nodes().iter().flat_map(|n| [n.parameters(), n.buffers()].concat()) {
        let array = weights.get(&name).with_context(|| name.clone())?;
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
