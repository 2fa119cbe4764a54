//! Which pictures are one picture.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};
use photos::MAX_PIXELS;
use photos::fingerprint::{Look, MOST_BITS};
use std::io::Cursor;
use std::path::Path;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)).unwrap()
}

fn look(bytes: &[u8]) -> Look {
    Look::of(bytes, MAX_PIXELS).unwrap()
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut out = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, quality)).unwrap();
    out
}

/// Waves that are the finer the further right and down, as fingerprints.py draws them.
fn waves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(x * x + 3 * y) % 256, (5 * x + y * y / 7) % 256, x * y % 256].map(|v| v as u8))
    })
}

/// 12 × 9 patches of colours that depend on `seed`: like photos, with something of all frequencies.
fn patches(seed: u32, width: u32, height: u32) -> RgbImage {
    let level = |patch: u32, c: u32| {
        let mixed = (patch + 1000 * seed + 100_000 * c).wrapping_mul(2_654_435_761);
        ((mixed ^ mixed >> 15).wrapping_mul(2_246_822_519) >> 24) as u8
    };
    RgbImage::from_fn(width, height, |x, y| {
        let patch = y * 9 / height * 12 + x * 12 / width;
        Rgb([0, 1, 2].map(|c| level(patch, c)))
    })
}

/// Numbers by pictures/fingerprints.py.
#[test]
fn hashes_are_those_of_plain_f64() {
    let hashes =
        ["rgb.png", "rgba.png", "rgb.bmp", "palette.png"].map(|name| look(&file(name)).hash);
    let scene = 0xc0c0_3fc0_3fc0_3fc0;
    assert_eq!(hashes, [scene, scene, scene, 0xc2ca_35c9_ba2a_4ce9]);
    assert_eq!(look(&png(&waves(53, 47))).hash, 0x0b6a_d215_758d_7ba2);
    assert_eq!(look(&png(&waves(20, 150))).hash, 0x2515_356d_ca0d_f9e2);
}

/// A picture saved at quality 70, shrunk by a tenth or a half, stored as another format; and others.
#[test]
fn copies_are_near_and_others_are_not() {
    let all: Vec<RgbImage> = (0..12).map(|seed| patches(seed, 120, 90)).collect();
    let looks: Vec<Look> = all.iter().map(|p| look(&png(p))).collect();
    for (i, (picture, of)) in all.iter().zip(&looks).enumerate() {
        let small = |w, h| resize(picture, w, h, FilterType::Triangle);
        for copy in [jpeg(picture, 70), jpeg(&small(108, 81), 70), jpeg(&small(60, 45), 70)] {
            let copy = look(&copy);
            assert!(of.is_near(&copy) && copy.is_near(of), "{i}: {} bits", of.distance(&copy));
        }
        for (j, other) in looks.iter().enumerate().filter(|(j, _)| *j != i) {
            assert!(!of.is_near(other), "{i} and {j}: {} bits", of.distance(other));
        }
    }
}

/// The same patches at a third of their contrast have the hash, and do not look the same.
#[test]
fn hashes_alone_are_not_enough() {
    let bright = patches(1, 80, 80);
    let pale = RgbImage::from_fn(80, 80, |x, y| Rgb(bright.get_pixel(x, y).0.map(|v| v / 3 + 85)));
    let (bright, pale) = (look(&png(&bright)), look(&png(&pale)));
    assert!(bright.distance(&pale) <= MOST_BITS && !bright.is_near(&pale));
}

/// What EXIF turns is the same picture turned.
#[test]
fn pictures_are_seen_as_viewers_show_them() {
    let (turned, upright) = (look(&file("turned.jpg")), look(&file("rgb.jpg")));
    assert_eq!((upright.sides, turned.sides), ([60, 40], [40, 60]));
    let upright = image::load_from_memory(&file("rgb.png")).unwrap().into_rgb8();
    assert!(look(&png(&image::imageops::rotate90(&upright))).is_near(&turned));
}

#[test]
fn thumbnails_keep_the_shape() {
    let bytes = photos::thumbnail(&png(&patches(3, 400, 100)), 96, MAX_PIXELS).unwrap();
    let small = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg).unwrap();
    assert_eq!((small.width(), small.height()), (96, 24));
    let bytes = photos::thumbnail(&png(&patches(3, 20, 10)), 96, MAX_PIXELS).unwrap();
    let small = image::load_from_memory(&bytes).unwrap();
    assert_eq!((small.width(), small.height()), (20, 10));
    assert!(photos::thumbnail(b"no picture", 96, MAX_PIXELS).is_err());
}

/// Planes of 16 px, red above and blue below, come back in these colours, as near as a JPEG keeps them.
#[test]
fn prepared_pictures_become_jpegs() {
    let plane = |top: u8, bottom: u8| [[top; 128], [bottom; 128]].concat();
    let planes = [plane(200, 10), plane(20, 20), plane(0, 180)].concat();
    let bytes = photos::jpeg(&planes, 16).unwrap();
    let read = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg).unwrap().into_rgb8();
    assert_eq!(read.dimensions(), (16, 16));
    for (y, colour) in [(2, [200, 20, 0]), (13, [10, 20, 180])] {
        let found = read.get_pixel(7, y).0;
        assert!((0..3).all(|c| found[c].abs_diff(colour[c]) <= 12), "{found:?}, {colour:?}");
    }
    assert!(photos::jpeg(&planes, 15).is_err());
}
