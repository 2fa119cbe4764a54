//! Pictures of every kind against what Pillow makes of them.

use common::photos;
use model::{Fit, Preparation};
use std::path::{Path, PathBuf};

include!("pictures/pillow.rs");

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)
}

fn prepare(name: &str, fit: Fit, size: usize, exif: bool) -> Vec<u8> {
    photos::prepare(&picture(name), &Preparation { size, fit, exif }).unwrap()
}

/// JPEG decoders may differ by a few levels, resizers by one.
#[test]
fn pictures_equal_pillow() {
    for (name, fit, size, means, at) in PILLOW {
        let pixels = prepare(name, *fit, *size, false);
        let plane = size * size;
        assert_eq!(pixels.len(), 3 * plane);
        let tolerance = if name.ends_with("jpg") { 4 } else { 1 };
        for c in 0..3 {
            let p = &pixels[c * plane..(c + 1) * plane];
            let mean = p.iter().map(|v| f64::from(*v)).sum::<f64>() / plane as f64;
            let off = (mean - means[c]).abs();
            assert!(off < 0.5, "{name} {fit:?} {size}: mean {mean}, Pillow {}", means[c]);
            for ((y, x), expected) in [(3, 5), (8, 15), (15, 2)].into_iter().zip(at) {
                let got = p[y * size + x];
                assert!(
                    got.abs_diff(expected[c]) <= tolerance,
                    "{name} {fit:?} {size} at ({y}, {x}): {got}, Pillow {}",
                    expected[c]
                );
            }
        }
    }
}

/// Orientation 6 means: turn by 90° clockwise to view.
#[test]
fn exif_is_obeyed_only_when_asked() {
    let size = 16;
    let as_stored = prepare("turned.jpg", Fit::Crop, size, false);
    assert_eq!(as_stored, prepare("rgb.jpg", Fit::Crop, size, true), "rgb.jpg has no EXIF");
    let turned = prepare("turned.jpg", Fit::Crop, size, true);
    for (i, v) in turned.iter().enumerate() {
        let (c, y, x) = (i / (size * size), i / size % size, i % size);
        let stored = as_stored[c * size * size + (size - 1 - x) * size + y];
        assert!(v.abs_diff(stored) <= 1, "plane {c} ({y}, {x}): {v}, stored {stored}");
    }
}
