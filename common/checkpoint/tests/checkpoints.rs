//! Small files of every form against what wrote them: `make_checkpoints.py`.

use checkpoint::course::{Encoding, encode};
use checkpoint::{Contents, Format};
use graph::Array;
use std::path::{Path, PathBuf};

include!("checkpoints.in");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// An archive with one entry, stored.
fn npz(npy: &[u8]) -> Vec<u8> {
    archive(npy, zip::CompressionMethod::Stored)
}

fn archive(npy: &[u8], how: zip::CompressionMethod) -> Vec<u8> {
    entry("a.npy", npy, how)
}

fn named(name: &str, bytes: &[u8]) -> Vec<u8> {
    entry(name, bytes, zip::CompressionMethod::Stored)
}

fn entry(name: &str, bytes: &[u8], how: zip::CompressionMethod) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(how);
    zip.start_file(name, options).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A legacy file: a dict of `n` views `[2]` with stride `values − 1` of one storage.
fn strided_views(n: usize, values: usize) -> Vec<u8> {
    let mut file =
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}.\x80\x02}(");
    let number = |v: usize| [b"J".to_vec(), (v as u32).to_le_bytes().to_vec()].concat();
    for i in 0..n {
        let name = format!("t{i}");
        file.extend(b"X");
        file.extend((name.len() as u32).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu");
        file.extend(number(values));
        file.extend(b"NtQK\0K\x02\x85");
        file.extend(number(values - 1));
        file.extend(b"\x85\x89NtR");
    }
    file.extend(b"u.\x80\x02]X\x01\0\0\x000a.");
    file.extend((values as u64).to_le_bytes());
    file.resize(file.len() + 4 * values, 0);
    file
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", checkpoint::read(bytes).expect_err("damage"))
}

#[test]
fn every_form_is_read_as_it_was_written() {
    for (file, format, expected) in FILES {
        let found = checkpoint::read(&bytes(file)).unwrap_or_else(|e| panic!("{file}: {e:#}"));
        assert_eq!(found.format, *format, "{file}");
        holds(file, &found, expected, 0.0);
    }
}

/// The tensors of `expected` and no others; values but for `tolerance` of them.
fn holds(file: &str, found: &Contents, expected: &[Expected], tolerance: f64) {
    let bundle = &found.tensors;
    let names = || bundle.iter().map(|b| &b.0).collect::<Vec<_>>();
    assert_eq!(bundle.len(), expected.len(), "{file}: {:?}", names());
    for (name, shape, values) in expected {
        let (_, tensor) = bundle
            .iter()
            .find(|(n, _)| n == name)
            .unwrap_or_else(|| panic!("{file}: no {name} in {:?}", names()));
        assert_eq!(tensor.shape, *shape, "{file}: {name}");
        let found = tensor.values.to_f64();
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs();
        let fits = found.len() == values.len() && found.iter().zip(*values).all(near);
        assert!(fits, "{file}: {name}: {found:?}, not {values:?}");
    }
}

/// Pruning masks, both forms of weight norm and of spectral norm, as the layer computes its weight; the
/// largest difference is PyTorch's rounding to f32 between the steps.
#[test]
fn weights_in_parts_are_multiplied_out() {
    let mut seen = 0;
    for (file, _, expected) in IN_PARTS {
        let found = checkpoint::read(&bytes(file)).unwrap_or_else(|e| panic!("{file}: {e:#}"));
        holds(file, &found, expected, if *file == "normed.pt" { 1e-12 } else { 5e-7 });
        seen += expected.len();
    }
    assert_eq!(seen, 24);
    let notes = |file: &str| checkpoint::read(&bytes(file)).unwrap().notes;
    assert_eq!(notes("pruned.pt"), ["pruning masks of 3 tensors multiplied out"]);
    let old = ["pruning masks of 1", "weight norm of 3", "spectral norm of 1"];
    assert_eq!(notes("normed_old.pt"), old.map(|n| format!("{n} tensors multiplied out")));
    let told = notes("orthogonal.pt");
    assert!(told[0].starts_with("a.parametrizations.weight.original is of a param"), "{told:?}");
    assert!(told[0].contains("remove_parametrizations(module, name)"), "{told:?}");
}

/// One of several networks in a file: by default that with a name for a network, by its name any.
#[test]
fn a_part_of_a_file_is_read_by_its_name() {
    for (file, part, expected) in PARTS {
        let found = checkpoint::read_part(&bytes(file), part)
            .unwrap_or_else(|e| panic!("{file}, {part}: {e:#}"));
        holds(&format!("{file}, {part}"), &found, expected, 0.0);
    }
    let Contents { notes, others, .. } = checkpoint::read(&bytes("averaged.pt")).unwrap();
    assert_eq!(notes, ["read: model of 4 tensors; not read: model_ema of 5 tensors"]);
    assert_eq!(others, ["model_ema"]);
    let missing = |file: &str, part: &str| {
        format!("{:#}", checkpoint::read_part(&bytes(file), part).expect_err("no such part"))
    };
    let e = missing("averaged.pt", "best");
    assert!(e.contains("the file's dictionaries: model, model_ema: nothing is called best"), "{e}");
    // An optimizer's moments, one dictionary per weight, are nobody's network.
    for file in ["everything.pt", "everything_legacy.pt"] {
        assert_eq!(checkpoint::read(&bytes(file)).unwrap().others, ["ema"], "{file}");
        let e = missing(file, "best");
        assert!(
            e.contains(
                "the file's dictionaries: the outermost one, model, ema: nothing is called best"
            ),
            "{e}"
        );
    }
    assert_eq!(checkpoint::read_part(&bytes("everything.pt"), "state.0").unwrap().tensors.len(), 3);
    let e = missing("types.safetensors", "best");
    assert!(e.contains("nothing is called best: names begin with bf16, bool, e4m3"), "{e}");
}

#[test]
fn the_order_of_a_state_dict_is_kept() {
    let bundle = checkpoint::read(&bytes("module.pt")).unwrap().tensors;
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
    assert!(e.contains("an object of torch.nn.modules.linear.Linear with its code"), "{e}");
    // INST: an opcode that calls.
    let e = error(b"\x80\x02(iposix\nsystem\n.");
    assert!(e.contains("0x69 at offset 3"), "{e}");
}

/// What was put together or left out is said.
#[test]
fn nothing_is_left_out_in_silence() {
    let notes = |file: &str| checkpoint::read(&bytes(file)).unwrap().notes;
    assert_eq!(notes("plain.npz"), [""; 0]);
    let told = notes("everything.pt");
    assert_eq!(
        told,
        ["read: model of 4 tensors; not read: ema of 4 tensors and 5 dictionaries more"]
    );
    assert_eq!(notes("parts.pt"), ["backbone and head are read as one, under their names"]);
    let told = notes("unchecked.pt");
    assert!(told[0].ends_with("entries carry no checksum: damage would not show"), "{told:?}");
}

#[test]
fn what_is_no_state_dict_is_told_apart() {
    for (file, expected) in [
        ("bare.pt", "a bare tensor without a name"),
        ("list.pt", "a list, whose tensors have no names"),
        ("script.pt", "a TorchScript program"),
        ("whole_module.pt", "an object of torch.nn.modules.linear.Linear with its code"),
    ] {
        let e = error(&bytes(file));
        assert!(e.contains(expected) && e.contains("torch.save(model.state_dict(), path)"), "{e}");
    }
}

/// What people hand in instead of weights is called by its name, with what to do.
#[test]
fn other_files_are_told_apart() {
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let page = "\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>";
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    // A TensorFlow SavedModel: version 1, one graph of two bytes.
    let saved = b"\x08\x01\x12\x02\x0a\x00";
    for (file, what, remedy) in [
        (&b""[..], "an empty file", "fetch it again"),
        (page.as_bytes(), "an HTML page", "save the file itself"),
        (pointer.as_bytes(), "a Git LFS pointer", "git lfs pull"),
        (&bytes("model.onnx"), "an ONNX model", "torch.save(model.state_dict(), path)"),
        (&bytes("keras.h5"), "an HDF5 file", "numpy.savez(path, **arrays)"),
        (b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model", "numpy.savez(path, **arrays)"),
        (saved, "a TensorFlow SavedModel", "numpy.savez(path, **arrays)"),
        (b"GGUF\x03\0\0\0", "a GGUF model", "torch.save(model.state_dict(), path)"),
        (b"\x93NUMPY\x01\0", "a single NumPy array", "numpy.savez(path, **arrays)"),
        (&tar, "a tar archive", "unpack it"),
        (b"\x1f\x8b\x08\0", "a file compressed by gzip", "unpack it"),
        (b"{\"metadata\": {}, \"weight_map\": {}}", "JSON text", "give a file of weights"),
        (b"(dp0\nVa\np1\n", "a pickle of protocol 0", "protocol=2"),
        (&named("weights/a.pt", b"x"), "but weights/a.pt: unpack it", "weights in it"),
        (&named("model.weights.h5", b"x"), "a Keras model", "numpy.savez(path, **arrays)"),
        (&bytes("script.pt"), "a TorchScript program", "torch.save(model.state_dict(), path)"),
        (
            &named("x/archive_format", b"pt2"),
            "a program of torch.export",
            "torch.save(model.state_dict()",
        ),
    ] {
        let e = error(file);
        assert!(e.contains(what) && e.contains(remedy), "{what}: {e}");
    }
    // Of none of these kinds: nothing is made up.
    for junk in [&b"\x08\x01\x12\x7f\0"[..], b"\x08\x07\x12\x02ab", b"plain text, and more"] {
        assert_eq!(error(junk), "neither a PyTorch file, a pickle, an npz nor safetensors");
    }
}

/// Flips in members of archives are found by their checksums, wherever they lie.
#[test]
fn flips_in_archives_are_found() {
    for file in ["zip.pt", "plain.npz", "object.npz"] {
        let whole = bytes(file);
        let before = format!("{:?}", checkpoint::read(&whole).unwrap().tensors);
        let mut accepted = 0;
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            if let Ok(read) = checkpoint::read(&broken) {
                // Padding, dates and the like mean nothing.
                assert_eq!(format!("{:?}", read.tensors), before, "{file}, byte {at}");
                accepted += 1;
            }
        }
        assert!(accepted < whole.len(), "{file}");
    }
}

/// Small files that would take much memory or time; each must be refused, and soon.
#[test]
fn small_files_stay_small() {
    let start = std::time::Instant::now();
    // Fortran order with a side of 2^40 beside one of 0.
    let mut fortran = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (1099511627776, 0), }";
    fortran.extend(format!("{header:<117}\n").as_bytes());
    assert!(checkpoint::read(&npz(&fortran)).unwrap().tensors[0].1.values.is_empty());
    // Twenty million opcodes that make an object each.
    for opcode in *b"N}])" {
        let mut many = b"\x80\x02(".to_vec();
        many.resize(20_000_000, opcode);
        assert!(error(&many).contains("objects in a pickle"), "{}", opcode as char);
    }
    let mut memo = b"\x80\x04N".to_vec();
    memo.resize(20_000_000, 0x94);
    assert!(error(&memo).contains("objects in a pickle"));
    // Sixty thousand strided views of one storage of four megabytes.
    let views = strided_views(60_000, 1 << 20);
    assert_eq!(checkpoint::read(&views).unwrap().tensors.len(), 60_000);
    // A hundred megabytes of zeros in a hundred kilobytes.
    let mut zeros = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (25000000,), }";
    zeros.extend(format!("{header:<117}\n").as_bytes());
    zeros.resize(100_000_128, 0);
    let bomb = archive(&zeros, zip::CompressionMethod::Deflated);
    assert!(bomb.len() < 200_000);
    let e = error(&bomb);
    assert!(e.contains("unpacks to 100000128 bytes, more than"), "{e}");
    // An hour would be a hang; machines differ, and this takes a second.
    assert!(start.elapsed().as_secs() < 60);
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
        let read = checkpoint::read(&encode(&entries, encoding).unwrap()).unwrap();
        let (format, back) = (read.format, read.tensors);
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

/// What it writes it reads: scalars, counters beyond f32's small whole numbers, nothing at all, odd values.
#[test]
fn a_state_dict_comes_back() {
    let array =
        |shape: &[usize], values: &[f32]| Array::new(shape.to_vec(), values.to_vec()).unwrap();
    let entries: Vec<(String, Array)> = [
        ("a.weight", array(&[2, 1, 1, 3], &[0.5, -0.0, f32::INFINITY, 1e-40, f32::MIN, 3.0])),
        ("a.num_batches_tracked", array(&[], &[123_456.0])),
        ("s", array(&[], &[0.1])),
        ("none", array(&[0, 4], &[])),
        ("long", array(&[70_000], &[1.25; 70_000])),
    ]
    .map(|(n, a)| (n.to_owned(), a))
    .to_vec();
    let file = checkpoint::state_dict::encode(&entries).unwrap();
    assert_eq!(file, checkpoint::state_dict::encode(&entries).unwrap());
    let Contents { format, tensors, notes, .. } = checkpoint::read(&file).unwrap();
    assert_eq!((format, notes.len()), (Format::TorchZip, 0));
    let found: Vec<(String, Array)> =
        tensors.iter().map(|(n, t)| (n.clone(), t.to_array().unwrap())).collect();
    assert_eq!(found, entries);
    assert!(matches!(tensors[1].1.values, checkpoint::Values::I64(_)));
}
