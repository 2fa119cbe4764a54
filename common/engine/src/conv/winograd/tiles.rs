//! Where tiles read their maps, and their transforms in groups.

use super::Tile;
use super::transforms::{both, gradient, input};
use crate::simd::{LANES, dispatch, for_channels, store};
use graph::Geometry;
use std::ops::Range;

/// Most channels of a map: pixels outside read zeros from here.
pub(super) const MOST_CHANNELS: usize = 4096;
static ZEROS: [f32; MOST_CHANNELS] = [0.0; MOST_CHANNELS];

/// Tiles laid over the output of a batch, row by row, picture by picture; those at the edge are cut.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    pub(super) tile: Tile,
    tall: usize,
    wide: usize,
    pub(super) count: usize,
}

impl Tiling {
    pub(super) fn new(g: &Geometry, tile: Tile) -> Self {
        let side = tile.side();
        let (tall, wide) = (g.out_height().div_ceil(side), g.out_width().div_ceil(side));
        Self { tile, tall, wide, count: g.batch * tall * wide }
    }

    /// Picture, first output row and first output column of tile `i`.
    pub(super) fn place(&self, i: usize) -> (usize, usize, usize) {
        let (at, side) = (i % (self.tall * self.wide), self.tile.side());
        (i / (self.tall * self.wide), at / self.wide * side, at % self.wide * side)
    }

    /// The tiles of group `i` of groups of `n`.
    pub(super) fn group(&self, i: usize, n: usize) -> Range<usize> {
        i * n..((i + 1) * n).min(self.count)
    }
}

/// What tiles read.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// The input of the convolution: overlapping squares of `side + 2` pixels.
    Input,
    /// The gradient of its output: squares of `side` pixels.
    Gradient,
}

/// The maps of a batch, `[b, h, w, channels]`, as tiles read them.
#[derive(Clone, Copy)]
pub(super) struct Maps<'a> {
    values: &'a [f32],
    role: Role,
    tiling: Tiling,
    height: usize,
    width: usize,
    channels: usize,
    /// Pixels of margin above and to the left.
    before: [usize; 2],
    /// Floats from one tile's transformed values to the next one's.
    pub(super) stride: usize,
}

impl<'a> Maps<'a> {
    /// The input of `g`.
    pub(super) fn input(values: &'a [f32], g: &Geometry, tiling: Tiling) -> Self {
        assert_eq!(values.len(), g.batch * g.floats(), "input of {g:?}");
        assert!(g.input <= MOST_CHANNELS, "channels of {g:?}");
        let (height, width, channels) = (g.height, g.width, g.input);
        // An odd number of cache lines: rows of a product do not fall into the same places of L1.
        let stride = (channels.div_ceil(LANES) | 1) * LANES;
        let before = g.before();
        Self { values, role: Role::Input, tiling, height, width, channels, before, stride }
    }

    /// The gradient of the output of `g`, whose transformed values are read in panels of `panel` channels.
    pub(super) fn gradient(values: &'a [f32], g: &Geometry, tiling: Tiling, panel: usize) -> Self {
        assert_eq!(values.len(), g.rows() * g.output, "output gradient of {g:?}");
        assert!(g.output <= MOST_CHANNELS, "channels of {g:?}");
        let (height, width, channels) = (g.out_height(), g.out_width(), g.output);
        let stride = channels.next_multiple_of(panel);
        Self {
            values,
            role: Role::Gradient,
            tiling,
            height,
            width,
            channels,
            before: [0; 2],
            stride,
        }
    }

    /// `tiles`, transformed, into `to` `[points, n, stride]`.
    pub(super) fn transform(&self, tiles: Range<usize>, n: usize, to: &mut [f32]) {
        let plane = n * self.stride;
        for (tile, r) in tiles.zip(0..n) {
            let pixels = self.pixels(tile);
            let to = &mut to[r * self.stride..];
            match (self.role, self.tiling.tile) {
                (Role::Input, Tile::Two) => inputs2(&pixels, plane, to),
                (Role::Input, Tile::Four) => inputs4(&pixels, plane, to),
                (Role::Gradient, Tile::Two) => gradients2(&pixels, plane, to),
                (Role::Gradient, Tile::Four) => gradients4(&pixels, plane, to),
            }
        }
    }

    /// The channels of the pixels of a tile, row by row.
    fn pixels(&self, tile: usize) -> [&'a [f32]; 36] {
        let side = self.tiling.tile.side() + if self.role == Role::Input { 2 } else { 0 };
        let (picture, y, x) = self.tiling.place(tile);
        let [above, left] = self.before;
        let mut pixels = [&ZEROS[..self.channels]; 36];
        for (i, pixel) in pixels.iter_mut().take(side * side).enumerate() {
            let iy = (y + i / side).checked_sub(above).filter(|v| *v < self.height);
            let ix = (x + i % side).checked_sub(left).filter(|v| *v < self.width);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                let at = ((picture * self.height + iy) * self.width + ix) * self.channels;
                *pixel = &self.values[at..at + self.channels];
            }
        }
        pixels
    }
}

/// Defines a transform of all channels of `pixels` into `to`, whose points lie `plane` floats apart.
///
/// The last [`LANES`] channels may overlap those before: computing some twice takes less time than one by one.
macro_rules! transform {
    ($name:ident, $body:ident, $line:ident, $from:literal, $to:literal) => {
        dispatch! {
            fn $name(pixels: &[&[f32]; 36], plane: usize, to: &mut [f32]) = $body
        }

        #[inline(always)]
        fn $body<const FMA: bool>(pixels: &[&[f32]; 36], plane: usize, to: &mut [f32]) {
            let channels = pixels[0].len();
            let Some(last) = channels.checked_sub(LANES) else {
                for_channels!(channels, |c0, N| {
                    let at = |y: usize, x: usize| &pixels[y * $from + x][c0..];
                    both::<$from, $to, N>(at, $line::<FMA, $from, $to>, |y, x, v| {
                        store(to, (y * $to + x) * plane + c0, *v);
                    });
                });
                return;
            };
            for c0 in (0..channels).step_by(LANES).map(|c| c.min(last)) {
                let at = |y: usize, x: usize| &pixels[y * $from + x][c0..];
                both::<$from, $to, LANES>(at, $line::<FMA, $from, $to>, |y, x, v| {
                    store(to, (y * $to + x) * plane + c0, *v);
                });
            }
        }
    };
}
transform!(inputs2, inputs2_body, input, 4, 4);
transform!(inputs4, inputs4_body, input, 6, 6);
transform!(gradients2, gradients2_body, gradient, 2, 4);
transform!(gradients4, gradients4_body, gradient, 4, 6);
