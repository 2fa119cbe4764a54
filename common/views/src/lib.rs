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
    /// All of the partner, made smaller, inside the square `[top, bottom, left, right]`, pixels.
    ResizeMix([usize; 4]),
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
    /// Of `picture`, as it is.
    pub fn plain(picture: usize) -> Self {
        let own = Shot::PLAIN;
        Self { own, partner: (picture, own), mixing: Mixing::None, weight: 1.0 }
    }

    /// The k-th view of `picture` out of `pictures`, `size` pixels wide.
    pub fn of(
        policy: &Policy,
        seed: u64,
        picture: usize,
        k: usize,
        pictures: usize,
        size: usize,
    ) -> Self {
        Self::drawn(policy, (seed, picture, k), size, |rng| rng.below(pictures))
    }

    /// The k-th view of `picture` with a partner out of `peers`, pictures in ascending order. Of all pictures it is
    /// [`View::of`].
    pub fn among(
        policy: &Policy,
        seed: u64,
        picture: usize,
        k: usize,
        peers: &[usize],
        size: usize,
    ) -> Self {
        Self::drawn(policy, (seed, picture, k), size, |rng| peers[rng.below(peers.len())])
    }

    fn drawn(
        policy: &Policy,
        (seed, picture, k): (u64, usize, usize),
        size: usize,
        partner: impl Fn(&mut Rng) -> usize,
    ) -> Self {
        let own = Shot::draw(policy, seed, picture, k);
        let plain = Self { own, partner: (picture, own), mixing: Mixing::None, weight: 1.0 };
        if !policy.mixes() {
            return plain;
        }
        let rng = &mut Rng::new(seed, "mix", key(picture, k));
        if policy.plain > 0.0 && rng.chance(policy.plain) {
            return plain;
        }
        let other = partner(rng);
        let partner = (other, Shot::draw(policy, seed, other, k));
        let mixing = way(policy, rng)(policy, rng, size);
        let weight = match mixing {
            Mixing::None => 1.0,
            Mixing::Mixup(weight) => weight,
            Mixing::CutMix([top, bottom, left, right])
            | Mixing::ResizeMix([top, bottom, left, right]) => {
                1.0 - ((bottom - top) * (right - left)) as f32 / (size * size) as f32
            }
        };
        Self { partner, mixing, weight, ..plain }
    }

    /// The same view of pictures that are rendered `side` pixels wide instead of `size`: what is in pixels moves with
    /// the side. The share in the target stays: it is what a teacher was asked with.
    pub fn at(self, side: usize, size: usize) -> Self {
        let scaled = |v: usize| (2 * v * side + size) / (2 * size);
        let mixing = match self.mixing {
            Mixing::None | Mixing::Mixup(_) => self.mixing,
            Mixing::CutMix(rectangle) => Mixing::CutMix(rectangle.map(scaled)),
            Mixing::ResizeMix([top, bottom, left, _]) => {
                // A square still, inside.
                let width = scaled(bottom - top).max(1);
                let [top, left] = [scaled(top), scaled(left)].map(|v| v.min(side - width));
                Mixing::ResizeMix([top, top + width, left, left + width])
            }
        };
        Self { mixing, ..self }
    }
}

/// Draws how a partner takes part.
type Way = fn(&Policy, &mut Rng, usize) -> Mixing;

/// One of the ways to mix that the policy has.
fn way(policy: &Policy, rng: &mut Rng) -> Way {
    let ways: [(f32, Way); 3] =
        [(policy.cutmix, cut_mix), (policy.mixup, mixup), (policy.resizemix, resize_mix)];
    let ways: Vec<Way> = ways.into_iter().filter(|(a, _)| *a > 0.0).map(|(_, way)| way).collect();
    match ways[..] {
        [one] => one,
        // As before there was a third: the same seeds draw the same views.
        [a, b] => {
            if rng.chance(0.5) {
                a
            } else {
                b
            }
        }
        _ => ways[rng.below(ways.len())],
    }
}

fn mixup(policy: &Policy, rng: &mut Rng, _: usize) -> Mixing {
    Mixing::Mixup(rng.beta(policy.mixup))
}

fn cut_mix(policy: &Policy, rng: &mut Rng, size: usize) -> Mixing {
    let side = (1.0 - rng.beta(policy.cutmix)).sqrt() * size as f32;
    let span = |centre: f32| {
        let low = (centre - side / 2.0).max(0.0) as usize;
        (low, ((centre + side / 2.0) as usize).min(size))
    };
    let (top, bottom) = span(rng.uniform() * size as f32);
    let (left, right) = span(rng.uniform() * size as f32);
    Mixing::CutMix([top, bottom, left, right])
}

/// A square anywhere inside the picture, of a side between the least and the policy's.
fn resize_mix(policy: &Policy, rng: &mut Rng, size: usize) -> Mixing {
    let side = rng.between(policy::LEAST_SIDE, policy.resizemix) * size as f32;
    let side = (side.round() as usize).clamp(1, size);
    let [top, left] = [0; 2].map(|_| rng.below(size - side + 1));
    Mixing::ResizeMix([top, top + side, left, left + side])
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

    /// Of two ways each view draws by one coin behind the partner, as ever: the draws, repeated here.
    #[test]
    fn old_policies_draw_what_they_drew() -> Result<()> {
        let policy: Policy = "cutmix=1,mixup=0.2".parse()?;
        let mut cuts = 0;
        for k in 0..100 {
            let view = View::of(&policy, 9, 2, k, 50, 32);
            let rng = &mut Rng::new(9, "mix", ((k as u64) << 32) | 2);
            assert_eq!(view.partner.0, rng.below(50));
            if rng.chance(0.5) {
                cuts += 1;
                assert!(matches!(view.mixing, Mixing::CutMix(_)), "{view:?}");
            } else {
                assert_eq!(view.mixing, Mixing::Mixup(rng.beta(0.2)));
            }
        }
        // Of 100 tosses 50 ± 4 standard deviations.
        assert!((30..=70).contains(&cuts), "{cuts}");
        Ok(())
    }

    /// By hand: a rectangle from 10 to 50 of 64 pixels is one from 6 (6.25) to 31 (31.25) of 40; a square of 33 (20.6)
    /// from 31 (19.4) on is one of 21, from 19 on. The share in the target stays.
    #[test]
    fn views_are_told_for_other_sides() {
        let own = Shot::PLAIN;
        let view = |mixing| View { own, partner: (1, own), mixing, weight: 0.7 };
        let cut = view(Mixing::CutMix([10, 50, 0, 64])).at(40, 64);
        assert_eq!(cut, view(Mixing::CutMix([6, 31, 0, 40])));
        let square = view(Mixing::ResizeMix([31, 64, 0, 33])).at(40, 64);
        assert_eq!(square, view(Mixing::ResizeMix([19, 40, 0, 21])));
        let dot = view(Mixing::ResizeMix([63, 64, 63, 64])).at(8, 64);
        assert_eq!(dot, view(Mixing::ResizeMix([7, 8, 7, 8])));
        let mixed = view(Mixing::Mixup(0.7));
        assert_eq!(mixed.at(8, 64), mixed);
    }

    /// Every picture of 50: all of them as peers draw what no peers draw. Of three peers each is drawn, at the place
    /// that the generator says, and nothing else of the view differs but whose shot the partner's is.
    #[test]
    fn partners_are_peers() -> Result<()> {
        let policy: Policy = "flip,shift=0.1,cutmix=1,mixup=0.2,resizemix=0.8,plain=0.2".parse()?;
        let all: Vec<usize> = (0..50).collect();
        let (peers, mut drawn) = ([4, 17, 31], [0; 3]);
        for k in 0..200 {
            let free = View::of(&policy, 9, 17, k, 50, 32);
            assert_eq!(View::among(&policy, 9, 17, k, &all, 32), free);
            let bound = View::among(&policy, 9, 17, k, &peers, 32);
            assert_eq!(
                (bound.own, bound.mixing == Mixing::None),
                (free.own, free.mixing == Mixing::None)
            );
            if bound.mixing != Mixing::None {
                let rng = &mut Rng::new(9, "mix", ((k as u64) << 32) | 17);
                assert!(!rng.chance(0.2));
                let at = rng.below(3);
                assert_eq!(bound.partner.0, peers[at]);
                drawn[at] += 1;
            }
        }
        // Of 160 mixed ones 53 ± 5 standard deviations of 6.
        assert!(drawn.iter().all(|n| (23..=83).contains(n)), "{drawn:?}");
        Ok(())
    }

    /// Of 1,200 views a quarter is plain and each way has a third of the rest: 300 ± 75 is 5 standard deviations. The
    /// side of a square is 0.1 to 0.8 of 40 pixels, all sizes occur, and none reaches out.
    #[test]
    fn ways_to_mix_take_turns() -> Result<()> {
        let policy: Policy = "mixup=0.4,cutmix=1,resizemix=0.8,plain=0.25".parse()?;
        let mut counts = [0; 4];
        let mut sides = std::collections::BTreeSet::new();
        for k in 0..1200 {
            let view = View::of(&policy, 5, 1, k, 50, 40);
            counts[match view.mixing {
                Mixing::None => 0,
                Mixing::Mixup(_) => 1,
                Mixing::CutMix(_) => 2,
                Mixing::ResizeMix([top, bottom, left, right]) => {
                    assert!(bottom - top == right - left && bottom <= 40 && right <= 40);
                    let side = bottom - top;
                    assert_eq!(view.weight, 1.0 - (side * side) as f32 / 1600.0);
                    sides.insert(side);
                    3
                }
            }] += 1;
            assert_eq!(view.mixing == Mixing::None, view.weight == 1.0 && view.partner.0 == 1);
        }
        assert!(counts.iter().all(|n| (225..=375).contains(n)), "{counts:?}");
        assert_eq!(sides, (4..=32).collect());
        Ok(())
    }
}
