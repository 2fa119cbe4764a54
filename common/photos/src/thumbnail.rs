//! Small pictures of pictures, for pages that show many.

use crate::{Trouble, contained, decode, resize};
use image::codecs::jpeg::JpegEncoder;

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
        let mut out = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut out, QUALITY);
        small.write_with_encoder(encoder).map_err(Trouble::picture)?;
        Ok(out)
    })
}
