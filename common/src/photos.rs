//! Pictures from outside: a folder of JPEG and PNG files → u8 RGB pixels of one size.

use anyhow::{Context, Result, bail, ensure};
use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;
use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use model::pictures::{Fit, MAX_SIZE, Preparation};
use std::path::{Path, PathBuf};

/// The pictures of a folder (not of its subfolders), in the order of their names.
///
/// # Errors
/// A folder that cannot be read or holds no picture.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the picture folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        let picture = extension.is_some_and(|e| e == "jpg" || e == "jpeg" || e == "png");
        if picture && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("{}: no .jpg, .jpeg or .png files in it", folder.display());
    }
    paths.sort();
    Ok(paths)
}

/// Decode one file and prepare it: planes R, G, B of `size × size` bytes.
///
/// Grey is repeated, alpha dropped, CMYK converted.
///
/// # Errors
/// A file that cannot be decoded, with its path.
pub fn prepare(path: &Path, how: &Preparation) -> Result<Vec<u8>> {
    ensure!((1..=MAX_SIZE).contains(&how.size), "size {} is not in 1..={MAX_SIZE}", how.size);
    let decode = || -> Result<RgbImage> {
        let mut decoder = ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        if how.exif {
            picture.apply_orientation(orientation);
        }
        Ok(picture.into_rgb8())
    };
    let picture = decode().with_context(|| format!("{}", path.display()))?;
    let square = to_square(picture, how).with_context(|| format!("{}", path.display()))?;
    Ok(planes(&square))
}

/// `[h, w, 3]` → `[3, h, w]`.
fn planes(picture: &RgbImage) -> Vec<u8> {
    let n = picture.as_raw().len() / 3;
    let mut out = vec![0; 3 * n];
    for (i, pixel) in picture.as_raw().as_chunks::<3>().0.iter().enumerate() {
        for (c, v) in pixel.iter().enumerate() {
            out[c * n + i] = *v;
        }
    }
    out
}

fn to_square(picture: RgbImage, how: &Preparation) -> Result<RgbImage> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    ensure!(w > 0 && h > 0, "an empty picture");
    let side = how.size;
    // The other side, rounded down as torchvision's Resize does.
    let scaled = |long: usize, short: usize| (side * long / short).max(1);
    let (w2, h2) = match how.fit {
        Fit::Squash => (side, side),
        Fit::Crop if w < h => (side, scaled(h, w)),
        Fit::Crop => (scaled(w, h), side),
        Fit::Letterbox if w < h => (scaled(w, h), side),
        Fit::Letterbox => (side, scaled(h, w)),
        Fit::Center => (w, h),
    };
    Ok(center(&resize(picture, w2, h2)?, side))
}

/// Bilinear with the filter widened when shrinking (antialiased), as Pillow and torchvision do.
fn resize(picture: RgbImage, w: usize, h: usize) -> Result<RgbImage> {
    if (picture.width() as usize, picture.height() as usize) == (w, h) {
        return Ok(picture);
    }
    // Typed, so that code for this one pixel type is compiled and not for a dozen.
    let (from_w, from_h) = picture.dimensions();
    let source = TypedImageRef::<U8x3>::from_buffer(from_w, from_h, picture.as_raw())?;
    let mut out = RgbImage::new(u32::try_from(w)?, u32::try_from(h)?);
    let (to_w, to_h) = out.dimensions();
    let mut target = TypedImage::<U8x3>::from_buffer(to_w, to_h, out.as_mut())?;
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
    fir::Resizer::new().resize_typed(&source, &mut target, &options)?;
    Ok(out)
}

/// First row or column of the middle `side` of `n`; torchvision rounds half to even.
fn crop_offset(n: usize, side: usize) -> usize {
    let d = n - side;
    if d.is_multiple_of(2) || (d / 2).is_multiple_of(2) { d / 2 } else { d / 2 + 1 }
}

/// The middle `side × side`, black where the picture does not reach (torchvision's CenterCrop:
/// of an odd margin the larger half lies right and below).
fn center(picture: &RgbImage, side: usize) -> RgbImage {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    if (w, h) == (side, side) {
        return picture.clone();
    }
    let place = |n: usize| {
        if n < side { (0, (side - n) / 2, n) } else { (crop_offset(n, side), 0, side) }
    };
    let ((from_x, to_x, nx), (from_y, to_y, ny)) = (place(w), place(h));
    let mut out = RgbImage::new(side as u32, side as u32);
    for y in 0..ny {
        let from = ((from_y + y) * w + from_x) * 3;
        let to = ((to_y + y) * side + to_x) * 3;
        out.as_mut()[to..to + nx * 3].copy_from_slice(&picture.as_raw()[from..from + nx * 3]);
    }
    out
}

/// The class in a file name `[class]_[anything]`, where `[class]` is a whole number.
///
/// Only the name is looked at: digits in the folders never matter.
pub fn class_of(path: &Path) -> Option<usize> {
    let (class, _) = path.file_stem()?.to_str()?.split_once('_')?;
    if class.is_empty() || !class.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    class.parse().ok()
}

/// The id of a picture in a prediction file: its name without extension and leading zeros.
pub fn id_of(name: &str) -> String {
    let stem = Path::new(name).file_stem().and_then(|s| s.to_str()).unwrap_or(name);
    if !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit()) {
        let short = stem.trim_start_matches('0');
        return if short.is_empty() { "0".to_owned() } else { short.to_owned() };
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_comes_from_the_name_alone() {
        let class = |p: &str| class_of(Path::new(p));
        assert_eq!(class("/data/food-11/training/3_17.jpg"), Some(3));
        assert_eq!(class("10_0.png"), Some(10));
        assert_eq!(class("/7_dishes/0001.jpg"), None);
        assert_eq!(class("cat_1.jpg"), None);
        assert_eq!(class("_1.jpg"), None);
        assert_eq!(class("99999999999999999999999_1.jpg"), None);
    }

    #[test]
    fn ids_have_no_leading_zeros() {
        let ids: Vec<String> = ["0000.jpg", "0042.jpg", "3346.jpg", "a01.png"].map(id_of).into();
        assert_eq!(ids, ["0", "42", "3346", "a01"]);
    }

    /// Python: `[int(round((n - 4) / 2.0)) for n in range(4, 12)]`, torchvision's offset.
    #[test]
    fn crop_offset_rounds_half_to_even() {
        let offsets: Vec<usize> = (4..12).map(|n| crop_offset(n, 4)).collect();
        assert_eq!(offsets, [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn small_pictures_are_padded_with_black() {
        let picture = RgbImage::from_pixel(3, 6, image::Rgb([9, 8, 7]));
        let out = center(&picture, 4);
        let row: Vec<u8> = (0..4).map(|x| out.get_pixel(x, 0)[0]).collect();
        assert_eq!(row, [9, 9, 9, 0]);
        assert_eq!(planes(&out)[16..20], [8, 8, 8, 0]);
    }
}
