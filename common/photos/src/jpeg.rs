//! JPEG → R, G, B, by whichever decoder reads the file as libjpeg does.
//!
//! zune-jpeg is fast, and wrong without a word about some files that the standard (ITU-T T.81) allows:
//! components in scans of their own, a first component sampled more coarsely than another. jpeg-decoder
//! is slower, and reads those. Which of the two, if any, a file is for, is read here from its markers;
//! `tests/jpegs` holds files of every kind.

use crate::Trouble;
use image::RgbImage;
use image::metadata::Orientation;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

type Outcome<T> = std::result::Result<T, Trouble>;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// What the components are, by libjpeg's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Grey,
    Rgb,
    Ycc,
    Cmyk,
    Ycck,
}

/// Horizontal and vertical sampling factors and the name of a component.
struct Component {
    name: u8,
    sampling: [usize; 2],
}

/// What the markers before the first scan's data say.
struct Headers<'a> {
    /// Width and height.
    sides: [usize; 2],
    is_progressive: bool,
    components: Vec<Component>,
    in_first_scan: usize,
    has_jfif: bool,
    /// The transform in Adobe's segment.
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
    /// Where the first scan's data begin.
    data: usize,
}

/// The code of the next marker, and where it ends. As libjpeg does, skips all that is none: stray bytes
/// between segments, entropy-coded data with its stuffed bytes and restart markers, fill bytes.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == 0xff)?;
        at += bytes[at..].iter().position(|b| *b != 0xff)?;
        match bytes[at] {
            0x00 | 0x01 | 0xd0..=START => at += 1,
            code => return Some((code, at + 1)),
        }
    }
}

/// The contents of the segment at `at`, and where it ends.
fn segment(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    let end = at + usize::from(length);
    Some((bytes.get(at + 2..end)?, end))
}

/// Whether a file whose first scan's data begin at `at` reaches its end marker. libjpeg, and with it Pillow,
/// calls it truncated otherwise; decoders here would fill the rest with grey.
fn ends(bytes: &[u8], mut at: usize) -> bool {
    // Nothing but the end marker looks like it.
    if bytes[at..].ends_with(&[0xff, END]) {
        return true;
    }
    while let Some((code, after)) = next_marker(bytes, at) {
        if code == END {
            return true;
        }
        let Some((_, end)) = segment(bytes, after) else { return false };
        at = end;
    }
    false
}

impl<'a> Headers<'a> {
    fn read(bytes: &'a [u8]) -> Outcome<Self> {
        let cut = || Trouble::picture("cut short: the JPEG ends before its picture");
        let mut found = Headers {
            sides: [0; 2],
            is_progressive: false,
            components: Vec::new(),
            in_first_scan: 0,
            has_jfif: false,
            adobe: None,
            exif: None,
            data: 2,
        };
        loop {
            let (code, after) = next_marker(bytes, found.data).ok_or_else(cut)?;
            if code == END {
                return Err(Trouble::picture("a JPEG without a picture"));
            }
            let (payload, end) = segment(bytes, after).ok_or_else(cut)?;
            found.data = end;
            match code {
                // Of several frames libjpeg reads none.
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    found.frame(code, payload)?
                }
                0xe0 => found.has_jfif |= payload.len() >= 14 && payload.starts_with(b"JFIF\0"),
                0xe1 if found.exif.is_none() => found.exif = payload.strip_prefix(b"Exif\0\0"),
                0xee if payload.starts_with(b"Adobe") => {
                    found.adobe = payload.get(11).copied().or(found.adobe);
                }
                SCAN => {
                    found.in_first_scan = payload.first().copied().unwrap_or_default().into();
                    break;
                }
                _ => {}
            }
        }
        if found.components.is_empty() {
            return Err(Trouble::picture("a JPEG with a scan before its frame"));
        }
        Ok(found)
    }

    fn frame(&mut self, code: u8, payload: &[u8]) -> Outcome<()> {
        let refuse = |what: String| {
            Err(Trouble::Picture(format!("{what}, which is not read: save it as an ordinary JPEG")))
        };
        match code {
            0xc0..=0xc2 => self.is_progressive = code == 0xc2,
            0xc9..=0xcb => return refuse("an arithmetic-coded JPEG".into()),
            _ => return refuse("a lossless or hierarchical JPEG".into()),
        }
        let (Some([bits, h0, h1, w0, w1, count]), true) =
            (payload.first_chunk(), self.components.is_empty())
        else {
            return Err(Trouble::picture("a JPEG with a broken frame"));
        };
        if *bits != 8 {
            return refuse(format!("a JPEG of {bits} bits a component"));
        }
        let count = usize::from(*count);
        if !matches!(count, 1 | 3 | 4) {
            return refuse(format!(
                "a JPEG of {count} components, so neither grey, colour nor CMYK"
            ));
        }
        self.sides = [[*w0, *w1], [*h0, *h1]].map(|side| u16::from_be_bytes(side).into());
        let component = |c: &[u8; 3]| Component {
            name: c[0],
            sampling: [usize::from(c[1] >> 4), usize::from(c[1] & 15)],
        };
        self.components = payload[6..].as_chunks().0.iter().take(count).map(component).collect();
        let is_sound = |c: &Component| c.sampling.iter().all(|s| (1..=4).contains(s));
        if self.components.len() != count || !self.components.iter().all(is_sound) {
            return Err(Trouble::picture("a JPEG with a broken frame"));
        }
        if self.sides.contains(&0) {
            return refuse("a JPEG that says its size only at the end".into());
        }
        Ok(())
    }

    /// By libjpeg's rules (`default_decompress_parms`): JFIF before Adobe before the names.
    fn colours(&self) -> Colours {
        let names: Vec<u8> = self.components.iter().map(|c| c.name).collect();
        match (names.len(), self.adobe) {
            (1, _) => Colours::Grey,
            (3, Some(0)) if !self.has_jfif => Colours::Rgb,
            (3, None) if !self.has_jfif && names == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::Ycc,
            (_, None | Some(0)) => Colours::Cmyk,
            _ => Colours::Ycck,
        }
    }

    fn in_one_scan(&self) -> bool {
        !self.is_progressive && self.in_first_scan == self.components.len()
    }

    /// The largest sampling factors.
    fn most(&self) -> [usize; 2] {
        [0, 1].map(|d| self.components.iter().map(|c| c.sampling[d]).max().unwrap_or(1))
    }

    /// Whether zune-jpeg reads it: measured, not promised by anyone.
    fn is_common(&self) -> bool {
        let sampling = || self.components.iter().flat_map(|c| c.sampling);
        (self.is_progressive || self.in_one_scan())
            && self.components[0].sampling == self.most()
            && sampling().all(usize::is_power_of_two)
    }

    /// Which components stand alone in a scan.
    #[cfg(feature = "formats")]
    fn alone(&self, bytes: &[u8]) -> Vec<&Component> {
        let mut names = Vec::new();
        let mut at = 2;
        while let Some((code, after)) = next_marker(bytes, at)
            && code != END
            && let Some((payload, end)) = segment(bytes, after)
        {
            if code == SCAN && payload.first() == Some(&1) {
                names.extend(payload.get(1));
            }
            at = end;
        }
        self.components.iter().filter(|c| names.contains(&c.name)).collect()
    }

    /// Whether jpeg-decoder reads it. Of a component alone in its scan it expects as many blocks as whole
    /// MCUs hold, but no more than the picture is long; the standard (A.2.2) those of the component.
    #[cfg(feature = "formats")]
    fn is_readable(&self, bytes: &[u8]) -> bool {
        let most = self.most();
        self.components.len() == 1
            || self.alone(bytes).iter().all(|component| {
                [0, 1].into_iter().all(|d| {
                    let (side, sampling) = (self.sides[d], component.sampling[d]);
                    let expected = (side.div_ceil(8 * most[d]) * sampling).min(side.div_ceil(8));
                    expected == (side * sampling).div_ceil(8 * most[d])
                })
            })
    }

    /// Such as `4×1, 2×1, 2×1`.
    fn sampling(&self) -> String {
        let text = |c: &Component| format!("{}×{}", c.sampling[0], c.sampling[1]);
        self.components.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

/// Pixels of a JPEG of at most `max_pixels`, and how to turn them.
///
/// # Errors
/// What is no JPEG, is cut short or too large, or what neither decoder reads.
pub(crate) fn decode(bytes: &[u8], max_pixels: u64) -> Outcome<(RgbImage, Orientation)> {
    let headers = Headers::read(bytes)?;
    // A JPEG can say no more than 65,535.
    let [w, h] = headers.sides.map(|side| side as u32);
    crate::check_size(w, h, max_pixels)?;
    if !ends(bytes, headers.data) {
        return Err(Trouble::picture("cut short: the JPEG has no end marker"));
    }
    let pixels = match common(bytes, &headers) {
        Ok(Some(pixels)) => pixels,
        Ok(None) => uncommon(bytes, &headers)?,
        // What the fast one turns away, the other is asked.
        Err(reason) => uncommon(bytes, &headers).map_err(|_| reason)?,
    };
    let turned = headers.exif.and_then(Orientation::from_exif_chunk);
    let picture =
        RgbImage::from_raw(w, h, pixels).ok_or_else(|| Trouble::picture("too few pixels"))?;
    Ok((picture, turned.unwrap_or(Orientation::NoTransforms)))
}

fn trouble(error: impl std::fmt::Display) -> Trouble {
    Trouble::Picture(format!("not a JPEG that can be decoded: {error}").trim_end().to_owned())
}

/// By zune-jpeg, unless it would read something else than libjpeg does.
fn common(bytes: &[u8], headers: &Headers) -> Outcome<Option<Vec<u8>>> {
    if !headers.is_common() {
        return Ok(None);
    }
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(trouble)?;
    let agrees = match headers.colours() {
        Colours::Grey => decoder.input_colorspace() == Some(ColorSpace::Luma),
        // Adobe's 0, which it calls CMYK for any number of components.
        Colours::Rgb => {
            matches!(decoder.input_colorspace(), Some(ColorSpace::RGB | ColorSpace::CMYK))
        }
        Colours::Ycc => decoder.input_colorspace() == Some(ColorSpace::YCbCr),
        Colours::Cmyk => decoder.input_colorspace() == Some(ColorSpace::CMYK),
        Colours::Ycck => decoder.input_colorspace() == Some(ColorSpace::YCCK),
    };
    if agrees { decoder.decode().map(Some).map_err(trouble) } else { Ok(None) }
}

/// By jpeg-decoder.
#[cfg(feature = "formats")]
fn uncommon(bytes: &[u8], headers: &Headers) -> Outcome<Vec<u8>> {
    use jpeg_decoder::{ColorTransform, Decoder};
    if !headers.is_readable(bytes) {
        return Err(Trouble::Picture(format!(
            "a JPEG with components in scans of their own, sampled {}, which is not read: save it as an \
             ordinary JPEG",
            headers.sampling()
        )));
    }
    let colours = headers.colours();
    let mut decoder = Decoder::new(bytes);
    decoder.set_color_transform(match colours {
        Colours::Grey => ColorTransform::Grayscale,
        Colours::Rgb => ColorTransform::RGB,
        Colours::Ycc => ColorTransform::YCbCr,
        Colours::Cmyk => ColorTransform::CMYK,
        Colours::Ycck => ColorTransform::YCCK,
    });
    let pixels = decoder.decode().map_err(trouble)?;
    Ok(match colours {
        Colours::Grey => pixels.into_iter().flat_map(|v| [v; 3]).collect(),
        Colours::Rgb | Colours::Ycc => pixels,
        // The decoder has turned Adobe's inverted inks around.
        Colours::Cmyk | Colours::Ycck => {
            let bare =
                |ink: u8, key: u8| ((255 - u32::from(ink)) * (255 - u32::from(key)) + 127) / 255;
            let rgb = |[c, m, y, k]: &[u8; 4]| [*c, *m, *y].map(|ink| bare(ink, *k) as u8);
            pixels.as_chunks().0.iter().flat_map(rgb).collect()
        }
    })
}

/// A browser gets one decoder.
#[cfg(not(feature = "formats"))]
fn uncommon(_: &[u8], headers: &Headers) -> Outcome<Vec<u8>> {
    Err(Trouble::Picture(format!(
        "a JPEG of an uncommon kind ({:?}, sampled {}, {} of its components in the first scan): save it as \
         an ordinary JPEG",
        headers.colours(),
        headers.sampling(),
        headers.in_first_scan
    )))
}
