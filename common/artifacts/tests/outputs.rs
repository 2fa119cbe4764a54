//! Where outputs may go.

#![cfg(unix)]
#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::{beside, check_room, claim, save_bytes};
use std::os::unix::fs::symlink;
use std::path::Path;

/// Places that must not be written to, and a second run of the same command.
#[test]
fn an_output_is_claimed_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let refused = |path: &Path, inputs: &[&Path], expected: &str| {
        let e = format!("{:#}", claim(path, inputs).err().unwrap());
        assert!(e.contains(expected) && e.contains(path.to_str().unwrap()), "{e}");
    };
    refused(&at("none/x"), &[], "does not exist");
    refused(dir.path(), &[], "is a folder");
    refused(Path::new("/dev/null"), &[], "a device or a pipe");
    symlink("nowhere", at("dangling")).unwrap();
    refused(&at("dangling"), &[], "a link to a file that does not exist");
    std::fs::write(at("input"), b"precious").unwrap();
    symlink("input", at("link")).unwrap();
    std::fs::hard_link(at("input"), at("hard")).unwrap();
    refused(&at("input"), &[&at("input")], "it is an input");
    refused(&at("link"), &[&at("input")], "it is an input");
    refused(&at("input"), &[&at("link")], "it is an input");
    refused(&at("hard"), &[&at("input")], "it is an input");
    let e = check_room(&at("x"), u64::MAX).unwrap_err().to_string();
    assert!(e.contains("MB free"), "{e}");
    // What killed runs left goes, and nothing else.
    for left in [".x.safetensors.AbC123.part", ".x.state.safetensors.q.part"] {
        std::fs::write(at(left), b"").unwrap();
    }
    for stays in [".x.safetensors.part", ".xy.safetensors.AbC123.part", ".x.y.safetensors.AbC.part"]
    {
        std::fs::write(at(stays), b"").unwrap();
    }
    let first = claim(&at("x.safetensors"), &[]).unwrap();
    refused(&at("x.safetensors"), &[], "another run is writing it");
    drop(first);
    drop(claim(&at("x.safetensors"), &[]).unwrap());
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let parts = [".x.safetensors.part", ".x.y.safetensors.AbC.part", ".xy.safetensors.AbC123.part"];
    assert_eq!(names, [&parts[..], &["dangling", "hard", "input", "link"]].concat());
    // A link is followed: its target is replaced, not the link.
    save_bytes(&at("link"), b"new").unwrap();
    assert!(at("link").is_symlink() && std::fs::read(at("input")).unwrap() == b"new");
    // Runs called .1 and .2 share no state.
    let states =
        ["run.1", "run.2", "run.safetensors"].map(|n| beside(Path::new(n), "state.safetensors"));
    assert_eq!(
        states.map(|p| p.to_str().unwrap().to_owned()),
        ["run.1.state.safetensors", "run.2.state.safetensors", "run.state.safetensors"]
    );
}
