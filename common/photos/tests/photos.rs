//! Pictures of every kind against what Pillow makes of them.

use artifacts::{Framing, Preparation};
use photos::{self, MAX_PIXELS, Trouble};
use std::path::{Path, PathBuf};

include!("pictures/pillow.rs");

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)
}

fn prepare(name: &str, framing: Framing, size: usize, exif: bool) -> Vec<u8> {
    photos::prepare(&picture(name), &Preparation { size, framing, exif }, MAX_PIXELS).unwrap()
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
    let as_stored = prepare("turned.jpg", Framing::Crop, size, false);
    assert_eq!(as_stored, prepare("rgb.jpg", Framing::Crop, size, true), "rgb.jpg has no EXIF");
    for name in ["turned.jpg", "turned.webp"] {
        let as_stored = prepare(name, Framing::Crop, size, false);
        let turned = prepare(name, Framing::Crop, size, true);
        for (i, v) in turned.iter().enumerate() {
            let (c, y, x) = (i / (size * size), i / size % size, i % size);
            let stored = as_stored[c * size * size + (size - 1 - x) * size + y];
            assert!(v.abs_diff(stored) <= 1, "{name} plane {c} ({y}, {x}): {v}, stored {stored}");
        }
    }
}

const HOW: Preparation = Preparation { size: 16, framing: Framing::Crop, exif: false };

fn trouble(path: &Path) -> String {
    match photos::prepare(path, &HOW, MAX_PIXELS) {
        Err(Trouble::Picture(reason)) => reason,
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// Pillow 13: `Image.open(io.BytesIO(data[:n])).load()` raises "image file is truncated" for every n
/// below the whole of these files, baseline and progressive, and accepts what follows the end.
#[test]
#[allow(clippy::disallowed_methods)] // tests write files as they please
fn jpegs_that_are_cut_short_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.jpg");
    for name in ["rgb.jpg", "grey.jpg", "cmyk.jpg", "turned.jpg", "progressive.jpg"] {
        let whole = std::fs::read(picture(name)).unwrap();
        for cut in (0..whole.len()).step_by(7).chain(whole.len() - 5..whole.len()) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            trouble(&path);
        }
        std::fs::write(&path, [&whole[..], b"junk"].concat()).unwrap();
        assert_eq!(
            photos::prepare(&path, &HOW, MAX_PIXELS).unwrap(),
            photos::prepare(&picture(name), &HOW, MAX_PIXELS).unwrap()
        );
    }
}

/// Sixty files that are no pictures, or such as no one should decode: each is told apart, none takes
/// memory, none is opened that could block.
#[cfg(unix)]
#[test]
#[allow(clippy::disallowed_methods)] // tests write files as they please
fn bad_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("folder.jpg")).unwrap();
    assert!(trouble(&at("folder.jpg")).contains("not a file"));
    std::os::unix::fs::symlink("nowhere", at("link.jpg")).unwrap();
    assert!(trouble(&at("link.jpg")).contains("a broken link"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe.jpg"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(trouble(&at("pipe.jpg")).contains("not a file"));
    std::fs::write(at("empty.jpg"), b"").unwrap();
    assert_eq!(trouble(&at("empty.jpg")), "an empty file");
    assert!(matches!(photos::prepare(&at("none.jpg"), &HOW, MAX_PIXELS), Err(Trouble::Disk(_))));
    // A JPEG that claims 65,500 × 65,500 pixels.
    let mut bomb = std::fs::read(picture("rgb.jpg")).unwrap();
    let frame = bomb.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    bomb[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    std::fs::write(at("bomb.jpg"), &bomb).unwrap();
    assert!(trouble(&at("bomb.jpg")).contains("65500 × 65500 pixels are more than 89478485"));
    // One pixel high, and so long that its middle, resized, would take gigabytes.
    let long = image::GrayImage::new(1, 1_000_000);
    long.save(at("long.png")).unwrap();
    let how = Preparation { size: 128, ..HOW };
    let reason = photos::prepare(&at("long.png"), &how, MAX_PIXELS).unwrap_err().to_string();
    assert!(reason.contains("resized they would be 128 × 128000000"), "{reason}");
    // Cut and flipped: a reason or pixels, never a panic.
    for name in [
        "rgb.jpg",
        "grey.png",
        "palette.png",
        "rgba.png",
        "cmyk.jpg",
        "progressive.jpg",
        "rgb.webp",
        "rgba.webp",
        "moving.webp",
        "moving.gif",
        "palette.bmp",
    ] {
        let whole = std::fs::read(picture(name)).unwrap();
        for k in 0..10 {
            let mut broken = whole.clone();
            broken[(k * 97 + 3) % whole.len()] ^= 1 << (k % 8);
            broken.truncate(whole.len() - k * 11);
            std::fs::write(at("broken"), broken).unwrap();
            let _ = photos::prepare(&at("broken"), &HOW, MAX_PIXELS);
        }
    }
}
