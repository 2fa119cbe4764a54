//! Small files of every form against what wrote them: `make_checkpoints.py`.

use checkpoint::Format;
use checkpoint::course::{Encoding, encode};
use graph::Array;
use std::path::{Path, PathBuf};

include!("checkpoints.in");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", checkpoint::read(bytes).expect_err("damage"))
}

#[test]
fn every_form_is_read_as_it_was_written() {
    for (file, format, expected) in FILES {
        let (found, bundle) =
            checkpoint::read(&bytes(file)).unwrap_or_else(|e| panic!("{file}: {e:#}"));
        assert_eq!(found, *format, "{file}");
        assert_eq!(bundle.len(), expected.len(), "{file}");
        for (name, shape, values) in *expected {
            let (_, tensor) = bundle.iter().find(|(n, _)| n == name).unwrap_or_else(|| {
                panic!("{file}: no {name} in {:?}", bundle.iter().map(|b| &b.0))
            });
            assert_eq!(tensor.shape, *shape, "{file}: {name}");
            assert_eq!(tensor.values.to_f64(), *values, "{file}: {name}");
        }
    }
}

#[test]
fn the_order_of_a_state_dict_is_kept() {
    let (_, bundle) = checkpoint::read(&bytes("module.pt")).unwrap();
    let names: Vec<&str> = bundle.iter().map(|(n, _)| n.as_str()).collect();
    let expected = FILES.iter().find(|f| f.0 == "module.pt").unwrap().2;
    assert_eq!(names, expected.iter().map(|e| e.0).collect::<Vec<_>>());
}

/// pickletools.dis: GLOBAL 'posix system' stands at offset 13 of hostile.pkl.
#[test]
fn code_is_refused_with_its_place() {
    let e = error(&bytes("hostile.pkl"));
    assert!(e.contains("posix.system is not allowed") && e.contains("0x63 at offset 13"), "{e}");
    let e = error(&bytes("whole_module.pt"));
    assert!(e.contains("torch.nn.modules.linear.Linear is not allowed"), "{e}");
    // INST: an opcode that calls.
    let e = error(b"\x80\x02(iposix\nsystem\n.");
    assert!(e.contains("0x69 at offset 3"), "{e}");
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    let e = error(&bytes("expanded.pt"));
    assert!(e.contains("more values than the file can hold"), "{e}");
    // BINBYTES8 of 2^60 bytes; a tuple that holds itself through the memo; an endless recall.
    let e = error(b"\x80\x04\x8e\0\0\0\0\0\0\0\x10.");
    assert!(e.contains("beyond the file") && e.contains("0x8e at offset 2"), "{e}");
    assert!(checkpoint::read(b"\x80\x02]q\0h\0a.").is_err());
    assert!(checkpoint::read(b"\x80\x02}q\0X\x01\0\0\0ah\0s.").is_err());
    // One long text, encoded as bytes again and again.
    let mut bomb = b"\x80\x02c_codecs\nencode\nq\0X".to_vec();
    bomb.extend(10_000u32.to_le_bytes());
    bomb.extend([b'a'; 10_000]);
    bomb.extend(b"q\x01");
    for _ in 0..1000 {
        bomb.extend(b"0h\0h\x01\x85R");
    }
    bomb.push(b'.');
    let e = error(&bomb);
    assert!(e.contains("far more data"), "{e}");
}

/// Every truncation is an error or, where only padding is lost, the same tensors; every changed
/// byte is a result or an error. Nothing panics.
#[test]
fn damage_never_panics() {
    for entry in std::fs::read_dir(path("")).unwrap() {
        let file = entry.unwrap().path();
        let whole = std::fs::read(&file).unwrap();
        for cut in 0..whole.len() {
            let _ = checkpoint::read(&whole[..cut]);
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let _ = checkpoint::read(&broken);
            }
        }
    }
    for junk in [&b""[..], b"PK", b"PK\x03\x04", b"\x80", b"\x80\x02", b"\x80\x02.", &[0; 16]] {
        assert!(checkpoint::read(junk).is_err(), "{junk:?}");
    }
}

/// What is written as encode16 comes back as half precision, as encode8 within half a step; names,
/// order and values without dimension as they were.
#[test]
fn the_courses_files_come_back() {
    let array = |shape: &[usize], f: &dyn Fn(usize) -> f32| {
        let n = shape.iter().product();
        Array::new(shape.to_vec(), (0..n).map(f).collect()).unwrap()
    };
    let entries = [
        ("b.weight".to_owned(), array(&[5, 3, 3, 3], &|i| (i as f32 * 0.37).sin())),
        ("a.weight".to_owned(), array(&[300, 2], &|i| (i as f32 * 0.11).cos() * 4.0)),
        ("a.bias".to_owned(), array(&[7], &|i| i as f32 - 3.0)),
        ("b.num_batches_tracked".to_owned(), array(&[], &|_| 41.0)),
    ];
    for encoding in [Encoding::Encode8, Encoding::Encode16] {
        let (format, back) = checkpoint::read(&encode(&entries, encoding).unwrap()).unwrap();
        assert_eq!((format, back.len()), (Format::Pickle, entries.len()));
        for ((name, a), (found, b)) in entries.iter().zip(&back) {
            assert_eq!((name, &a.shape), (found, &b.shape));
            // Half of (hi − lo) / 255; half of the last of eleven bits.
            let largest = a.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let span = if name == "a.bias" { 6.0 } else { 2.0 * largest };
            let tolerance = match encoding {
                Encoding::Encode8 => f64::from(span) / 255.0 / 2.0 * 1.0001,
                Encoding::Encode16 => f64::from(largest) / 2048.0,
            };
            for (x, y) in a.values.iter().zip(b.values.to_f64()) {
                assert!((f64::from(*x) - y).abs() <= tolerance, "{encoding:?} {name}: {x} {y}");
            }
        }
    }
}
