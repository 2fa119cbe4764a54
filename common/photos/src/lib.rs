//! Pictures from outside: a folder of JPEG and PNG files → u8 RGB pixels of one size.
//!
//! A crate of its own, as a browser prepares pictures by it, too, where nothing else of `common` is wanted.

use anyhow::{Context, Result, bail, ensure};
use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x3;
use image::RgbImage;
use image::metadata::Orientation;
use model::pictures::{Fit, MAX_SIZE, Preparation};
use std::path::{Path, PathBuf};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most pixels of a picture that is decoded: Pillow's limit, beyond which it warns of a decompression
/// bomb. Decoding takes up to eleven bytes for each (16-bit RGBA), per thread.
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

    fn jpeg(error: DecodeErrors) -> Self {
        Self::Picture(format!("not a JPEG that can be decoded: {error}").trim_end().to_owned())
    }
}

/// Everything in a folder (not in its subfolders) that is called a picture, in the order of the names.
/// Whether it is one shows itself in [`prepare`].
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
        if extension.is_some_and(|e| e == "jpg" || e == "jpeg" || e == "png") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("{}: no .jpg, .jpeg or .png files in it", folder.display());
    }
    paths.sort();
    Ok(paths)
}

/// Decode one file of at most `max_pixels` and prepare it: planes R, G, B of `size × size` bytes.
///
/// Grey is repeated, alpha dropped, CMYK converted.
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
    match path.metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(Trouble::picture("not a file: a folder, a device or a pipe")),
        Err(e) if path.is_symlink() => return Err(Trouble::Picture(format!("a broken link: {e}"))),
        Err(e) => return Err(Trouble::Disk(e)),
    }
    prepare_bytes(&std::fs::read(path).map_err(Trouble::Disk)?, how, max_pixels)
}

/// [`prepare`] of a file's contents.
///
/// # Errors
/// Contents that are no picture, that are cut short or too large.
pub fn prepare_bytes(
    bytes: &[u8],
    how: &Preparation,
    max_pixels: u64,
) -> std::result::Result<Vec<u8>, Trouble> {
    prepare_decoded(decode(bytes, how.exif, max_pixels)?, how, max_pixels)
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
        jpeg(bytes, max_pixels)?
    } else {
        other(bytes, max_pixels)?
    };
    Ok(if exif { turned(picture, orientation) } else { picture })
}

/// JPEG straight from the decoder that `image` uses, too: all it gives is R, G, B.
fn jpeg(bytes: &[u8], max_pixels: u64) -> std::result::Result<(RgbImage, Orientation), Trouble> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(Trouble::jpeg)?;
    let (w, h) = decoder.dimensions().ok_or_else(|| Trouble::picture("a JPEG without a size"))?;
    // A JPEG can say no more than 65,535.
    let (w, h) = (w as u32, h as u32);
    check_size(w, h, max_pixels)?;
    if !ends(bytes) {
        return Err(Trouble::picture("cut short: the JPEG has no end marker"));
    }
    let turned = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = decoder.decode().map_err(Trouble::jpeg)?;
    let picture =
        RgbImage::from_raw(w, h, pixels).ok_or_else(|| Trouble::picture("too few pixels"))?;
    Ok((picture, turned.unwrap_or(Orientation::NoTransforms)))
}

/// PNG, by its content.
#[cfg(feature = "png")]
fn other(bytes: &[u8], max_pixels: u64) -> std::result::Result<(RgbImage, Orientation), Trouble> {
    use image::ImageDecoder;
    let reader = image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(Trouble::picture)?;
    let mut decoder = reader.into_decoder().map_err(Trouble::picture)?;
    let (w, h) = decoder.dimensions();
    check_size(w, h, max_pixels)?;
    let orientation = decoder.orientation().map_err(Trouble::picture)?;
    let picture = image::DynamicImage::from_decoder(decoder).map_err(Trouble::picture)?;
    Ok((picture.into_rgb8(), orientation))
}

#[cfg(not(feature = "png"))]
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

/// Whether a JPEG reaches its end marker. libjpeg, and with it Pillow, calls it truncated otherwise; the
/// decoder here would fill the rest with grey.
fn ends(jpeg: &[u8]) -> bool {
    // Nothing but the end marker looks like it, save that of a thumbnail: before that the picture itself
    // has not begun, and the decoder says so.
    if jpeg.ends_with(&[0xff, 0xd9]) {
        return true;
    }
    let mut at = 2;
    let mut is_scan = false;
    while let Some([0xff, marker]) = jpeg.get(at..).and_then(|b| b.first_chunk()) {
        match marker {
            // In a scan: a stuffed 0xff, or a restart marker.
            0x00 | 0xd0..=0xd7 if is_scan => at += 2,
            0xd9 => return true,
            // Fill bytes.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let Some(length) = jpeg.get(at + 2..).and_then(|b| b.first_chunk()) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes(*length));
                is_scan = *marker == 0xda;
            }
        }
        if is_scan {
            // On to the next 0xff.
            let rest = jpeg.get(at..).unwrap_or_default();
            let Some(next) = rest.iter().position(|b| *b == 0xff) else { return false };
            at += next;
        }
    }
    false
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
    let (w2, h2) = match how.fit {
        Fit::Squash => (side, side),
        Fit::Crop if w < h => (side, scaled(h, w)),
        Fit::Crop => (scaled(w, h), side),
        Fit::Letterbox if w < h => (scaled(w, h), side),
        Fit::Letterbox => (side, scaled(h, w)),
        Fit::Center => (w, h),
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
