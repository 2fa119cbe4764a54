//! The views of a model: they come back, travel with it, and a file without any is what it was.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::{Data, save, size, summed};
use artifacts::images::Unsaved;
use artifacts::{Artifact, Framing, Images, Input, Model, Preparation, Provenance};
use graph::grid::Grids;
use std::path::Path;
use views::{FixedViews, Normalization};

fn model(views: &str) -> Model {
    let graph: graph::Graph =
        "input 3;a:conv 3>4 k3 bias;b:bn 4;relu;gap;f:linear 4>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size: 16, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = vec!["a".into(), "b".into()];
    let views = views.parse().unwrap();
    Model { graph, weights, input, classes, grids: Grids::new(), views }
}

fn provenance() -> Provenance {
    Provenance::new("test", &()).unwrap()
}

#[test]
fn they_come_back_plain_folded_and_coded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    for text in ["none", "flip", "flip,shift=2,zoom=4"] {
        let model = model(text);
        model.save(&path, &provenance()).unwrap();
        assert_eq!(Model::load(&path).unwrap().0.views.to_string(), text);
        let folded = model.folded().unwrap();
        let (spec, payload) = folded.with_bits(8).unwrap();
        let (header, tensors) = folded.coded(spec, payload, &provenance()).unwrap();
        save(&path, &header, tensors).unwrap();
        let (found, _) = Model::load(&path).unwrap();
        assert_eq!(found.views.to_string(), text);
        let json = Artifact::read(&path).unwrap().json;
        let expected = match text {
            "none" => None,
            "flip" => Some(r#"{"flip":true}"#),
            _ => Some(r#"{"flip":true,"shift":2,"zoom":4}"#),
        };
        assert_eq!(json.get("views").map(ToString::to_string).as_deref(), expected);
    }
}

/// By 26 bytes, of `\"views\":{\"flip\":true},`, up to a multiple of 8.
#[test]
fn a_file_without_any_is_no_longer_than_before() {
    let bytes = |views: &str| {
        let model = model(views).folded().unwrap();
        let (spec, payload) = model.with_bits(8).unwrap();
        let (header, tensors) = model.coded(spec, payload, &provenance()).unwrap();
        (
            serde_json::to_string(&header).unwrap().contains("views"),
            size(&header, &tensors).unwrap(),
        )
    };
    let ((plain_says, plain), (with_says, with)) = (bytes("none"), bytes("flip"));
    assert!(!plain_says && with_says);
    assert!([24, 32].contains(&(with - plain)), "{plain} {with}");
}

#[test]
fn views_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    // A quarter of 16 px is 4.
    model("shift=5").save(&path, &provenance()).unwrap();
    let told = format!("{:#}", Model::load(&path).unwrap_err());
    assert!(told.contains("views of 16 px: they move more than a quarter of a side"), "{told}");
}

/// A word that this program does not know, a number that is none, one that is too large: no file of ours.
#[test]
fn views_of_another_program_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    model("flip,shift=2").save(&path, &provenance()).unwrap();
    let file = std::fs::read(&path).unwrap();
    let both = r#"flip\":true,\"shift\":2"#;
    // Of 260 the last eight bits are 4.
    let beyond = format!(r#"shift\":{:>width$}"#, 260, width = both.len() - r#"shift\":"#.len());
    for (from, to) in [
        ("flip", "flop"),
        ("true", "12.5"),
        (r#"shift\":2"#, r#"shift\":0"#),
        (both, beyond.as_str()),
    ] {
        let at = file.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut other = file.clone();
        other[at..at + from.len()].copy_from_slice(to.as_bytes());
        let told = format!("{:#}", Model::parse("x", summed(other)).unwrap_err());
        assert!(told.contains("unknown views"), "{to}: {told}");
    }
}

fn pictures(path: &Path, size: usize) -> Images {
    Unsaved {
        preparation: Preparation { size, framing: Framing::Crop, exif: false },
        labels: vec![Some(0)],
        classes: ["a", "b"].map(String::from).into(),
        names: vec!["0_1.png".into()],
        pixels: Data::Bytes(vec![0; 3 * size * size]),
    }
    .save(path, &provenance())
    .unwrap();
    Images::load(path).unwrap()
}

/// Pixels of another size are others.
#[test]
fn they_stay_with_pictures_of_their_size() {
    let dir = tempfile::tempdir().unwrap();
    for (size, text) in [(16, "flip,shift=2"), (32, "none")] {
        let images = pictures(&dir.path().join("p"), size);
        let (model, _) = model("flip,shift=2").for_images(&images, 1).unwrap();
        assert_eq!(model.views, text.parse::<FixedViews>().unwrap(), "{size}");
    }
}
