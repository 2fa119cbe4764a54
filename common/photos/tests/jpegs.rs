//! JPEGs of every kind that the standard allows and tools write, against what Pillow makes of them.

use artifacts::{Framing, Preparation};
use photos::{MAX_PIXELS, Trouble};

include!("jpegs/jpegs.rs");

const BYTES: &[u8] = include_bytes!("jpegs/jpegs.bin");

/// Rows of R, G, B, as Pillow has them. The square is larger than the picture, which lies in its middle.
fn decoded(file: &[u8]) -> Result<Vec<u8>, Trouble> {
    let (w, h) = SIZE;
    let size = w.max(h);
    let how = Preparation { size, framing: Framing::Center, exif: false };
    let planes = photos::prepare_bytes(file, &how, MAX_PIXELS)?;
    let (left, top) = ((size - w) / 2, (size - h) / 2);
    let at = |y: usize, x: usize, c: usize| planes[c * size * size + (top + y) * size + left + x];
    let pixels = (0..h).flat_map(|y| (0..w).map(move |x| (y, x)));
    Ok(pixels.flat_map(|(y, x)| [0, 1, 2].map(|c| at(y, x, c))).collect())
}

/// Decoders round differently, by a level or two; a wrong one is off by dozens.
#[test]
fn jpegs_are_read_as_pillow_reads_them_or_refused() {
    let mut wrong = Vec::new();
    for (name, start, bytes, pixels) in JPEGS {
        let outcome = decoded(&BYTES[*start..start + bytes]);
        match (outcome, pixels) {
            (Ok(found), Some(at)) => {
                let expected = &BYTES[*at..at + found.len()];
                let off = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b));
                let mean = found.iter().zip(expected).map(off).sum::<f64>() / found.len() as f64;
                if mean > 1.0 {
                    wrong.push(format!("{name}: off by {mean:.1} on average"));
                }
            }
            (Err(e), Some(_)) => wrong.push(format!("{name}: {e}")),
            (Ok(_), None) => wrong.push(format!("{name}: is read, and should be refused")),
            // By name: what it is and what to do.
            (Err(e), None) if !e.to_string().contains("which is not read: save it as") => {
                wrong.push(format!("{name}: {e}"));
            }
            (Err(_), None) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), JPEGS.len(), wrong.join("\n"));
}

/// Bytes flipped, cut out and put in, anywhere: pixels or a reason; and where the decoders panic, a reason.
#[test]
fn broken_jpegs_give_pixels_or_a_reason() {
    let mut state = 1u64;
    let mut random = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for (name, start, bytes, _) in JPEGS {
        for _ in 0..20 {
            let mut broken = BYTES[*start..start + bytes].to_vec();
            for _ in 0..=random(4) {
                let at = 2 + random(broken.len() - 2);
                match random(3) {
                    0 => broken[at] ^= 1 << random(8),
                    1 => broken[at] = [0, 1, 0x11, 0x44, 0xff][random(5)],
                    _ => broken.truncate(broken.len() - random(9)),
                }
            }
            broken.extend([0xff, 0xd9]);
            let how = Preparation { size: 16, framing: Framing::Squash, exif: true };
            if let Err(Trouble::Disk(e)) = photos::prepare_bytes(&broken, &how, 1 << 20) {
                panic!("{name}: {e}");
            }
        }
    }
}
