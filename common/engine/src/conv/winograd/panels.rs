//! Weights, transformed and in the order in which the products read them: in panels of [`PANEL`] output channels.

use super::super::kernel::PANEL;
use super::transforms::{both, weight};
use super::{STEP, Tile};
use crate::parallel::prelude::*;
use crate::simd::{LANES, dispatch, store};
use graph::Geometry;
use std::ops::Range;

/// The weights of a convolution of `g` in the layout they are at hand in.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    /// `[out, in, 3, 3]`.
    Plain(&'a [f32]),
    /// Those of the convolution whose input gradient this one gives, `[in, out, 3, 3]` with mirrored taps (see
    /// [`Geometry::reversed`]).
    Reversed(&'a [f32]),
    /// What [`Weights::pack`] made.
    Packed(&'a [f32]),
}

/// Floats of all transformed weights, `[panels, points, in, 32]`.
pub(crate) fn packed_floats(g: &Geometry, tile: Tile) -> usize {
    g.output.div_ceil(PANEL) * panel_floats(g, tile)
}

/// Those of a panel.
pub(super) fn panel_floats(g: &Geometry, tile: Tile) -> usize {
    tile.points() * g.input * PANEL
}

impl Weights<'_> {
    /// All weights, transformed, into `packed` `[panels, points, in, 32]`.
    pub(crate) fn pack(self, g: &Geometry, tile: Tile, packed: &mut [f32]) {
        assert_eq!(packed.len(), packed_floats(g, tile), "weights of {g:?}");
        let panels = packed.par_chunks_mut(panel_floats(g, tile)).enumerate();
        panels.for_each(|(p, panel)| self.transform(g, tile, (p, 0..g.input), panel));
    }

    /// Those of panel `p` for some input channels, transformed, into `to` `[points, channels, 32]`; output
    /// channels beyond the last are zero.
    pub(super) fn transform(
        self,
        g: &Geometry,
        tile: Tile,
        (p, channels): (usize, Range<usize>),
        to: &mut [f32],
    ) {
        let width = PANEL.min(g.output - p * PANEL);
        let n = channels.len();
        let mut taps = [0.0; STEP * 9 * PANEL];
        for first in channels.clone().step_by(STEP) {
            let inputs = first..(first + STEP).min(channels.end);
            for o in 0..width {
                self.taps(g, p * PANEL + o, inputs.clone(), &mut taps[o..]);
            }
            let places = inputs.start - channels.start..inputs.end - channels.start;
            match tile {
                Tile::Two => weights2(&taps, places, n, to),
                Tile::Four => weights4(&taps, places, n, to),
            }
        }
    }

    /// The taps of output channel `o` and some `inputs`, one behind the other in every [`PANEL`]th place of `taps`.
    fn taps(self, g: &Geometry, o: usize, inputs: Range<usize>, taps: &mut [f32]) {
        let to = taps.iter_mut().step_by(PANEL);
        match self {
            Self::Plain(w) => {
                let from = &w[(o * g.input + inputs.start) * 9..(o * g.input + inputs.end) * 9];
                to.zip(from).for_each(|(t, v)| *t = *v);
            }
            Self::Reversed(w) => {
                let from = inputs.flat_map(|i| w[(i * g.output + o) * 9..][..9].iter().rev());
                to.zip(from).for_each(|(t, v)| *t = *v);
            }
            Self::Packed(_) => unreachable!("packed weights are transformed already"),
        }
    }
}

/// Defines the transform of `taps` `[to, 9, 32]` into the channels `to` of `n` of a panel `[points, n, 32]`.
macro_rules! transform {
    ($name:ident, $body:ident, $points:literal) => {
        dispatch! {
            fn $name(taps: &[f32], to: Range<usize>, n: usize, panel: &mut [f32]) = $body
        }

        #[inline(always)]
        fn $body<const FMA: bool>(taps: &[f32], to: Range<usize>, n: usize, panel: &mut [f32]) {
            for (i, taps) in to.zip(taps.chunks_exact(9 * PANEL)) {
                for c in (0..PANEL).step_by(LANES) {
                    let at = |y: usize, x: usize| &taps[(y * 3 + x) * PANEL + c..];
                    both::<3, $points, LANES>(at, weight::<FMA, 3, $points>, |y, x, v| {
                        store(panel, ((y * $points + x) * n + i) * PANEL + c, *v);
                    });
                }
            }
        }
    };
}
transform!(weights2, weights2_body, 4);
transform!(weights4, weights4_body, 6);
