//! Pictures from outside: a folder of JPEG, PNG, WebP, BMP and GIF files → u8 RGB pixels of one size.
//!
//! A crate of its own, as a browser prepares pictures by it, too, where nothing else of `common` is wanted.
//! [`listing`] says which files are pictures, `jpeg` which decoder reads a JPEG right, [`fingerprint`] which
//! pictures are one picture.

pub mod fingerprint;
pub mod listing;

mod contained;
mod jpeg;
#[cfg(feature = "formats")]
mod thumbnail;

pub use listing::{class_of, id_of, list};
#[cfg(feature = "formats")]
pub use thumbnail::{jpeg, thumbnail};

use anyhow::{Result, ensure};
use artifacts::pictures::{Framing, MAX_SIZE, Preparation};
use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;
use image::RgbImage;
use image::metadata::Orientation;
use std::path::Path;

/// Most pixels of a picture that is decoded: Pillow's limit, beyond which it warns of a decompression
/// bomb. Decoding takes up to seventeen bytes for each (progressive CMYK), per thread.
pub const MAX_PIXELS: u64 = 1024 * 1024 * 1024 / 4 / 3;

/// Why there are no pixels.
#[derive(Debug)]
pub enum Trouble {
    /// The disk, not the picture: nothing that was read can be trusted.
    Disk(std::io::Error),
    /// What is wrong with the picture.
    Picture(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk(e) => write!(f, "cannot be read: {e}"),
            Self::Picture(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    fn picture(reason: impl std::fmt::Display) -> Self {
        Self::Picture(reason.to_string())
    }
}

/// Decode one file of at most `max_pixels` and prepare it: planes R, G, B of `size × size` bytes.
///
/// Grey is repeated, alpha dropped, CMYK converted; of several frames the first is taken.
///
/// # Errors
/// A file that cannot be read, that is no picture, one that is cut short or too large.
pub fn prepare(
    path: &Path,
    how: &Preparation,
    max_pixels: u64,
) -> std::result::Result<Vec<u8>, Trouble> {
    if !(1..=MAX_SIZE).contains(&how.size) {
        return Err(Trouble::Picture(format!("size {} is not in 1..={MAX_SIZE}", how.size)));
    }
    prepare_bytes(&read(path)?, how, max_pixels)
}

/// The bytes of a file that is called a picture.
///
/// # Errors
/// A file that cannot be read, or what is no file.
pub fn read(path: &Path) -> std::result::Result<Vec<u8>, Trouble> {
    match path.metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(Trouble::picture("not a file: a folder, a device or a pipe")),
        Err(e) if path.is_symlink() => return Err(Trouble::Picture(format!("a broken link: {e}"))),
        Err(e) => return Err(Trouble::Disk(e)),
    }
    std::fs::read(path).map_err(Trouble::Disk)
}

/// [`prepare`] of a file's contents.
///
/// # Errors
/// Contents that are no picture, that are cut short or too large, or that the decoder fails on.
pub fn prepare_bytes(
    bytes: &[u8],
    how: &Preparation,
    max_pixels: u64,
) -> std::result::Result<Vec<u8>, Trouble> {
    contained::contained(|| prepare_decoded(decode(bytes, how.exif, max_pixels)?, how, max_pixels))
}

/// [`prepare`] of pixels that something else has decoded: rows of R, G, B bytes, `width` of them each.
///
/// # Errors
/// A picture too large, or not of the bytes that its sides promise.
pub fn prepare_pixels(
    rgb: Vec<u8>,
    (width, height): (u32, u32),
    how: &Preparation,
    max_pixels: u64,
) -> std::result::Result<Vec<u8>, Trouble> {
    check_size(width, height, max_pixels)?;
    let told = || Trouble::Picture(format!("not the bytes of {width} × {height} pixels"));
    prepare_decoded(RgbImage::from_raw(width, height, rgb).ok_or_else(told)?, how, max_pixels)
}

fn prepare_decoded(
    picture: RgbImage,
    how: &Preparation,
    max_pixels: u64,
) -> std::result::Result<Vec<u8>, Trouble> {
    let square =
        to_square(picture, how, max_pixels).map_err(|e| Trouble::picture(format!("{e:#}")))?;
    Ok(planes(&square))
}

fn check_size(w: u32, h: u32, max_pixels: u64) -> std::result::Result<(), Trouble> {
    if u64::from(w) * u64::from(h) > max_pixels {
        return Err(Trouble::Picture(format!("{w} × {h} pixels are more than {max_pixels}")));
    }
    Ok(())
}

fn decode(bytes: &[u8], exif: bool, max_pixels: u64) -> std::result::Result<RgbImage, Trouble> {
    if bytes.is_empty() {
        return Err(Trouble::picture("an empty file"));
    }
    let (picture, orientation) = if bytes.starts_with(&[0xff, 0xd8]) {
        jpeg::decode(bytes, max_pixels)?
    } else {
        other(bytes, max_pixels)?
    };
    Ok(if exif { turned(picture, orientation) } else { picture })
}

/// PNG, WebP, BMP or the first frame of a GIF, by the content.
#[cfg(feature = "formats")]
fn other(bytes: &[u8], max_pixels: u64) -> std::result::Result<(RgbImage, Orientation), Trouble> {
    use image::ImageDecoder;
    let Some(format) = listing::format_of(bytes) else {
        return Err(Trouble::picture(listing::foreign_format_of(bytes).map_or_else(
            || "not a picture that is read: neither JPEG, PNG, WebP, BMP nor GIF".to_owned(),
            |name| format!("{name}, which is not read: save it as JPEG or PNG"),
        )));
    };
    let reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().map_err(Trouble::picture)?;
    let (w, h) = decoder.dimensions();
    check_size(w, h, max_pixels)?;
    let orientation = decoder.orientation().map_err(Trouble::picture)?;
    let picture = image::DynamicImage::from_decoder(decoder).map_err(Trouble::picture)?;
    Ok((picture.into_rgb8(), orientation))
}

#[cfg(not(feature = "formats"))]
fn other(_: &[u8], _: u64) -> std::result::Result<(RgbImage, Orientation), Trouble> {
    Err(Trouble::picture("not a JPEG"))
}

/// As a viewer shows it. Not by way of `DynamicImage`, which brings the code of a dozen pixel types.
fn turned(picture: RgbImage, orientation: Orientation) -> RgbImage {
    use Orientation as O;
    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    match orientation {
        O::NoTransforms => picture,
        O::FlipHorizontal => flip_horizontal(&picture),
        O::FlipVertical => flip_vertical(&picture),
        O::Rotate90 => rotate90(&picture),
        O::Rotate180 => rotate180(&picture),
        O::Rotate270 => rotate270(&picture),
        O::Rotate90FlipH => flip_horizontal(&rotate90(&picture)),
        O::Rotate270FlipH => flip_horizontal(&rotate270(&picture)),
    }
}

/// `[h, w, 3]` → `[3, h, w]`.
fn planes(picture: &RgbImage) -> Vec<u8> {
    let n = picture.as_raw().len() / 3;
    let mut out = vec![0; 3 * n];
    let (red, rest) = out.split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    let pixels = picture.as_raw().as_chunks::<3>().0.iter();
    for (((pixel, r), g), b) in pixels.zip(red).zip(green).zip(blue) {
        [*r, *g, *b] = *pixel;
    }
    out
}

fn to_square(picture: RgbImage, how: &Preparation, max_pixels: u64) -> Result<RgbImage> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    ensure!(w > 0 && h > 0, "an empty picture");
    let side = how.size;
    // The other side, rounded down as torchvision's Resize does.
    let scaled = |long: usize, short: usize| (side * long / short).max(1);
    let (w2, h2) = match how.framing {
        Framing::Squash => (side, side),
        Framing::Crop if w < h => (side, scaled(h, w)),
        Framing::Crop => (scaled(w, h), side),
        Framing::Letterbox if w < h => (scaled(w, h), side),
        Framing::Letterbox => (side, scaled(h, w)),
        Framing::Center => (w, h),
    };
    ensure!(
        (w2 * h2) as u64 <= max_pixels,
        "{w} × {h} pixels are too narrow: resized they would be {w2} × {h2}"
    );
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

#[cfg(test)]
mod tests {
    use super::*;

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
