//! A safetensors file begins with the length of its header, and other files with bytes that are such lengths.

use checkpoint::Format;

/// A tensor of 1.5 behind a header of `length` bytes.
fn file(length: usize) -> Vec<u8> {
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut file = (length as u64).to_le_bytes().to_vec();
    file.extend(format!("{header:<length$}").as_bytes());
    file.extend(1.5f32.to_le_bytes());
    file
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", checkpoint::read(bytes).expect_err("damage"))
}

/// Pickles of five protocols, an archive, what gzip compressed; 640 and 1,152 are lengths that headers of a
/// few tensors have.
#[test]
fn headers_of_any_length_are_read() {
    let pickles = [[0x80, 0], [0x80, 2], [0x80, 3], [0x80, 4], [0x80, 5]];
    for start in pickles.into_iter().chain([*b"PK", [0x1f, 0x8b]]) {
        let length = usize::from(u16::from_le_bytes(start));
        let file = file(length);
        let read = checkpoint::read(&file).unwrap_or_else(|e| panic!("{length}: {e:#}"));
        assert_eq!((read.format, read.tensors.len()), (Format::Safetensors, 1), "{length}");
        assert_eq!(read.tensors[0].1.values.to_f64(), [1.5], "{length}");
        // Cut short it is still called by its name.
        let e = error(&file[..file.len() - 3]);
        assert!(e.starts_with("damaged safetensors: "), "{length}: {e}");
    }
}

#[test]
fn a_damaged_length_is_said() {
    let mut file = file(100);
    file[7] = 1;
    let e = error(&file);
    assert!(e.starts_with("damaged safetensors, ") && e.ends_with("fetch the file again"), "{e}");
}
