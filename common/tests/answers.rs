//! Answers on disk, and what is said about them, against cases worked by hand.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::answers::About;
use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Answers, Framing, Images, Preparation, Provenance};
use common::cost::Cost;
use common::statistics::{self as st, Bin, Paired};
use std::path::Path;

const LABELS: [usize; 4] = [0, 1, 1, 0];

/// Four pictures of two classes in `folder`, called `a` to `d`.
fn pictures(folder: &Path, labels: [usize; 4], prefix: &str) -> Images {
    let path = folder.join(format!("images{prefix}{labels:?}.safetensors"));
    let unsaved = Unsaved {
        preparation: Preparation { size: 1, framing: Framing::Crop, exif: true },
        classes: vec!["ja".to_owned(), "nein".to_owned()],
        labels: labels.into_iter().map(Some).collect(),
        names: ["a", "b", "c", "d"].map(|n| format!("{prefix}{n}")).to_vec(),
        pixels: Data::Bytes(vec![7; 12]),
    };
    unsaved.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
    Images::load(&path).unwrap()
}

fn answers(folder: &Path, name: &str, images: &Images, logits: [f32; 8]) -> Answers {
    let path = folder.join(format!("{name}.answers.safetensors"));
    let about = About {
        name: name.to_owned(),
        classes: images.classes.clone(),
        model: "0123456789abcdef".to_owned(),
        images: images.source.hash.clone(),
        parameters: 5,
        bytes: 6,
        multiplications: 7,
    };
    let provenance = Provenance::new("test", &()).unwrap();
    Answers::save(&path, &about, &provenance, images, logits.to_vec()).unwrap();
    let read = Answers::load(&path).unwrap();
    assert_eq!((&read.about, &read.names), (&about, &images.names));
    assert_eq!(read.logits().flatten().copied().collect::<Vec<_>>(), logits);
    read
}

/// ln 3 makes probabilities of 3/4 and 1/4, ln 19 such of 19/20 and 1/20.
#[test]
fn hand_worked() {
    let folder = tempfile::tempdir().unwrap();
    let images = pictures(folder.path(), LABELS, "");
    let (three, nineteen) = (3f32.ln(), 19f32.ln());
    // Right with 3/4; right with 19/20; wrong with 3/4; equal logits: the first class, right.
    let a = answers(folder.path(), "a", &images, [three, 0., 0., nineteen, three, 0., 1., 1.]);
    assert_eq!(st::hits(&a), [true, true, false, true]);
    assert_eq!(st::confusion(&a), [[2, 0], [1, 1]]);
    let c = st::calibration(&a);
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}");
    let bin = |i: usize, pictures: usize, accuracy: f64, confidence: f64| {
        assert_eq!(c.bins[i].pictures, pictures, "{i}");
        near(c.bins[i].accuracy, accuracy);
        near(c.bins[i].confidence, confidence);
    };
    bin(4, 1, 1.0, 0.5);
    bin(7, 2, 0.5, 0.75);
    bin(9, 1, 1.0, 0.95);
    assert_eq!(c.bins[0], Bin::default());
    // (|1 - 1/2| + |1 - 3/2| + |1 - 19/20|) / 4
    near(c.error, 1.05 / 4.0);
    // -(ln 3/4 + ln 19/20 + ln 1/4 + ln 1/2) / 4
    near(c.nll, -(0.75f64 * 0.95 * 0.25 * 0.5).ln() / 4.0);
    // The other is right where this one is wrong, and wrong twice where it is right: p = 1.
    let b = answers(folder.path(), "b", &images, [0., 1., 1., 0., 0., 1., 1., 0.]);
    assert_eq!(st::paired(&a, &b), Paired { only_a: 2, only_b: 1, p: 1.0 });
}

#[test]
fn answers_to_other_pictures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let made = |labels, prefix, name| {
        answers(folder.path(), name, &pictures(folder.path(), labels, prefix), [0.; 8])
    };
    let (a, others) = (made(LABELS, "", "a"), made(LABELS, "x", "others"));
    let error = a.check_same_pictures(&others).unwrap_err().to_string();
    assert!(error.contains("answers to other pictures"), "{error}");
    let relabelled = made([1, 1, 1, 0], "", "relabelled");
    let error = a.check_same_pictures(&relabelled).unwrap_err().to_string();
    assert!(error.contains("other labels or classes"), "{error}");
    assert!(a.check_same_pictures(&made(LABELS, "", "again")).is_ok());
}

/// What a stage cost: beside its output, whatever that is called, and read back as written.
#[test]
fn costs_lie_beside_outputs() {
    let folder = tempfile::tempdir().unwrap();
    for (out, beside) in
        [("a.safetensors", "a.cost.csv"), ("b.csv", "b.csv.cost.csv"), ("m.bin", "m.bin.cost.csv")]
    {
        let cost = Cost {
            stage: "infer eval".to_owned(),
            seconds: 1.25,
            pictures: 1000,
            peak_bytes: 3_000_000,
            threads: 2,
        };
        cost.save(&folder.path().join(out)).unwrap();
        let text = std::fs::read_to_string(folder.path().join(beside)).unwrap();
        assert_eq!(
            text,
            "stage,seconds,pictures,peak_bytes,threads\ninfer eval,1.25,1000,3000000,2\n"
        );
        assert_eq!(Cost::load(&folder.path().join(beside)).unwrap(), cost);
    }
    std::fs::write(folder.path().join("c.cost.csv"), "stage\nx\n").unwrap();
    let error = Cost::load(&folder.path().join("c.cost.csv")).unwrap_err().to_string();
    assert!(error.contains("c.cost.csv: not the cost of a stage"), "{error}");
}
