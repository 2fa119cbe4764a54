//! `prepare catalogue` and `prepare images --catalogue`, as programs.

#![allow(clippy::disallowed_methods)] // tests write files as they please

mod patches;

use artifacts::Images;
use common::catalogue::{Catalogue, Split};
use patches::{near_copy, png, save};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prepare")).args(args).current_dir(folder).output().unwrap()
}

/// What a run that must succeed prints.
fn done(args: &[&str], folder: &Path) -> String {
    let output = run(args, folder);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str], folder: &Path) -> String {
    let output = run(args, folder);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The content of every picture of `folder`, by its split in the catalogue.
fn sides(folder: &Path, catalogue: &Catalogue) -> BTreeMap<Vec<u8>, Split> {
    let side = |e: &common::catalogue::Entry| (fs::read(folder.join(&e.file)).unwrap(), e.split);
    catalogue.entries().iter().map(side).collect()
}

fn counts(catalogue: &Catalogue, class: &str) -> [usize; 3] {
    let class = catalogue.classes().iter().position(|c| c == class);
    Split::ALL.map(|s| catalogue.of(s).filter(|e| e.label == class).count())
}

/// 7, 20 and 100 pictures: 70, 15 and 15 % of each, by hand.
#[test]
fn every_class_is_divided_by_the_bytes_of_its_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    for (class, n) in [(0, 7), (1, 20), (2, 100)] {
        for i in 0..n {
            let bytes = png(1000 * class + i);
            save(&a, &format!("{}/{i}.png", ["seven", "twenty", "many"][class as usize]), &bytes);
            // Other names, another order, another depth.
            let name = format!("{}/{}/x{}.PNG", ["G", "T", "H"][class as usize], i % 3, 500 - i);
            save(&b, &name, &bytes);
        }
    }
    let told = done(&["catalogue", "a", "--out", "a.csv", "--threads", "1"], dir.path());
    assert_eq!(told, "a.csv: 127 pictures, 3 classes; 89 training, 19 validation, 19 testing\n");
    let made = Catalogue::load(&dir.path().join("a.csv")).unwrap();
    assert_eq!(made.classes(), ["many", "seven", "twenty"]);
    assert_eq!(counts(&made, "seven"), [5, 1, 1]);
    assert_eq!(counts(&made, "twenty"), [14, 3, 3]);
    assert_eq!(counts(&made, "many"), [70, 15, 15]);
    done(&["catalogue", "b", "--out", "b.csv", "--threads", "2"], dir.path());
    let other = Catalogue::load(&dir.path().join("b.csv")).unwrap();
    assert_eq!(sides(&a, &made), sides(&b, &other));
    let first = fs::read(dir.path().join("a.csv")).unwrap();
    done(&["catalogue", "a", "--out", "a.csv", "--threads", "2"], dir.path());
    assert_eq!(fs::read(dir.path().join("a.csv")).unwrap(), first);
}

/// Each of ten pictures among sixty has a near copy: both are on one side. Alone they would be apart in about
/// half of the cases: 1 − 0.7² − 2 · 0.15² is 0.465.
#[test]
fn near_copies_stay_together() {
    let dir = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        for i in 0..50 {
            let seed = if class == "a" { i } else { 100 + i };
            save(dir.path(), &format!("p/{class}/{i}.png"), &png(seed));
            if i < 10 {
                save(dir.path(), &format!("p/{class}/copy{i}.jpg"), &near_copy(seed));
            }
        }
    }
    let told = done(&["catalogue", "p", "--out", "c.csv"], dir.path());
    assert_eq!(
        told,
        "c.csv: 120 pictures, 2 classes; 84 training, 18 validation, 18 testing; 40 near-copies kept together\n"
    );
    let made = Catalogue::load(&dir.path().join("c.csv")).unwrap();
    let of: BTreeMap<&str, Split> =
        made.entries().iter().map(|e| (e.file.as_str(), e.split)).collect();
    for class in ["a", "b"] {
        for i in 0..10 {
            let pair = [format!("{class}/{i}.png"), format!("{class}/copy{i}.jpg")];
            assert_eq!(of[pair[0].as_str()], of[pair[1].as_str()], "{pair:?}");
        }
    }
    let measured = (0..10).filter(|i| of[format!("a/{i}.png").as_str()] != Split::Training).count();
    assert!(measured > 0, "all pairs are for training");
}

/// Of nine pictures of a class eight are one: too many for training, which gets seven, and said.
#[test]
fn a_class_of_copies_is_divided_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..9 {
        save(dir.path(), &format!("p/a/{i}.png"), &png(if i < 8 { 1 } else { 50 }));
        save(dir.path(), &format!("p/b/{i}.png"), &png(100 + i));
    }
    let output = run(&["catalogue", "p", "--out", "c.csv"], dir.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("class a: 8 pictures are near copies of each other, too many"), "{said}");
    let made = Catalogue::load(&dir.path().join("c.csv")).unwrap();
    assert_eq!((counts(&made, "a"), counts(&made, "b")), ([7, 1, 1], [7, 1, 1]));
}

/// Splits that are given stay; validation comes out of training where it is missing.
#[test]
fn given_splits_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20 {
        save(dir.path(), &format!("p/train/{}_{i}.png", i % 2), &png(i));
        save(dir.path(), &format!("p/test/{i:04}.png"), &png(100 + i));
        let split = if i < 4 { "val" } else { "train" };
        save(dir.path(), &format!("q/{split}/{}/{i}.png", i % 2), &png(i));
    }
    let told = done(&["catalogue", "p", "--out", "p.csv", "--classes", "cat, dog"], dir.path());
    assert_eq!(told, "p.csv: 40 pictures, 2 classes; 16 training, 4 validation, 20 testing\n");
    let made = Catalogue::load(&dir.path().join("p.csv")).unwrap();
    assert!(made.of(Split::Testing).all(|e| e.label.is_none() && e.file.starts_with("test/")));
    assert!(made.of(Split::Validation).all(|e| e.file.starts_with("train/")));
    assert_eq!((counts(&made, "cat"), counts(&made, "dog")), ([8, 2, 0], [8, 2, 0]));
    let told = done(&["catalogue", "q", "--out", "q.csv"], dir.path());
    assert_eq!(told, "q.csv: 20 pictures, 2 classes; 16 training, 4 validation, 0 testing\n");
    // Numbers that leave some out are names.
    let output = run(&["catalogue", "p/train", "--out", "n.csv"], dir.path());
    assert_eq!(output.stderr, b"");
    for i in 0..20 {
        save(dir.path(), &format!("r/{}_{i}.png", 5 + i % 2), &png(i));
    }
    let output = run(&["catalogue", "r", "--out", "n.csv"], dir.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.ends_with("none is left out: class 5 has number 0\n"), "{said}");
    let made = Catalogue::load(&dir.path().join("n.csv")).unwrap();
    assert_eq!(
        (made.classes(), counts(&made, "6")),
        (&["5".to_owned(), "6".to_owned()][..], [6, 2, 2])
    );
    let refusal = refused(&["catalogue", "q/train", "--out", "p/test/0000.png/x.csv"], dir.path());
    assert!(refusal.contains("cannot write"), "{refusal}");
}

/// Unreadable pictures are left out within the share, and count for nothing; beyond it nothing is written.
#[test]
fn unreadable_pictures_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..4 {
        save(dir.path(), &format!("p/a/{i}.png"), &png(i));
        save(dir.path(), &format!("p/b/{i}.png"), &png(10 + i));
    }
    save(dir.path(), "p/b/broken.jpg", b"<html>");
    let refusal = refused(&["catalogue", "p", "--out", "c.csv"], dir.path());
    assert!(refusal.contains("1 of 9 pictures of p are unreadable, 0 are allowed"), "{refusal}");
    assert!(refusal.contains("unreadable: p/b/broken.jpg: not a picture"), "{refusal}");
    assert!(!dir.path().join("c.csv").exists());
    let args = ["catalogue", "p", "--out", "c.csv", "--unreadable", "0.2"];
    assert_eq!(
        done(&args, dir.path()),
        "c.csv: 8 pictures, 2 classes; 4 training, 2 validation, 2 testing; 1 unreadable\n"
    );
    for i in 1..3 {
        fs::write(dir.path().join(format!("p/b/{i}.png")), b"").unwrap();
    }
    let refusal = refused(&["catalogue", "p", "--out", "d.csv", "--unreadable", "0.5"], dir.path());
    assert!(refusal.contains("class b has 2 pictures to be divided, 3 at least"), "{refusal}");
    for i in [0, 3] {
        fs::write(dir.path().join(format!("p/b/{i}.png")), b"").unwrap();
    }
    let refusal = refused(&["catalogue", "p", "--out", "d.csv", "--unreadable", "0.6"], dir.path());
    assert!(refusal.contains("class b: none of its pictures can be read"), "{refusal}");
}

/// The artifact of a split has the catalogue's labels, all of its classes and its paths for names.
#[test]
fn images_by_a_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..6 {
        save(dir.path(), &format!("p/train/10/{i}.png"), &png(i));
        save(dir.path(), &format!("p/train/9/deep/{i}.png"), &png(10 + i));
    }
    save(dir.path(), "p/val/10/0_7.png", &png(30));
    save(dir.path(), "p/test/3_1.png", &png(40));
    done(&["catalogue", "p", "--out", "c.csv"], dir.path());
    let images = |split: &str, out: &str| {
        let args =
            ["images", "p", "--catalogue", "c.csv", "--size", "16", "--split", split, "--out", out];
        done(&args, dir.path());
        Images::load(&dir.path().join(out)).unwrap()
    };
    let training = images("training", "t.safetensors");
    assert_eq!(training.classes, ["9", "10"]);
    assert_eq!(training.names[0], "train/10/0.png");
    assert_eq!(training.names[6], "train/9/deep/0.png");
    assert_eq!(training.all_labels().unwrap(), [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    let how = artifacts::Preparation { size: 16, framing: artifacts::Framing::Crop, exif: false };
    let direct = photos::prepare_bytes(&png(13), &how, photos::MAX_PIXELS).unwrap();
    assert_eq!(training.pixels(9), direct);
    let bytes = fs::read(dir.path().join("c.csv")).unwrap();
    let hash = artifacts::Source::hash(&bytes);
    assert_eq!(training.source.provenance.parents["catalogue"], hash);
    let validation = images("validation", "v.safetensors");
    assert_eq!((validation.classes.len(), validation.labels), (2, vec![Some(1)]));
    let testing = images("testing", "e.safetensors");
    assert_eq!((testing.classes.len(), testing.labels), (2, vec![None]));
    for flags in [&["--split", "testing"][..], &["--catalogue", "c.csv"]] {
        let args = [&["images", "p", "--size", "16", "--out", "x"], flags].concat();
        assert_eq!(run(&args, dir.path()).status.code(), Some(2), "{args:?}");
    }
    let both = ["--catalogue", "c.csv", "--split", "testing", "--classes", "a,b"];
    let args = [&["images", "p", "--size", "16", "--out", "x"][..], &both].concat();
    let both = run(&args, dir.path());
    assert_eq!(both.status.code(), Some(1));
    let told = String::from_utf8_lossy(&both.stderr);
    assert!(told.contains("--classes: the catalogue names the classes"), "{told}");
    // A table that somebody made is not replaced; a catalogue is.
    fs::write(dir.path().join("table.csv"), "file,label\np/x.png,a\n").unwrap();
    let replaced = run(&["catalogue", "p", "--out", "table.csv"], dir.path());
    assert_eq!(replaced.status.code(), Some(1));
    let told = String::from_utf8_lossy(&replaced.stderr);
    assert!(told.contains("table.csv: a table of pictures, and no catalogue"), "{told}");
    done(&["catalogue", "p", "--out", "c.csv"], dir.path());
    fs::remove_file(dir.path().join("p/val/10/0_7.png")).unwrap();
    let args = [
        "images",
        "p",
        "--size",
        "16",
        "--out",
        "x",
        "--catalogue",
        "c.csv",
        "--split",
        "validation",
    ];
    let refusal = refused(&args, dir.path());
    assert!(refusal.contains("0_7.png: cannot be read"), "{refusal}");
}
