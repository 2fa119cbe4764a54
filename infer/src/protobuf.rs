//! The protobuf messages of ONNX files: tensors, attributes, values, operations.
//!
//! Field numbers are those of `onnx.proto` (ONNX 1.x; they never change). A message is a list of
//! fields; a field is a tag `number << 3 | wire type` and a varint (wire type 0), four bytes (5) or
//! a length and bytes (2).

use graph::Array;

const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// A protobuf message being written.
#[derive(Debug, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    pub(crate) fn int(mut self, field: u64, v: u64) -> Self {
        self.varint(field << 3);
        self.varint(v);
        self
    }

    pub(crate) fn float(mut self, field: u64, v: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(v.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, v: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(v.len() as u64);
        self.0.extend(v);
        self
    }

    pub(crate) fn text(self, field: u64, v: &str) -> Self {
        self.bytes(field, v.as_bytes())
    }

    pub(crate) fn message(self, field: u64, v: Self) -> Self {
        self.bytes(field, &v.0)
    }
}

/// An attribute of whole numbers.
pub(crate) fn ints(name: &str, values: &[usize]) -> Message {
    let attribute = Message::default().text(1, name);
    values.iter().fold(attribute, |m, v| m.int(8, *v as u64)).int(20, 7)
}

/// An attribute of one number.
pub(crate) fn float(name: &str, value: f32) -> Message {
    Message::default().text(1, name).float(2, value).int(20, 1)
}

/// An attribute that is a word.
pub(crate) fn word(name: &str, value: &str) -> Message {
    Message::default().text(1, name).text(4, value).int(20, 3)
}

/// An attribute of one whole number.
pub(crate) fn int(name: &str, value: usize) -> Message {
    Message::default().text(1, name).int(3, value as u64).int(20, 2)
}

pub(crate) fn tensor(name: &str, array: &Array) -> Message {
    let raw: Vec<u8> = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dims = array.shape.iter().fold(Message::default(), |m, d| m.int(1, *d as u64));
    dims.int(2, FLOAT).text(8, name).bytes(9, &raw)
}

/// An input or output `[N, …]`, the batch free.
pub(crate) fn value(name: &str, sizes: &[usize]) -> Message {
    let batch = Message::default().message(1, Message::default().text(2, "N"));
    let size = |m: Message, d: &usize| m.message(1, Message::default().int(1, *d as u64));
    let shape = sizes.iter().fold(batch, size);
    let kind = Message::default().int(1, FLOAT).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, kind))
}

pub(crate) fn operation(
    kind: &str,
    inputs: &[&str],
    output: &str,
    attributes: Vec<Message>,
) -> Message {
    let node = inputs.iter().fold(Message::default(), |m, i| m.text(1, i)).text(2, output);
    attributes.into_iter().fold(node.text(3, output).text(4, kind), |m, a| m.message(5, a))
}

/// Whole numbers under a name.
pub(crate) fn whole(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensor = Message::default().int(1, values.len() as u64);
    tensor.int(2, INT64).text(8, name).bytes(9, &raw)
}

/// A node that gives `tensor`.
pub(crate) fn constant(out: &str, tensor: Message) -> Message {
    let value = Message::default().text(1, "value").message(5, tensor).int(20, 4);
    operation("Constant", &[], out, vec![value])
}

/// A node that gives whole numbers.
pub(crate) fn constants(out: &str, values: &[i64]) -> Message {
    constant(out, whole("", values))
}
