//! `prepare model --photos`: how many photos can tell anything about a reading.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use graph::{Array, Graph};
use std::fs;
use std::path::Path;
use std::process::Command;

const GRAPH: &str = "input 3;a:conv 3>8 k3 p1;n:bn 8;relu;max k2 s2;b:conv 8>8 k3 p1;m:bn 8;relu;gap;\
                     f:linear 8>3 bias";

/// A PNG file of `size × size` RGB pixels: one stored block, no filter.
fn png(size: u32, pixel: impl Fn(u32) -> u8) -> Vec<u8> {
    let line = |y: u32| {
        std::iter::once(0).chain((0..3 * size).map(|x| pixel(y * 3 * size + x)).collect::<Vec<_>>())
    };
    let lines: Vec<u8> = (0..size).flat_map(line).collect();
    let n = u16::try_from(lines.len()).unwrap();
    let mut data = vec![0x78, 1, 1];
    data.extend(n.to_le_bytes().into_iter().chain((!n).to_le_bytes()));
    data.extend(&lines);
    let (a, b) = lines.iter().fold((1u32, 0u32), |(a, b), v| {
        let a = (a + u32::from(*v)) % 65_521;
        (a, (b + a) % 65_521)
    });
    data.extend((b << 16 | a).to_be_bytes());
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(u32::MAX, |crc, v| {
            let step = |c: u32| if c & 1 == 1 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 };
            (0..8).fold(crc ^ u32::from(*v), |c, _| step(c))
        })
    };
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let sizes = [size.to_be_bytes(), size.to_be_bytes()].concat();
    for (kind, body) in
        [(b"IHDR", [sizes, vec![8, 2, 0, 0, 0]].concat()), (b"IDAT", data), (b"IEND", vec![])]
    {
        let chunk = [&kind[..], &body].concat();
        file.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        file.extend(&chunk);
        file.extend(crc(&chunk).to_be_bytes());
    }
    file
}

/// A folder of so many photos, each another.
fn photos(n: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..n {
        let file = png(16, |at| (at * (i + 3) % 251) as u8);
        fs::write(folder.path().join(format!("{i}.png")), file).unwrap();
    }
    folder
}

/// What `prepare model` says of a network that was never trained, read absurdly, with these photos.
fn said(photos: &Path) -> String {
    let graph: Graph = GRAPH.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let entries: Vec<(String, Array)> =
        graph.parameters().map(|p| (p.name.clone(), weights[&p.name].clone())).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.pt"), checkpoint::state_dict::encode(&entries).unwrap())
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prepare"));
    command.current_dir(folder.path()).args(["model", "x.pt", "--graph", GRAPH, "--size", "16"]);
    command.args(["--mean", "5,5,5", "--std", "0.01,0.01,0.01", "--colour", "bgr", "--photos"]);
    let output = command.arg(photos).args(["--out", "m.safetensors"]).output().unwrap();
    assert!(output.status.success() && folder.path().join("m.safetensors").exists(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Few photos, or one many times over, prove nothing: no number is printed and nothing is advised.
#[test]
fn few_photos_prove_nothing() {
    let copies = tempfile::tempdir().unwrap();
    for i in 0..20 {
        fs::write(copies.path().join(format!("{i}.png")), png(16, |at| at as u8)).unwrap();
    }
    for (different, folder) in [(1, photos(1)), (1, copies), (7, photos(7))] {
        let said = said(folder.path());
        let few = format!("{different} different photos in");
        assert!(said.contains(&few) && said.contains("too few to tell, 8 at least"), "{said}");
        assert!(!said.contains("misfit") && !said.contains("fits better"), "{said}");
    }
}

#[test]
fn enough_photos_tell() {
    for n in [8, 17] {
        let said = said(photos(n).path());
        assert!(said.contains(&format!("on {n} photos, mean of 2 batch norms")), "{said}");
        assert!(said.contains("warning: "), "{said}");
    }
}
