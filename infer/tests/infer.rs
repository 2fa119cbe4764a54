//! The program: flags that go together, and what files say of how they were made.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact;
use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Answers, Artifact, Calibration, Framing, Input, Model, Preparation, Provenance};
use graph::Graph;
use graph::grid::Grids;
use std::path::Path;
use std::process::Command;
use views::{FixedViews, Normalization};

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
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
        .save(&at("model"), &provenance)
        .unwrap();
    for (device, precision, settings) in [
        ("cpu", "f32", serde_json::json!({ "name": "x" })),
        ("candle", "f32", serde_json::json!({ "name": "x", "device": "candle" })),
        ("cpu", "bf16", serde_json::json!({ "name": "x", "precision": "bf16" })),
        ("candle", "bf16", serde_json::Value::Null),
        ("cpu", "tf32", serde_json::Value::Null),
    ] {
        let mut infer = Command::new(INFER);
        infer.args(["eval", "--name", "x", "--device", device, "--precision", precision]);
        for (flag, name) in [("--model", "model"), ("--images", "images"), ("--out", "x.csv")] {
            infer.arg(flag).arg(at(name));
        }
        let done = infer.output().unwrap();
        if settings.is_null() {
            let reason = String::from_utf8_lossy(&done.stderr).into_owned();
            let because =
                if device == "cpu" { "the CPU has f32 and bf16" } else { "candle multiplies f32" };
            assert!(!done.status.success() && reason.contains(because), "{reason}");
            continue;
        }
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let answers = Answers::load(&Answers::beside(&at("x.csv"))).unwrap();
        assert_eq!(answers.source.provenance.settings, settings);
    }
}

/// Two pixels of one colour are a picture; the network's logits are its mean red and mean green, so by hand: 255 and 0
/// of 255 give 1 and 0, of 0 and 255 give 0 and 1.
#[test]
fn a_calibrated_file_says_what_is_none_of_its_classes() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unknown");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("photos")).unwrap();
    let graph: Graph = "input 3;gap;f:linear 3>2".parse().unwrap();
    let mut weights = graph::init::weights(&graph, 1);
    weights.get_mut("f.weight").unwrap().values = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let preparation = Preparation { size: 2, framing: Framing::Squash, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = ["red", "green"].map(String::from).into();
    let model =
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN };
    // Bitmaps of 1 × 1 pixel: blue, green, red.
    for (name, [red, green]) in [("007.bmp", [255, 0]), ("8.bmp", [255, 204])] {
        let mut file = b"BM".to_vec();
        for number in [58u32, 0, 54, 40, 1, 1, 1 | (24 << 16), 0, 4, 0, 0, 0, 0] {
            file.extend(number.to_le_bytes());
        }
        file.extend([0, green, red, 0]);
        std::fs::write(folder.join("photos").join(name), file).unwrap();
    }
    let asked = |calibration: Option<Calibration>, flags: &[&str]| {
        let provenance = Provenance::new("test", &()).unwrap();
        let (spec, payload) = model.with_bits(16).unwrap();
        let (header, tensors) = model.calibrated(spec, payload, &provenance, calibration).unwrap();
        artifact::save(&folder.join("m.bin"), &header, tensors).unwrap();
        let read = Artifact::read(&folder.join("m.bin")).unwrap();
        let found = Calibration::of(&read);
        let mut infer = Command::new(INFER);
        infer.current_dir(&folder).args("predict --model m.bin --photos photos --out x".split(' '));
        let done = infer.args(flags).output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.success(), found.is_ok(), "{text}");
        if done.status.success() {
            std::fs::read_to_string(folder.join("x")).unwrap()
        } else {
            text
        }
    };
    // 1 / (1 + e^-1) = 0.731059; logits 1 and 0.8: 1 / (1 + e^-0.2) = 0.549834.
    let csv = "Id,label\n7,0\n8,0\n";
    assert_eq!(asked(None, &[]), csv);
    assert_eq!(
        asked(None, &["--probabilities"]),
        "Id,label,red,green\n7,0,0.731059,0.268941\n8,0,0.549834,0.450166\n"
    );
    let line = |id: &str, file: &str, rest: &str| {
        format!("{{\"id\":\"{id}\",\"file\":\"{file}\",\"label\":0,\"class\":\"red\",{rest}}}\n")
    };
    let both = |a: &str, b: &str| line("7", "007.bmp", a) + &line("8", "8.bmp", b);
    assert_eq!(
        asked(None, &["--json"]),
        both("\"probability\":0.731059", "\"probability\":0.549834")
    );
    // Over 0.5: e^-2 and e^-0.4, so 0.880797 and 0.598688.
    let calibration = Calibration { temperature: 0.5, threshold: 0.6, rejected: 0.05 };
    assert_eq!(asked(Some(calibration), &[]), csv);
    assert_eq!(
        asked(Some(calibration), &["--json", "--probabilities"]),
        both(
            "\"probability\":0.880797,\"unknown\":false,\"probabilities\":[0.880797,0.119203]",
            "\"probability\":0.598688,\"unknown\":true,\"probabilities\":[0.598688,0.401312]"
        )
    );
    let cold = Calibration { temperature: 0.0, ..calibration };
    assert!(asked(Some(cold), &[]).contains("malformed calibration: temperature 0"));
}
