//! What a file is that holds no weights this crate reads, by its content, and what to do about it.

/// How a file of some other kind begins: at which offset, with what, what it is and the remedy.
const OTHERS: [(usize, &[u8], &str, &str); 17] = [
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, which stands for the file",
        "fetch the file itself: git lfs pull",
    ),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, MATLAB)", ARRAYS),
    (512, b"\x89HDF\r\n\x1a\n", "an HDF5 file (MATLAB)", ARRAYS),
    (4, b"TFL3", "a TensorFlow Lite model", ARRAYS),
    (0, b"GGUF", "a GGUF model", STATE_DICT),
    (
        0,
        b"\x93NUMPY",
        "a single NumPy array without a name",
        "save all arrays by name: numpy.savez(path, **arrays)",
    ),
    (257, b"ustar", "a tar archive", "unpack it (tar xf) and give the file of weights in it"),
    (
        0,
        b"\x1f\x8b",
        "a file compressed by gzip",
        "unpack it (gunzip; tar xzf) and give what is in it",
    ),
    (
        0,
        b"BZh",
        "a file compressed by bzip2",
        "unpack it (bunzip2; tar xjf) and give what is in it",
    ),
    (
        0,
        b"\xfd7zXZ\0",
        "a file compressed by xz",
        "unpack it (unxz; tar xJf) and give what is in it",
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "a file compressed by zstd",
        "unpack it (unzstd) and give what is in it",
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it and give the file of weights in it"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it and give the file of weights in it"),
    (0, b"\xff\xd8\xff", "a JPEG picture", STATE_DICT),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", STATE_DICT),
    (0, b"(dp", "a pickle of protocol 0", "write it again: pickle.dump(arrays, file, protocol=2)"),
    (
        0,
        b"ccollections\n",
        "a pickle of protocol 0 or 1",
        "write it again: pickle.dump(arrays, file, protocol=2)",
    ),
];

const STATE_DICT: &str = "give the network's weights: torch.save(model.state_dict(), path)";

const ARRAYS: &str = "save its arrays under the names and in the order of axes that PyTorch has (a convolution: \
                      [output, input, height, width]): numpy.savez(path, **arrays)";

/// Whether a file begins as safetensors do: with the length of a header of JSON. To be asked before what else
/// a file may be, for that length can be any number: 640 is how a pickle begins, 19,280 an archive, 35,615
/// what gzip compressed. In none of those is byte 8 a brace behind four bytes of zero.
pub(super) fn is_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk().map(|l| u64::from_le_bytes(*l));
    length.is_some_and(|l| l <= MOST_HEADER) && bytes.get(8) == Some(&b'{')
}

/// The longest header that the safetensors library takes, bytes.
const MOST_HEADER: u64 = 100_000_000;

/// What a file of none of the forms that are read is, and what to do; None where nobody knows.
pub(super) fn told(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("an empty file: fetch it again".to_owned());
    }
    let begins = |(at, magic, ..): &&(usize, &[u8], &str, &str)| {
        bytes.get(*at..).is_some_and(|b| b.starts_with(magic))
    };
    if let Some((_, _, what, remedy)) = OTHERS.iter().find(begins) {
        return Some(format!("{what}: {remedy}"));
    }
    if is_html(bytes) {
        return Some(
            "an HTML page, such as a download gives that wanted a login or a confirmation: open the address \
             in a browser and save the file itself"
                .to_owned(),
        );
    }
    match protobuf(bytes) {
        Some(Protobuf::Onnx) => Some(format!(
            "an ONNX model: give the weights that it was exported from: torch.save(model.state_dict(), path); \
             without them, {ARRAYS}"
        )),
        Some(Protobuf::TensorFlow) => Some(format!("a TensorFlow SavedModel: {ARRAYS}")),
        None if is_json(bytes) => Some(
            "JSON text, such as the index of a model in several files: give a file of weights"
                .to_owned(),
        ),
        None => (bytes.get(8) == Some(&b'{')).then(|| {
            "damaged safetensors, whose header would be longer than any: fetch the file again"
                .to_owned()
        }),
    }
}

/// What an archive is that has neither PyTorch's nor NumPy's entries.
pub(super) fn archive(names: &[String]) -> String {
    let has = |end: &str| names.iter().any(|n| n.ends_with(end));
    if has("model.weights.h5") {
        return format!("a Keras model: {ARRAYS}");
    }
    if has("constants.pkl") {
        return format!("a TorchScript program: {STATE_DICT}");
    }
    if has("archive_format") || has("models/model.json") {
        return format!("a program of torch.export: {STATE_DICT}");
    }
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!(
        "a zip archive with neither data.pkl (PyTorch) nor .npy files (NumPy) but {}{more}: unpack it and \
         give the file of weights in it",
        shown.join(", ")
    )
}

/// The text's first bytes behind white space and a byte order mark.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start()
}

fn is_html(bytes: &[u8]) -> bool {
    let start = &text(bytes)[..text(bytes).len().min(1024)];
    let start = start.to_ascii_lowercase();
    let has = |word: &[u8]| start.windows(word.len()).any(|w| w == word);
    start.starts_with(b"<") && (has(b"<html") || has(b"<!doctype html") || has(b"<head"))
}

fn is_json(bytes: &[u8]) -> bool {
    let rest = text(bytes).strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    rest.is_some_and(|r| r.starts_with(b"\""))
}

enum Protobuf {
    Onnx,
    TensorFlow,
}

/// Which message has these fields: ONNX's ModelProto is a version (field 1) and, a few small ones later, a graph
/// (field 7); TensorFlow's SavedModel is a version and graphs (field 2) and nothing else.
fn protobuf(bytes: &[u8]) -> Option<Protobuf> {
    let mut rest = bytes;
    let mut tags = Vec::new();
    let mut version = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let number = varint(&mut rest)?;
        tags.push(tag);
        match tag {
            VERSION if tags.len() == 1 && (1..64).contains(&number) => version = number,
            _ if tags[0] != VERSION => return None,
            GRAPH => return Some(Protobuf::Onnx),
            _ if tag & 7 == 0 => {}
            _ if tag & 7 == 2 => rest = rest.get(usize::try_from(number).ok()?..)?,
            _ => return None,
        }
    }
    (version == 1 && matches!(tags[..], [VERSION, GRAPHS, ..])).then_some(Protobuf::TensorFlow)
}

/// Field and type in a number: a whole number, text or a message.
const VERSION: u64 = 1 << 3;
const GRAPHS: u64 = 2 << 3 | 2;
const GRAPH: u64 = 7 << 3 | 2;

/// A number of seven bits to a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let end = rest.iter().take(9).position(|b| *b < 0x80)?;
    let (number, behind) = rest.split_at(end + 1);
    *rest = behind;
    Some(number.iter().rev().fold(0, |n, b| n << 7 | u64::from(b & 0x7f)))
}
