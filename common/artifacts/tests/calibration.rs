//! What a shipped file says of its probabilities, and that files that say nothing are what they were.

use artifacts::artifact::{Tensor, save, size};
use artifacts::{Artifact, Calibration, Framing, Header, Input, Model, Preparation, Provenance};
use graph::grid::Grids;
use views::{FixedViews, Normalization};

fn model() -> Model {
    let graph: graph::Graph =
        "input 3;a:conv 3>4 k3 bias;relu;gap;f:linear 4>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size: 8, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    Model {
        graph,
        weights,
        input,
        classes: vec!["a".into(), "b".into()],
        grids: Grids::new(),
        views: FixedViews::PLAIN,
    }
}

fn coded(calibration: Option<Calibration>) -> (Header, Vec<Tensor>) {
    made(Provenance::new("test", &()).unwrap(), calibration)
}

fn made(provenance: Provenance, calibration: Option<Calibration>) -> (Header, Vec<Tensor>) {
    let (spec, payload) = model().with_bits(16).unwrap();
    model().calibrated(spec, payload, &provenance, calibration).unwrap()
}

#[test]
fn it_comes_back_as_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.bin");
    let found = |calibration| {
        let (header, tensors) = coded(calibration);
        save(&path, &header, tensors).unwrap();
        let artifact = Artifact::read(&path).unwrap();
        assert_eq!(Model::from_artifact(&artifact).unwrap().weights.len(), 4);
        Calibration::of(&artifact)
    };
    assert_eq!(found(None).unwrap(), None);
    let good = Calibration { temperature: 1.33, threshold: 0.4596, rejected: 0.05 };
    assert_eq!(found(Some(good)).unwrap(), Some(good));
    assert!(good.is_unknown(0.4595) && !good.is_unknown(0.4596));
    for bad in [
        Calibration { temperature: 0.0, ..good },
        Calibration { temperature: -1.0, ..good },
        Calibration { rejected: 1.5, ..good },
        // JSON has no infinity: null.
        Calibration { temperature: f64::INFINITY, ..good },
        Calibration { threshold: f64::NAN, ..good },
    ] {
        let told = format!("{:#}", found(Some(bad)).unwrap_err());
        assert!(told.contains("m.bin: malformed calibration"), "{told}");
    }
}

/// A header without one has no word of it; with one it is longer by 78 bytes, of
/// `\"calibration\":{\"rejected\":0.05,\"temperature\":1.33,\"threshold\":0.4596},`, and the file to a multiple of 8.
#[test]
fn a_file_without_one_is_no_longer_than_before() {
    let calibration = Calibration { temperature: 1.33, threshold: 0.4596, rejected: 0.05 };
    let [plain, with] = [None, Some(calibration)].map(coded);
    assert!(!serde_json::to_string(&plain.0).unwrap().contains("calibration"));
    let [plain, with] = [plain, with].map(|(header, tensors)| size(&header, &tensors).unwrap());
    assert!([72, 80].contains(&(with - plain)), "{plain} {with}");
}

/// With as many digits as quantize pack writes, and the pictures' hash among the parents: what make and the message of
/// quantize pack reckon with.
#[test]
fn the_longest_takes_136_bytes() {
    let longest = Calibration { temperature: 19.999, threshold: 0.9999, rejected: 0.0499 };
    let provenance = || Provenance::new("quantize pack", &()).unwrap();
    let mut with = provenance();
    with.parents.insert("model".to_owned(), "0".repeat(16));
    let plain = with.clone();
    with.parents.insert("calibration".to_owned(), "0".repeat(16));
    let bytes = |(header, tensors): (Header, Vec<Tensor>)| size(&header, &tensors).unwrap();
    let more = bytes(made(with, Some(longest))) - bytes(made(plain, None));
    assert!((120..=136).contains(&more), "{more}");
}
