//! Small pictures of pictures, for pages that show many.

use crate::{Trouble, contained, decode, resize};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// Quality of the JPEG: at 96 px some 3 kB.
const QUALITY: u8 = 80;

/// The picture of a file's contents as a JPEG whose long side has at most `side` pixels, turned as EXIF says.
///
/// # Errors
/// Contents that are no picture, that are cut short or too large, or that the decoder fails on.
pub fn thumbnail(bytes: &[u8], side: u32, max_pixels: u64) -> Result<Vec<u8>, Trouble> {
    contained::contained(|| {
        let picture = decode(bytes, true, max_pixels)?;
        let (w, h) = picture.dimensions();
        let long = w.max(h).max(1);
        let scaled = |n: u32| {
            let n = u64::from(n) * u64::from(side.min(long)) / u64::from(long);
            n.max(1) as usize
        };
        let told = |e: anyhow::Error| Trouble::picture(format!("{e:#}"));
        let small = resize(picture, scaled(w), scaled(h)).map_err(told)?;
        encoded(&small)
    })
}

/// A prepared picture, planes R, G, B `[3, size, size]`, as a JPEG.
///
/// # Errors
/// Another number of bytes.
pub fn jpeg(planes: &[u8], size: usize) -> Result<Vec<u8>, Trouble> {
    let side = u32::try_from(size).map_err(Trouble::picture)?;
    let plane = size * size;
    if size == 0 || planes.len() != 3 * plane {
        return Err(Trouble::Picture(format!("{} bytes of {size} px", planes.len())));
    }
    let pixel = |x: u32, y: u32| {
        let at = y as usize * size + x as usize;
        Rgb([0, 1, 2].map(|c| planes[c * plane + at]))
    };
    encoded(&RgbImage::from_fn(side, side, pixel))
}

fn encoded(picture: &RgbImage) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
    picture.write_with_encoder(encoder).map_err(Trouble::picture)?;
    Ok(out)
}
