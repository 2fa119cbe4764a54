//! From a view to the pixels that a network sees.

use crate::{Mixing, Shot, View};
use serde::{Deserialize, Serialize};

/// Pixel values in 0..1 → network input: `(v − mean) / std` per colour.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Per colour, in 0..1.
    pub mean: [f32; 3],
    /// Per colour, in 0..1.
    #[serde(alias = "deviation")] // schema 1
    pub std: [f32; 3],
}

impl Normalization {
    /// Leaves values as they are.
    pub const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };

    /// A prepared picture, planes R, G, B `[3, size, size]`, → `out` `[size, size, 3]`.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        let plane = pixels.len() / 3;
        for (i, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *out = [0, 1, 2].map(|c| f32::from(pixels[c * plane + i]) / 255.0);
            self.scale(out);
        }
    }

    /// A pixel's values in 0..1 → what the network reads.
    #[inline]
    pub(crate) fn scale(&self, pixel: &mut [f32; 3]) {
        for (c, v) in pixel.iter_mut().enumerate() {
            *v = (*v - self.mean[c]) / self.std[c];
        }
    }
}

/// The two rows or columns of a picture around a place, and the weight of the second.
pub type Tap = (usize, usize, f32);

/// Prepared pictures, all of one size.
pub trait Pictures: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Their side, pixels.
    fn size(&self) -> usize;

    /// Picture `i`: planes R, G, B `[3, size, size]`.
    fn pixels(&self, i: usize) -> &[u8];
}

/// A view of picture `i` → `out` `[side, side, 3]`, square, of any side: that of `pictures`, or another, for which
/// the view is one [`View::at`] that side.
pub fn render(
    pictures: &dyn Pictures,
    i: usize,
    view: &View,
    normalization: &Normalization,
    out: &mut [f32],
) {
    let (size, side) = (pictures.size(), side(out));
    shoot(pictures.pixels(i), size, &view.own, out);
    if view.mixing != Mixing::None {
        let (j, shot) = view.partner;
        let mut other = vec![0.0; out.len()];
        shoot(pictures.pixels(j), size, &shot, &mut other);
        match view.mixing {
            Mixing::None => {}
            Mixing::Mixup(w) => {
                for (a, b) in out.iter_mut().zip(&other) {
                    *a = w * *a + (1.0 - w) * b;
                }
            }
            Mixing::CutMix([top, bottom, left, right]) => {
                for y in top..bottom {
                    let row = (y * side + left) * 3..(y * side + right) * 3;
                    out[row.clone()].copy_from_slice(&other[row]);
                }
            }
            Mixing::ResizeMix([top, bottom, left, right]) => {
                for (y, x) in (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x))) {
                    let at = (y * side + x) * 3;
                    out[at..at + 3].copy_from_slice(&shrunk(
                        &other,
                        side,
                        bottom - top,
                        [y - top, x - left],
                    ));
                }
            }
        }
    }
    for pixel in out.as_chunks_mut::<3>().0 {
        normalization.scale(pixel);
    }
}

/// A pixel of `picture` `[size, size, 3]` made `side` pixels wide: the mean of all pixels that its square touches, row by
/// row, as PyTorch's `adaptive_avg_pool2d` has it. Bilinear samples would leave most pixels of a partner unseen.
fn shrunk(picture: &[f32], size: usize, side: usize, at: [usize; 2]) -> [f32; 3] {
    let [rows, columns] = at.map(|i| i * size / side..((i + 1) * size).div_ceil(side));
    let mut sum = [0.0; 3];
    for y in rows.clone() {
        for pixel in
            picture[(y * size + columns.start) * 3..][..3 * columns.len()].as_chunks::<3>().0
        {
            for (sum, v) in sum.iter_mut().zip(pixel) {
                *sum += v;
            }
        }
    }
    sum.map(|v| v / (rows.len() * columns.len()) as f32)
}

/// The side of a square picture `[side, side, 3]`.
fn side(picture: &[f32]) -> usize {
    (picture.len() / 3).isqrt()
}

/// Bilinear samples of a picture in 0..1, `[side, side, 3]`; beyond the border it is mirrored. Where there are fewer than the
/// picture has pixels, they are samples still, not means: random crops are about as large as what they become.
fn shoot(pixels: &[u8], size: usize, shot: &Shot, out: &mut [f32]) {
    let width = side(out);
    if width == size && shot.matrix == Shot::PLAIN.matrix && shot.center == Shot::PLAIN.center {
        Normalization::NONE.apply(pixels, out);
    } else {
        let (step, half) = (size as f32 / width as f32, (width as f32 - 1.0) / 2.0);
        let [[yy, yx], [xy, xx]] = shot.matrix.map(|row| row.map(|v| v * step));
        let [cy, cx] = shot.center.map(|c| c * size as f32 - 0.5);
        for (oy, row) in out.chunks_exact_mut(3 * width).enumerate() {
            let dy = oy as f32 - half;
            for (ox, out) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let dx = ox as f32 - half;
                let row = neighbours(cy + yy * dy + yx * dx, size);
                let column = neighbours(cx + xy * dy + xx * dx, size);
                *out = blend(pixels, size, row, column);
            }
        }
    }
    recolour(out, shot.colour);
}

/// The bilinear mean of the pixels in two rows and two columns of a picture, each colour in 0..1.
#[inline]
pub(crate) fn blend(pixels: &[u8], size: usize, (y0, y1, fy): Tap, (x0, x1, fx): Tap) -> [f32; 3] {
    let plane = size * size;
    [0, 1, 2].map(|c| {
        let p = &pixels[c * plane..(c + 1) * plane];
        let at = |y: usize, x: usize| f32::from(p[y * size + x]);
        let top = at(y0, x0) + fx * (at(y0, x1) - at(y0, x0));
        let bottom = at(y1, x0) + fx * (at(y1, x1) - at(y1, x0));
        (top + fy * (bottom - top)) / 255.0
    })
}

/// The two pixels around a coordinate, mirrored at the borders, and the weight of the second.
#[inline]
fn neighbours(v: f32, size: usize) -> Tap {
    let low = v.floor();
    let mirror = |i: i32| {
        let n = size as i32;
        let i = i.rem_euclid(2 * n);
        (if i < n { i } else { 2 * n - 1 - i }) as usize
    };
    (mirror(low as i32), mirror(low as i32 + 1), v - low)
}

/// Brightness, then contrast about the mean grey, then saturation about each pixel's grey: the factors of
/// torchvision's ColorJitter, in a fixed order. It clamps to 0..1 after each of them, this after the last
/// two: what brightness carries beyond white can come back.
fn recolour(out: &mut [f32], [brightness, contrast, saturation]: [f32; 3]) {
    if [brightness, contrast, saturation] == [1.0; 3] {
        return;
    }
    let grey = |p: &[f32; 3]| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    let pixels = out.as_chunks_mut::<3>().0;
    let n = pixels.len() as f32;
    let mean = pixels.iter().map(|p| grey(p) * brightness).sum::<f32>() / n;
    for pixel in pixels {
        for v in pixel.iter_mut() {
            *v = (contrast * (*v * brightness - mean) + mean).clamp(0.0, 1.0);
        }
        let g = grey(pixel);
        for v in pixel.iter_mut() {
            *v = (g + saturation * (*v - g)).clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_and_a_quarter_turn_move_pixels_exactly() {
        // 2 × 2, red only: 0 1 / 2 3 (in steps of 1/255)
        let mut pixels = vec![0u8; 12];
        pixels[..4].copy_from_slice(&[0, 1, 2, 3]);
        let red = |matrix| {
            let mut out = vec![0.0; 12];
            shoot(&pixels, 2, &Shot { matrix, ..Shot::PLAIN }, &mut out);
            [0, 3, 6, 9].map(|i: usize| (out[i] * 255.0).round() as i32)
        };
        assert_eq!(red([[1.0, 0.0], [0.0, 1.0]]), [0, 1, 2, 3]);
        assert_eq!(red([[1.0, 0.0], [0.0, -1.0]]), [1, 0, 3, 2]);
        assert_eq!(red([[0.0, 1.0], [-1.0, 0.0]]), [1, 3, 0, 2]);
    }

    /// By hand, of 5 pixels made 2 wide: the first of them touches pixels 0 to 2, the second 2 to 4, each way.
    #[test]
    fn a_partner_is_made_smaller_by_means() {
        let picture: Vec<f32> = (0..25).flat_map(|i| [i as f32, (i % 5) as f32, 1.0]).collect();
        assert_eq!(shrunk(&picture, 5, 2, [0, 0]), [6.0, 1.0, 1.0]);
        assert_eq!(shrunk(&picture, 5, 2, [0, 1]), [8.0, 3.0, 1.0]);
        assert_eq!(shrunk(&picture, 5, 2, [1, 0]), [16.0, 1.0, 1.0]);
        assert_eq!(shrunk(&picture, 5, 5, [3, 4]), [19.0, 4.0, 1.0]);
        assert_eq!(shrunk(&picture, 5, 1, [0, 0]), [12.0, 2.0, 1.0]);
    }

    struct Two([Vec<u8>; 2]);

    impl Pictures for Two {
        fn count(&self) -> usize {
            2
        }

        fn size(&self) -> usize {
            4
        }

        fn pixels(&self, i: usize) -> &[u8] {
            &self.0[i]
        }
    }

    /// A partner that is 51 on the left and 153 on the right, in a square of two pixels: 0.2 and 0.6 side by side.
    #[test]
    fn the_square_holds_all_of_the_partner() {
        let partner = (0..48).map(|i| if i % 4 < 2 { 51 } else { 153 }).collect();
        let pictures = Two([vec![255; 48], partner]);
        let (own, weight) = (Shot::PLAIN, 0.75);
        let mixing = Mixing::ResizeMix([1, 3, 2, 4]);
        let view = View { own, partner: (1, own), mixing, weight };
        let mut out = vec![0.0; 48];
        render(&pictures, 0, &view, &Normalization::NONE, &mut out);
        for (i, pixel) in out.as_chunks::<3>().0.iter().enumerate() {
            let expected = match (i / 4, i % 4) {
                (1 | 2, 2) => 0.2,
                (1 | 2, 3) => 0.6,
                _ => 1.0,
            };
            assert!(pixel.iter().all(|v| (v - expected).abs() < 1e-6), "{i}: {pixel:?}");
        }
    }

    /// By hand: of 4 pixels a side, made 2, each sample lies in the middle of four pixels, or of the middle two
    /// at twice the size; of 2, made 4, at 0.25, 0.75 … of the way.
    #[test]
    fn views_have_any_side() {
        let mut pixels = vec![0u8; 48];
        (0..16).for_each(|i| pixels[i] = 10 * i as u8);
        let red = |pixels: &[u8], size, width: usize, zoom| {
            let mut out = vec![0.0; 3 * width * width];
            let matrix = [[zoom, 0.0], [0.0, zoom]];
            shoot(pixels, size, &Shot { matrix, ..Shot::PLAIN }, &mut out);
            out.chunks(3).map(|p| (p[0] * 2550.0).round() as i32).collect::<Vec<_>>()
        };
        assert_eq!(red(&pixels, 4, 2, 1.0), [250, 450, 1050, 1250]);
        assert_eq!(red(&pixels, 4, 2, 0.5), [500, 600, 900, 1000]);
        let small = [0, 40, 80, 120, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(red(&small, 2, 4, 1.0)[..4], [0, 100, 300, 400]);
    }

    #[test]
    fn beyond_the_border_the_picture_is_mirrored() {
        assert_eq!(neighbours(-1.0, 4), (0, 0, 0.0));
        assert_eq!(neighbours(-2.0, 4), (1, 0, 0.0));
        assert_eq!(neighbours(4.0, 4), (3, 2, 0.0));
        assert_eq!(neighbours(1.25, 4), (1, 2, 0.25));
    }
}
