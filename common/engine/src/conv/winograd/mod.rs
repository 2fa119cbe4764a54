//! Minimal filtering: 3 × 3 convolutions of stride 1 by fewer multiplications (Lavin & Gray 2016,
//! <https://arxiv.org/abs/1509.09308>, section 4).
//!
//! `m × m` outputs of a channel need `9 m²` multiplications one by one, but only `(m + 2)²` after transforms of
//! inputs and weights that consist of additions: 36 in place of 144 for tiles of 4 × 4, 16 in place of 36 for those
//! of 2 × 2. The sums over input channels become `(m + 2)²` matrix products, of [tiles × in] with [in × out].
//!
//! | module | what it is |
//! |---|---|
//! | [`transforms`] | transforms of one line of a tile |
//! | [`tiles`] | where tiles read their maps, and the transforms of these |
//! | [`panels`] | the weights, transformed |
//! | [`kernel`] | products of a few rows with a panel, summed in registers |
//! | [`forward`] | the convolution, and with reversed weights its input gradient |
//! | [`gradient`] | its weight gradient |
//!
//! Every sum runs over channels in their order, whatever the blocks: a picture's result does not depend on
//! the pictures beside it.

mod forward;
mod gradient;
mod kernel;
mod panels;
mod tiles;
mod transforms;

pub(crate) use forward::forward;
pub(crate) use gradient::gradient;
pub(crate) use panels::{Weights, packed_floats};

use crate::parallel::with_scratch;
use graph::Geometry;
use tiles::Tiling;

/// Smallest side of a map.
const SMALLEST_MAP: usize = 4;
/// Input channels whose weights are transformed together.
const STEP: usize = 16;

/// Outputs that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// 2 × 2 from 4 × 4 inputs.
    Two,
    /// 4 × 4 from 6 × 6 inputs.
    Four,
}

impl Tile {
    /// Outputs on a side.
    fn side(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Products per tile, input and output channel.
    fn points(self) -> usize {
        (self.side() + 2).pow(2)
    }
}

/// The tile by which a convolution that could be summed directly takes less time, if any.
///
/// Measured on AVX-512, 32 pictures, 12 to 512 channels: maps from 4 × 4 on gained 1.5 to 4 times, those of 3 × 3
/// lost in training, where weights are transformed in every step, and on 2 × 2 the direct sums leave out the
/// taps outside, which is more. Where both tiles need as many products (maps of 5 and 6) the smaller one takes a
/// tenth less, for it has fewer transformed weights. A page on the web is to be small, so WebAssembly does without.
pub(crate) fn tile(g: &Geometry) -> Option<Tile> {
    let window = g.window;
    let fits = window.kernel == 3 && window.stride == 1 && window.padding <= 2 && g.groups == 1;
    let few = g.input.max(g.output) <= tiles::MOST_CHANNELS;
    let small = g.out_height().min(g.out_width()) < SMALLEST_MAP;
    if cfg!(target_arch = "wasm32") || !fits || !few || small {
        return None;
    }
    let products = |tile| Tiling::new(g, tile).count * tile.points();
    let two = products(Tile::Two) <= products(Tile::Four);
    Some(if two { Tile::Two } else { Tile::Four })
}

/// The tile for the weight gradient, whose panels must be half full at least to be worth their products.
pub(crate) fn gradient_tile(g: &Geometry) -> Option<Tile> {
    tile(g).filter(|_| 2 * g.output > g.output.next_multiple_of(kernel::PANEL))
}

/// [`with_scratch`] from the start of a cache line on: a vector that lies in two takes twice as long.
fn with_aligned<R>(n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    const LINE: usize = 64;
    with_scratch(n + LINE / size_of::<f32>(), |buffer| {
        let skipped = buffer.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        f(&mut buffer[skipped..skipped + n])
    })
}

/// A result that tasks write to in places of their own.
struct Shared(*mut f32);
// SAFETY: every task writes other elements, see the modules.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests;
