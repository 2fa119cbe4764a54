//! Views: what a network sees of picture `i` the k-th time.
//!
//! | module | what it is |
//! |---|---|
//! | [`policy`] | how views are drawn |
//! | [`fixed`] | views that are not drawn: those a finished model is asked with |
//! | [`render`] | a view → pixels: the definition, which `cuda` repeats on the device |
//!
//! A [`View`] is a pure function of (policy, seed, picture, k): crop, flip, rotation, colour and the
//! partner it is mixed with. A teacher's logits can therefore be computed once per view and kept:
//! the student later sees the very same view ("consistent teaching", Beyer et al. 2022,
//! "Knowledge distillation: a good teacher is patient and consistent", section 3.1).

pub mod fixed;
pub mod policy;
pub mod render;

pub use fixed::FixedViews;
use graph::rng::Rng;
pub use policy::Policy;
pub use render::{Normalization, Pictures, Tap, render};

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
    pub(crate) const PLAIN: Self =
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
}
