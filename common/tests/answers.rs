//! Answers and costs on disk.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::answers::About;
use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Answers, Framing, Images, Preparation, Provenance};
use common::cost::Cost;
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
        temperature: None,
        views: views::FixedViews::PLAIN,
    };
    let provenance = Provenance::new("test", &()).unwrap();
    Answers::save(&path, &about, &provenance, images, logits.to_vec()).unwrap();
    let read = Answers::load(&path).unwrap();
    assert_eq!((&read.about, &read.names), (&about, &images.names));
    assert_eq!(read.logits().flatten().copied().collect::<Vec<_>>(), logits);
    read
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
