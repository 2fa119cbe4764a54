//! Pictures for tests: each seed another.

#![allow(dead_code, unreachable_pub)] // no test draws all kinds

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ImageFormat, Rgb, RgbImage};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// 12 × 9 patches of colours that depend on `seed`, as PNG of 80 × 60 px.
pub fn png(seed: u32) -> Vec<u8> {
    encoded(&picture(seed))
}

/// The same picture as another program may have saved it: 72 × 54 px, JPEG of quality 70.
pub fn near_copy(seed: u32) -> Vec<u8> {
    let small = resize(&picture(seed), 72, 54, FilterType::Triangle);
    let mut out = Vec::new();
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut out, 70)).unwrap();
    out
}

/// A picture of one colour.
pub fn plain(width: u32, height: u32) -> Vec<u8> {
    encoded(&RgbImage::from_pixel(width, height, Rgb([9, 90, 200])))
}

/// Writes a file, with the folders that it lies in.
pub fn save(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn encoded(picture: &RgbImage) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, ImageFormat::Png).unwrap();
    out.into_inner()
}

fn picture(seed: u32) -> RgbImage {
    let level = |patch: u32, c: u32| {
        let mixed = (patch + 1000 * seed + 10_000_000 * c).wrapping_mul(2_654_435_761);
        ((mixed ^ mixed >> 15).wrapping_mul(2_246_822_519) >> 24) as u8
    };
    RgbImage::from_fn(80, 60, |x, y| {
        let patch = y * 9 / 60 * 12 + x * 12 / 80;
        Rgb([0, 1, 2].map(|c| level(patch, c)))
    })
}
