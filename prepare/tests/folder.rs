//! Folders of pictures, good ones and bad ones, as images artifacts.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::{Framing, Images, Preparation};
use common::share::Share;
use photos::{self, MAX_PIXELS};
use prepare::folder::{Limits, prepare};
use std::fs;
use std::path::{Path, PathBuf};

const LENIENT: Limits = Limits { unreadable: Share::of_parts(1, 2), max_pixels: MAX_PIXELS };
const STRICT: Limits = Limits { unreadable: Share::of_parts(1, 4), max_pixels: MAX_PIXELS };

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/photos/tests/pictures").join(name)
}

fn how() -> Preparation {
    Preparation { size: 16, framing: Framing::Crop, exif: false }
}

/// A folder with two good files and two bad ones, in a path full of digits.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("food-11 7_x ").tempdir().unwrap();
    fs::copy(picture("rgb.jpg"), dir.path().join("2_10.jpg")).unwrap();
    fs::copy(picture("grey.png"), dir.path().join("0_9.PNG")).unwrap();
    fs::write(dir.path().join("1_0.jpg"), b"not a picture").unwrap();
    let whole = fs::read(picture("rgb.png")).unwrap();
    fs::write(dir.path().join("1_1.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(dir.path().join("notes.txt"), b"ignored").unwrap();
    dir
}

#[test]
fn bad_files_are_reported_and_left_out() {
    let dir = folder();
    let out = dir.path().join("out.safetensors");
    let report = prepare(dir.path(), how(), &[], LENIENT, &out, |_| {}).unwrap();
    assert_eq!((report.written, report.classes, report.unlabelled), (2, 3, 0));
    let bad: Vec<_> =
        report.unreadable.iter().map(|(p, _)| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(bad, ["1_0.jpg", "1_1.png"]);
    assert!(report.unreadable.iter().all(|(_, reason)| !reason.is_empty()));

    let images = Images::load(&out).unwrap();
    assert_eq!(images.names, ["0_9.PNG", "2_10.jpg"]);
    assert_eq!(images.all_labels().unwrap(), [0, 2]);
    assert_eq!(images.classes, ["0", "1", "2"]);
    assert_eq!(images.pixels(1), photos::prepare(&picture("rgb.jpg"), &how(), MAX_PIXELS).unwrap());
    let first = fs::read(&out).unwrap();
    prepare(dir.path(), how(), &[], LENIENT, &out, |_| {}).unwrap();
    assert_eq!(first, fs::read(&out).unwrap(), "same input, same bytes");
}

#[test]
fn too_many_unreadable_ones_fail_and_leave_no_file() {
    let dir = folder();
    let out = dir.path().join("out.safetensors");
    let error = prepare(dir.path(), how(), &[], STRICT, &out, |_| {}).err().unwrap();
    assert!(format!("{error:#}").contains("2 of 4 pictures"), "{error:#}");
    assert!(!out.exists());
    let names = ["a".to_owned(), "b".to_owned()];
    let error = prepare(dir.path(), how(), &names, LENIENT, &out, |_| {}).err().unwrap();
    assert!(format!("{error:#}").contains("class 2"), "{error:#}");
    assert!(prepare(&dir.path().join("no"), how(), &[], LENIENT, &out, |_| {}).is_err());
}

/// A JPEG of two components, progressive, with Adobe's transform 2: zune-jpeg 0.5.15 panics on it.
#[test]
fn one_picture_that_a_decoder_fails_on_is_one_bad_picture() {
    let dir = tempfile::tempdir().unwrap();
    for k in 0..3 {
        fs::copy(picture("rgb.jpg"), dir.path().join(format!("0_{k}.jpg"))).unwrap();
    }
    // Of grey.jpg: progressive, with a second component, and Adobe's segment before all.
    let mut bytes = fs::read(picture("grey.jpg")).unwrap();
    let at = |bytes: &[u8], code: u8| bytes.windows(2).position(|w| w == [0xff, code]).unwrap();
    let frame = at(&bytes, 0xc0);
    bytes[frame + 1] = 0xc2;
    bytes[frame + 3] += 3;
    bytes[frame + 9] = 2;
    bytes.splice(frame + 13..frame + 13, [2, 0x11, 0]);
    let scan = at(&bytes, 0xda);
    bytes[scan + 7..scan + 10].copy_from_slice(&[0, 0, 0]);
    bytes.splice(2..2, *b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x02");
    fs::write(dir.path().join("0_3.jpg"), &bytes).unwrap();
    let out = dir.path().join("out.safetensors");
    let report = prepare(dir.path(), how(), &[], LENIENT, &out, |_| {}).unwrap();
    assert_eq!(report.written, 3);
    assert!(
        report.unreadable[0].1.starts_with("a JPEG of 2 components"),
        "{:?}",
        report.unreadable
    );
}

#[test]
fn pictures_without_labels_say_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(picture("rgb.jpg"), dir.path().join("0001.jpg")).unwrap();
    let out = dir.path().join("testing.safetensors");
    let report = prepare(dir.path(), how(), &[], LENIENT, &out, |_| {}).unwrap();
    assert_eq!((report.unlabelled, report.classes), (1, 0));
    let images = Images::load(&out).unwrap();
    assert_eq!(images.labels, [None]);
    let error = format!("{:#}", images.all_labels().unwrap_err());
    assert!(error.contains("1 of 1 pictures have no label"), "{error}");
}

/// Mean and standard deviation of the two pictures' planes by plain loops.
#[test]
fn moments_are_those_of_the_pixels() {
    let dir = folder();
    let out = dir.path().join("out.safetensors");
    prepare(dir.path(), how(), &[], LENIENT, &out, |_| {}).unwrap();
    let images = Images::load(&out).unwrap();
    let (mean, std) = images.mean_std();
    for c in 0..3 {
        let v: Vec<f64> = (0..2)
            .flat_map(|i| images.pixels(i)[c * 256..(c + 1) * 256].to_vec())
            .map(|p| f64::from(p) / 255.0)
            .collect();
        let m = v.iter().sum::<f64>() / 512.0;
        let d = (v.iter().map(|x| (x - m).powi(2)).sum::<f64>() / 512.0).sqrt();
        assert!((f64::from(mean[c]) - m).abs() < 1e-6);
        assert!((f64::from(std[c]) - d).abs() < 1e-6);
    }
}
