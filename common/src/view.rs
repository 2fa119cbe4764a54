//! Views: what a network sees of picture `i` the k-th time.
//!
//! A [`View`] is a pure function of (policy, seed, picture, k): crop, flip, rotation, colour and the
//! partner it is mixed with. A teacher's logits can therefore be computed once per view and kept:
//! the student later sees the very same view ("consistent teaching", Beyer et al. 2022,
//! "Knowledge distillation: a good teacher is patient and consistent", section 3.1).

use artifacts::{Images, Normalization, Policy};
use graph::rng::Rng;

/// Where and how one picture is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot {
    /// Output offset from the centre → input offset, in units of the side: rows of a 2×2 matrix.
    pub matrix: [[f32; 2]; 2],
    /// Input centre, in units of the side.
    pub center: [f32; 2],
    /// Factors on brightness, contrast, saturation.
    pub colour: [f32; 3],
}

/// How a second picture takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixing {
    /// Not at all.
    None,
    /// `weight · own + (1 − weight) · partner`.
    Mixup(f32),
    /// The partner inside the rectangle `[top, bottom, left, right]`, pixels.
    CutMix([usize; 4]),
}

/// The k-th view of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// How the picture itself is looked at.
    pub own: Shot,
    /// The partner picture and how it is looked at.
    pub partner: (usize, Shot),
    /// How the two are mixed.
    pub mixing: Mixing,
    /// Share of the own picture in the target, 1 without mixing.
    pub weight: f32,
}

impl Shot {
    const PLAIN: Self =
        Self { matrix: [[1.0, 0.0], [0.0, 1.0]], center: [0.5, 0.5], colour: [1.0; 3] };

    fn draw(policy: &Policy, seed: u64, picture: usize, k: usize) -> Self {
        let rng = &mut Rng::new(seed, "shot", key(picture, k));
        let mut shot = Self::PLAIN;
        let mut zoom = 1.0;
        if policy.scale > 0.0 {
            zoom = rng.between(policy.scale, 1.0).sqrt();
            let room = (1.0 - zoom) / 2.0;
            shot.center = [0, 1].map(|_| 0.5 + rng.between(-room, room));
        }
        if policy.shift > 0.0 {
            shot.center = shot.center.map(|c| c + rng.between(-policy.shift, policy.shift));
        }
        let (mut sin, mut cos) = (0.0, 1.0);
        if policy.rotate > 0.0 {
            (sin, cos) = rng.between(-policy.rotate, policy.rotate).to_radians().sin_cos();
        }
        let mirror = if policy.flip && rng.chance(0.5) { -1.0 } else { 1.0 };
        shot.matrix = [[cos * zoom, sin * zoom * mirror], [-sin * zoom, cos * zoom * mirror]];
        if policy.colour > 0.0 {
            shot.colour = [0; 3].map(|_| 1.0 + rng.between(-policy.colour, policy.colour));
        }
        shot
    }
}

/// One number for (picture, k); pictures stay below 2³².
fn key(picture: usize, k: usize) -> u64 {
    ((k as u64) << 32) | picture as u64
}

impl View {
    /// The k-th view of `picture` out of `pictures`, `size` pixels wide.
    pub fn of(
        policy: &Policy,
        seed: u64,
        picture: usize,
        k: usize,
        pictures: usize,
        size: usize,
    ) -> Self {
        let own = Shot::draw(policy, seed, picture, k);
        let plain = Self { own, partner: (picture, own), mixing: Mixing::None, weight: 1.0 };
        if policy.mixup <= 0.0 && policy.cutmix <= 0.0 {
            return plain;
        }
        let rng = &mut Rng::new(seed, "mix", key(picture, k));
        let other = rng.below(pictures);
        let partner = (other, Shot::draw(policy, seed, other, k));
        let cut = policy.cutmix > 0.0 && (policy.mixup <= 0.0 || rng.chance(0.5));
        if !cut {
            let weight = rng.beta(policy.mixup);
            return Self { partner, mixing: Mixing::Mixup(weight), weight, ..plain };
        }
        let side = (1.0 - rng.beta(policy.cutmix)).sqrt() * size as f32;
        let span = |centre: f32| {
            let low = (centre - side / 2.0).max(0.0) as usize;
            (low, ((centre + side / 2.0) as usize).min(size))
        };
        let (top, bottom) = span(rng.uniform() * size as f32);
        let (left, right) = span(rng.uniform() * size as f32);
        let weight = 1.0 - ((bottom - top) * (right - left)) as f32 / (size * size) as f32;
        Self { partner, mixing: Mixing::CutMix([top, bottom, left, right]), weight, ..plain }
    }
}

#[cfg(feature = "cuda")]
impl View {
    /// This view of `picture`, as kernels on a CUDA device are told of it.
    pub fn on_device(&self, picture: usize) -> cuda::View {
        let (how, [top, bottom, left, right]) = match self.mixing {
            Mixing::None => (0, [0; 4]),
            Mixing::Mixup(_) => (1, [0; 4]),
            Mixing::CutMix(rectangle) => (2, rectangle.map(|n| n as u32)),
        };
        let (partner, other) = self.partner;
        let shot = |s: &Shot| {
            let ([[yy, yx], [xy, xx]], [cy, cx], [b, c, a]) = (s.matrix, s.center, s.colour);
            [yy, yx, xy, xx, cy, cx, b, c, a]
        };
        cuda::View {
            places: [picture as u32, partner as u32, how, top, bottom, left, right],
            weight: self.weight,
            shots: [shot(&self.own), shot(&other)],
        }
    }
}

/// A view of picture `i` → `out` `[size, size, 3]`.
pub fn render(
    images: &Images,
    i: usize,
    view: &View,
    normalization: &Normalization,
    out: &mut [f32],
) {
    let size = images.size();
    shoot(images.pixels(i), size, &view.own, out);
    if view.mixing != Mixing::None {
        let (j, shot) = view.partner;
        let mut other = vec![0.0; out.len()];
        shoot(images.pixels(j), size, &shot, &mut other);
        match view.mixing {
            Mixing::None => {}
            Mixing::Mixup(w) => {
                for (a, b) in out.iter_mut().zip(&other) {
                    *a = w * *a + (1.0 - w) * b;
                }
            }
            Mixing::CutMix([top, bottom, left, right]) => {
                for y in top..bottom {
                    let row = (y * size + left) * 3..(y * size + right) * 3;
                    out[row.clone()].copy_from_slice(&other[row]);
                }
            }
        }
    }
    for pixel in out.as_chunks_mut::<3>().0 {
        for (c, v) in pixel.iter_mut().enumerate() {
            *v = (*v - normalization.mean[c]) / normalization.std[c];
        }
    }
}

/// Bilinear samples of a picture in 0..1, `[size, size, 3]`; beyond the border it is mirrored.
fn shoot(pixels: &[u8], size: usize, shot: &Shot, out: &mut [f32]) {
    let plane = size * size;
    if shot.matrix == Shot::PLAIN.matrix && shot.center == Shot::PLAIN.center {
        Normalization::NONE.apply(pixels, out);
    } else {
        let side = size as f32;
        let [[yy, yx], [xy, xx]] = shot.matrix;
        let half = (side - 1.0) / 2.0;
        let [cy, cx] = shot.center.map(|c| c * side - 0.5);
        for (oy, row) in out.chunks_exact_mut(3 * size).enumerate() {
            let dy = oy as f32 - half;
            for (ox, out) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let dx = ox as f32 - half;
                let (y0, y1, fy) = neighbours(cy + yy * dy + yx * dx, size);
                let (x0, x1, fx) = neighbours(cx + xy * dy + xx * dx, size);
                for c in 0..3 {
                    let p = &pixels[c * plane..(c + 1) * plane];
                    let at = |y: usize, x: usize| f32::from(p[y * size + x]);
                    let top = at(y0, x0) + fx * (at(y0, x1) - at(y0, x0));
                    let bottom = at(y1, x0) + fx * (at(y1, x1) - at(y1, x0));
                    out[c] = (top + fy * (bottom - top)) / 255.0;
                }
            }
        }
    }
    recolour(out, shot.colour);
}

/// The two pixels around a coordinate, mirrored at the borders, and the weight of the second.
#[inline]
fn neighbours(v: f32, size: usize) -> (usize, usize, f32) {
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
    use anyhow::Result;

    #[test]
    fn views_are_pure_and_differ() -> Result<()> {
        let policy: Policy = "flip,shift=0.1,rotate=15,cutmix=1,mixup=0.2".parse()?;
        let view = |i, k| View::of(&policy, 1, i, k, 10, 32);
        assert_eq!(view(3, 4), view(3, 4));
        assert_ne!(view(3, 4), view(3, 5));
        assert_ne!(view(3, 4), view(4, 4));
        // The share in the target is the share of pixels.
        for k in 0..200 {
            let v = view(0, k);
            if let Mixing::CutMix([t, b, l, r]) = v.mixing {
                assert!(t <= b && b <= 32 && l <= r && r <= 32);
                assert_eq!(v.weight, 1.0 - ((b - t) * (r - l)) as f32 / 1024.0);
            }
        }
        Ok(())
    }

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

    #[test]
    fn beyond_the_border_the_picture_is_mirrored() {
        assert_eq!(neighbours(-1.0, 4), (0, 0, 0.0));
        assert_eq!(neighbours(-2.0, 4), (1, 0, 0.0));
        assert_eq!(neighbours(4.0, 4), (3, 2, 0.0));
        assert_eq!(neighbours(1.25, 4), (1, 2, 0.25));
    }
}
