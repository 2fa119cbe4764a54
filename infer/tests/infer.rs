//! The program: flags that go together, and what files say of how they were made.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Answers, Framing, Input, Model, Preparation, Provenance};
use graph::Graph;
use graph::grid::Grids;
use std::path::Path;
use std::process::Command;
use views::Normalization;

#[path = "../../common/tests/reference/flags.rs"]
mod flags;

const INFER: &str = env!("CARGO_BIN_EXE_infer");

#[test]
fn flags_that_need_each_other_are_refused_alone() {
    flags::refused(
        INFER,
        &[("eval --model none --images none --name x", "not provided:\n  --out <FILE>")],
    );
}

/// As FORMAT.md says: device and precision stand in the header where they are not the usual ones; what a device does
/// not have is refused.
#[test]
fn answers_say_where_they_were_computed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("device");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let at = |name: &str| folder.join(name);
    let preparation = Preparation { size: 8, framing: Framing::Crop, exif: false };
    let provenance = Provenance::new("test", &()).unwrap();
    let classes: Vec<String> = ["a", "b"].map(String::from).into();
    let pixels = (0..4 * 192).map(|i| (i * 7 % 256) as u8).collect();
    Unsaved {
        preparation,
        classes: classes.clone(),
        labels: vec![Some(0), Some(1), Some(0), Some(1)],
        names: (0..4).map(|i| format!("{}_{i}.png", i % 2)).collect(),
        pixels: Data::Bytes(pixels),
    }
    .save(&at("images"), &provenance)
    .unwrap();
    let graph: Graph = "input 3;a:conv 3>4 k3 p1 bias;relu;gap;f:linear 4>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let input = Input { preparation, normalization: Normalization::NONE };
    Model { graph, weights, input, classes, grids: Grids::new() }
        .save(&at("model"), &provenance)
        .unwrap();
    for (device, precision, settings) in [
        ("cpu", "f32", serde_json::json!({ "name": "x" })),
        ("candle", "f32", serde_json::json!({ "name": "x", "device": "candle" })),
        ("cpu", "bf16", serde_json::json!({ "name": "x", "precision": "bf16" })),
        ("candle", "bf16", serde_json::Value::Null),
    ] {
        let mut infer = Command::new(INFER);
        infer.args(["eval", "--name", "x", "--device", device, "--precision", precision]);
        for (flag, name) in [("--model", "model"), ("--images", "images"), ("--out", "x.csv")] {
            infer.arg(flag).arg(at(name));
        }
        let done = infer.output().unwrap();
        if settings.is_null() {
            let reason = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(!done.status.success() && reason.contains("candle multiplies f32"), "{reason}");
            continue;
        }
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let answers = Answers::load(&Answers::beside(&at("x.csv"))).unwrap();
        assert_eq!(answers.source.provenance.settings, settings);
    }
}
