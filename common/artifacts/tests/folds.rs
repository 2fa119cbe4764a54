//! Folds of a file of pictures, and what headers say of them.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::logits::Views;
use artifacts::{Artifact, Fold, Folds, Framing, Images, Logits, Preparation, Provenance};
use graph::Array;
use std::path::Path;

/// Pictures of 1 px of these labels and colours.
fn images(at: &Path, told: &[(usize, u8)]) -> Images {
    Unsaved {
        preparation: Preparation { size: 1, framing: Framing::Crop, exif: false },
        classes: ["a", "b"].map(String::from).into(),
        labels: told.iter().map(|(label, _)| Some(*label)).collect(),
        names: (0..told.len()).map(|i| format!("{i}.png")).collect(),
        pixels: Data::Bytes(told.iter().flat_map(|(_, v)| [*v, 0, 255 - v]).collect()),
    }
    .save(at, &Provenance::new("test", &()).unwrap())
    .unwrap();
    Images::load(at).unwrap()
}

/// 30 pictures of a class and 15 of another, all different: five folds of 6 and 3. Together they are all pictures, each
/// once. In another order every picture is in the fold that it was in. Two that are alike are in one.
#[test]
fn folds_part_the_pictures_by_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let told: Vec<(usize, u8)> = (0..45).map(|i| (usize::from(i % 3 == 2), i * 5)).collect();
    let all = images(&dir.path().join("a"), &told);
    let folds = Folds::new(&all, 5).unwrap();
    let mut seen = Vec::<usize>::new();
    for fold in 0..5 {
        let members = folds.members(fold);
        let of_b = members.iter().filter(|i| told[**i].0 == 1).count();
        assert_eq!((members.len(), of_b), (9, 3), "fold {fold}");
        assert!(members.is_sorted() && members.iter().all(|i| folds.of(*i) == fold));
        let others = Fold { number: fold + 1, of: 5 }.others(&all).unwrap();
        assert!(others.len() == 36 && others.iter().all(|i| !members.contains(i)));
        seen.extend(members);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..45).collect::<Vec<_>>());

    let mut turned = told.clone();
    turned.reverse();
    let again = Folds::new(&images(&dir.path().join("b"), &turned), 5).unwrap();
    assert!((0..45).all(|i| again.of(44 - i) == folds.of(i)));

    let mut twice = told.clone();
    twice.push(told[7]);
    let again = Folds::new(&images(&dir.path().join("c"), &twice), 5).unwrap();
    assert_eq!(again.of(45), again.of(7));
}

/// What cannot be learnt without a fold, or parted so often, is refused.
#[test]
fn folds_that_leave_nothing_to_learn_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let few = images(&dir.path().join("a"), &[(0, 1), (0, 2), (0, 3), (1, 9), (1, 9)]);
    let error = Folds::new(&few, 6).unwrap_err().to_string();
    assert!(error.contains("6 folds of 5 pictures, 4 of them different: take"), "{error}");
    // A fifth fold would be empty: the two of b are one.
    assert!(Folds::new(&few, 5).is_err());
    let full = Folds::new(&few, 4).unwrap();
    assert!((0..4).all(|fold| !full.members(fold).is_empty()));
    let folds = Folds::new(&few, 2).unwrap();
    // By hand: class a goes to folds 0, 1, 0, or 1, 0, 1 of its contents; the two of b are one picture and go together.
    let number = folds.of(3) + 1;
    // Whichever fold is asked for first.
    for asked in [1, 2] {
        let error = Fold { number: asked, of: 2 }.others(&few).unwrap_err().to_string();
        let told =
            format!("class b has a single picture, or copies of one: all are in fold {number}/2");
        assert!(error.contains(&told) && error.contains("make without FOLDS="), "{error}");
    }
    let three = images(&dir.path().join("b"), &[(0, 1), (0, 2), (0, 3)]);
    let error = Fold { number: 1, of: 2 }.others(&three).unwrap_err().to_string();
    assert!(error.contains("without one of 2 folds too few pictures are left"), "{error}");
}

/// A model's header says what it left out of these pictures, and of no others.
#[test]
fn a_header_says_what_a_model_has_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let [these, others] = [(0, 1), (1, 2)]
        .map(|(a, b)| images(&dir.path().join(format!("{a}")), &[(a, 7), (b % 2, 8), (1 - a, 9)]));
    let of = |settings: serde_json::Value, images: &Images| {
        let made = Provenance::new("train", &settings).unwrap().from("images", &these.source);
        let mut source = these.source.clone();
        source.provenance = made;
        Fold::left_out(&source, images)
    };
    let fold = serde_json::json!({ "fold": "2/3", "epochs": 1 });
    assert_eq!(of(fold.clone(), &these).unwrap(), Some(Fold { number: 2, of: 3 }));
    assert_eq!(of(fold, &others).unwrap(), None);
    let mut source = these.source.clone();
    source.provenance = Provenance::new("train", &serde_json::json!({ "fold": "2/3" })).unwrap();
    assert_eq!(Fold::told(&source).unwrap(), Some(Fold { number: 2, of: 3 }));
    assert_eq!(of(serde_json::json!({ "epochs": 1 }), &these).unwrap(), None);
    assert!(of(serde_json::json!({ "fold": "4/3" }), &these).is_err());
    assert!(of(serde_json::json!({ "fold": 4 }), &these).is_err());
}

/// As FORMAT.md says: what a program that knows no folds would draw otherwise, it refuses; all else is as it was.
#[test]
fn logits_with_folds_have_a_schema_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("logits");
    let array = Array::new(vec![1, 2, 2], vec![0.0; 4]).unwrap();
    for (folds, schema) in [(None, 3), (Some(2), 4)] {
        let policy = "cutmix=1".parse().unwrap();
        let views = Views { policy, seed: 1, views: 1, images: "x".to_owned(), folds };
        Logits::save(&at, &views, &Provenance::new("test", &()).unwrap(), &array).unwrap();
        let read = Artifact::read(&at).unwrap();
        assert_eq!((read.schema, read.json.get("folds").is_some()), (schema, folds.is_some()));
        assert!(Logits::load(&at).unwrap().views == views);
    }
}
