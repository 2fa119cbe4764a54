//! What a picture looks like, in few bytes: by it the same picture is known again after another program has
//! saved or shrunk it.
//!
//! The hash is that of the DCT (C. Zauner, *Implementation and Benchmarking of Perceptual Image Hash
//! Functions*, 2010, section 3.2.1): brightness averaged to 32 × 32, its discrete cosine transform, a bit for
//! each of the 64 lowest frequencies in both directions but the constant ones. There a bit says whether a
//! coefficient exceeds the median, here whether it is positive, which is the same but for a picture with more
//! positive ones than negative. All in whole numbers, so that every machine finds the same bits.

use crate::{Trouble, contained, decode};
use image::RgbImage;

/// Side of the averaged picture.
const SIDE: usize = 32;

/// Side of the hash.
const BITS: usize = 8;

/// Side of the picture that is compared where hashes are alike.
const GREY: usize = 16;

/// Most bits in which the hashes of near copies differ.
///
/// Of 1,500 photos of food at 64 px, shrunk by a tenth and saved at JPEG quality 70, all differ from themselves in at
/// most 4, shrunk by a half in at most 5. Of all 138 million pairs of 16,643 such photos, 11 are as near as that:
/// 9 that show one thing and 2 that do not.
pub const MOST_BITS: u32 = 8;

/// How many times the difference of near copies goes into what they show: the squared differences of brightness into the
/// squared deviations from its mean.
///
/// Hashes alone are alike where pictures are of one kind on one ground: of 5,000 pictures of clothes, 12.5
/// million pairs, 2,285 have hashes as near and differ by a fifth at most, and 9 stay at this bound. Of the photos of food above
/// 7 pairs stay, all of them copies, with a 65th part at most; saved and shrunk by a tenth pictures keep within
/// a 97th of themselves, by a half 999 of 1,000 within a 51st.
const LEAST_TIMES: i64 = 50;

/// Most that a colour varies in a picture that shows a single one: JPEG adds a little to it.
const FLAT: u8 = 8;

/// What a picture looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Width and height as it is shown, pixels.
    pub sides: [u32; 2],
    /// Whether it shows a single colour.
    pub is_flat: bool,
    /// Its perceptual hash.
    pub hash: u64,
    /// Its brightness on 16 × 16 places, row by row.
    grey: Vec<u8>,
}

impl Look {
    /// Of a file's contents, as a viewer shows them: turned as EXIF says.
    ///
    /// # Errors
    /// Contents that are no picture, that are cut short or too large, or that the decoder fails on.
    pub fn of(bytes: &[u8], max_pixels: u64) -> Result<Self, Trouble> {
        contained::contained(|| Ok(Self::of_picture(&decode(bytes, true, max_pixels)?)))
    }

    fn of_picture(picture: &RgbImage) -> Self {
        let averaged = averaged(picture);
        Self {
            sides: picture.dimensions().into(),
            is_flat: is_flat(picture),
            hash: hash(&averaged),
            grey: grey(&averaged),
        }
    }

    /// In how many bits two hashes differ.
    pub fn distance(&self, other: &Self) -> u32 {
        (self.hash ^ other.hash).count_ones()
    }

    /// Whether two pictures are one, saved in two ways. Pictures of a single colour are like none, as nothing
    /// in them tells them apart.
    pub fn is_near(&self, other: &Self) -> bool {
        let shows_something = !self.is_flat && !other.is_flat;
        shows_something && self.distance(other) <= MOST_BITS && self.differs_little(other)
    }

    /// Whether Σ (a − b)² is at most the bound's part of the mean of Σ (a − ā)² and Σ (b − b̄)², in whole numbers.
    fn differs_little(&self, other: &Self) -> bool {
        let n = (GREY * GREY) as i64;
        let sum = |values: &mut dyn Iterator<Item = i64>| values.sum::<i64>();
        // n times the squared deviations.
        let shown = |grey: &[u8]| {
            let values = || grey.iter().map(|v| i64::from(*v));
            n * sum(&mut values().map(|v| v * v)) - sum(&mut values()).pow(2)
        };
        let pairs = self.grey.iter().zip(&other.grey);
        let apart = sum(&mut pairs.map(|(a, b)| (i64::from(*a) - i64::from(*b)).pow(2)));
        2 * LEAST_TIMES * n * apart <= shown(&self.grey) + shown(&other.grey)
    }
}

fn is_flat(picture: &RgbImage) -> bool {
    let (mut least, mut most) = ([u8::MAX; 3], [u8::MIN; 3]);
    for pixel in picture.as_raw().as_chunks::<3>().0 {
        for c in 0..3 {
            least[c] = least[c].min(pixel[c]);
            most[c] = most[c].max(pixel[c]);
        }
    }
    (0..3).all(|c| most[c].saturating_sub(least[c]) <= FLAT)
}

/// Pieces of `n` pixels on [`SIDE`] cells: pixel, cell, length in parts of which a pixel has `SIDE` and a cell `n`.
fn pieces(n: usize) -> Vec<(usize, usize, u64)> {
    let mut all = Vec::with_capacity(n + SIDE);
    for pixel in 0..n {
        let (mut from, end) = (pixel * SIDE, (pixel + 1) * SIDE);
        while from < end {
            let cell = from / n;
            let to = end.min((cell + 1) * n);
            all.push((pixel, cell, (to - from) as u64));
            from = to;
        }
    }
    all
}

/// Mean brightness (Rec. 601: 0.299 R + 0.587 G + 0.114 B) of each of 32 × 32 cells, 256ths of a level, row by
/// row. Cells that end within a pixel get their share of it. Sums fit up to 7 · 10¹³ pixels.
fn averaged(picture: &RgbImage) -> Vec<u64> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let across = pieces(w);
    let mut line = [0; SIDE];
    let mut summed = None;
    let mut sums = vec![0u64; SIDE * SIDE];
    for (y, cell, part) in pieces(h) {
        if summed != Some(y) {
            line.fill(0);
            let row = picture.as_raw()[3 * y * w..3 * (y + 1) * w].as_chunks::<3>().0;
            for (x, cell, part) in &across {
                let [r, g, b] = row[*x].map(u64::from);
                line[*cell] += part * (299 * r + 587 * g + 114 * b);
            }
            summed = Some(y);
        }
        let sums = &mut sums[cell * SIDE..(cell + 1) * SIDE];
        sums.iter_mut().zip(&line).for_each(|(sum, l)| *sum += part * l);
    }
    let whole = 1000 * (w * h) as u64;
    sums.iter().map(|sum| sum / whole * 256 + sum % whole * 256 / whole).collect()
}

/// 4096 cos(π m / 64), rounded, for m of 0 to 32.
const COSINES: [i64; 33] = [
    4096, 4091, 4076, 4052, 4017, 3973, 3920, 3857, 3784, 3703, 3612, 3513, 3406, 3290, 3166, 3035,
    2896, 2751, 2598, 2440, 2276, 2106, 1931, 1751, 1567, 1380, 1189, 995, 799, 601, 401, 201, 0,
];

/// 4096 cos(π m / 64), rounded.
fn cosine(m: usize) -> i64 {
    match m % 128 {
        m @ 0..=32 => COSINES[m],
        m @ 33..=64 => -COSINES[64 - m],
        m @ 65..=96 => -COSINES[m - 64],
        m => COSINES[128 - m],
    }
}

/// Signs of the coefficients of frequencies 1 to 8 downwards (the highest bits first) and across. Sums stay
/// below 2⁵¹.
fn hash(averaged: &[u64]) -> u64 {
    let wave = |frequency: usize, i: usize| cosine(frequency * (2 * i + 1));
    let rows: Vec<[i64; BITS]> = averaged
        .chunks_exact(SIDE)
        .map(|row| {
            let sum = |f| row.iter().enumerate().map(|(i, v)| wave(f, i) * *v as i64).sum();
            std::array::from_fn(|k| sum(k + 1))
        })
        .collect();
    let bits = (0..BITS * BITS).map(|at| {
        let (down, across) = (at / BITS, at % BITS);
        let down = |i| wave(down + 1, i);
        rows.iter().enumerate().map(|(i, row)| down(i) * row[across]).sum::<i64>() > 0
    });
    bits.fold(0, |hash, bit| hash << 1 | u64::from(bit))
}

/// Means of 2 × 2 cells as whole levels.
fn grey(averaged: &[u64]) -> Vec<u8> {
    let at = |i: usize| {
        let (y, x) = (2 * (i / GREY), 2 * (i % GREY));
        let cell = |dy: usize, dx: usize| averaged[(y + dy) * SIDE + x + dx];
        // At most 255 · 256 each.
        ((cell(0, 0) + cell(0, 1) + cell(1, 0) + cell(1, 1)) / (4 * 256)) as u8
    };
    (0..GREY * GREY).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, and the hash of a picture of one wave, by plain f64.
    #[test]
    fn cosines_are_those_of_f64() {
        for m in 0..200 {
            let exact = 4096.0 * (std::f64::consts::PI * m as f64 / 64.0).cos();
            assert_eq!(cosine(m), exact.round() as i64, "{m}");
        }
    }

    /// 3 pixels on 32 cells: a cell is 3 parts long, a pixel 32; all of both are used up.
    #[test]
    fn pieces_are_of_whole_length() {
        for n in [1, 3, 31, 32, 33, 64, 100] {
            let all = pieces(n);
            let of = |by: &dyn Fn(&(usize, usize, u64)) -> bool| {
                all.iter().filter(|p| by(p)).map(|p| p.2).sum::<u64>()
            };
            for pixel in 0..n {
                assert_eq!(of(&|p| p.0 == pixel), 32, "pixel {pixel} of {n}");
            }
            for cell in 0..32 {
                assert_eq!(of(&|p| p.1 == cell), n as u64, "cell {cell} of {n}");
            }
        }
        let third: Vec<_> = pieces(3).into_iter().filter(|p| p.1 == 10).collect();
        assert_eq!(third, [(0, 10, 2), (1, 10, 1)]);
    }

    #[test]
    fn one_colour_is_flat_and_like_nothing() {
        let plain = Look::of_picture(&RgbImage::from_pixel(40, 30, image::Rgb([200, 10, 10])));
        assert!(plain.is_flat && !plain.is_near(&plain));
        assert_eq!((plain.sides, plain.hash), ([40, 30], 0));
        // 0.299 · 200 + 0.701 · 10 = 66.81.
        assert!(plain.grey.iter().all(|v| *v == 66));
        let shade = RgbImage::from_fn(40, 30, |x, _| image::Rgb([x as u8 * 5, 10, 10]));
        let shade = Look::of_picture(&shade);
        assert!(!shade.is_flat && shade.is_near(&shade));
    }
}
