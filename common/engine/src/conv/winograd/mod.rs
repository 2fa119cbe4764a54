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
//! | [`forward`] | the convolution, and with reversed weights its input gradient |
//! | [`gradient`] | its weight gradient |
//!
//! Every sum runs over channels in their order, whatever the blocks: a picture's result does not depend on
//! the pictures beside it.

mod forward;
mod gradient;
mod panels;
mod tiles;
mod transforms;

pub(crate) use forward::forward;
pub(crate) use gradient::gradient;
pub(crate) use panels::{Weights, packed_floats};

use super::kernel::PANEL;
use graph::Geometry;
use tiles::Tiling;

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

/// Fewest input channels: with 8 the transforms took as long as all of another way.
const FEWEST_CHANNELS: usize = 12;

/// The tile by which a convolution takes less time than by sums straight from the picture, if any.
///
/// Measured with AVX-512, 12 to 512 channels, 32 pictures: those sums took 1.1 to 4 times as long on maps from 4 × 4 on.
/// Those of 3 × 3 lost in training, where weights are transformed in every step, and on 2 × 2 the direct sums leave
/// out the taps outside, which saves as much.
pub(crate) fn tile(g: &Geometry) -> Option<Tile> {
    covers(g, 4).then(|| fewest_products(g))
}

/// The tile for the weight gradient. Its panels must be filled by more than half to be worth their products (16
/// channels of 32 took as long as products of patches); patches have no sums that leave out the taps outside, so that
/// maps of 2 × 2 gain, too (1.6 times).
pub(crate) fn gradient_tile(g: &Geometry) -> Option<Tile> {
    let filled = 2 * g.output > g.output.next_multiple_of(PANEL);
    (covers(g, 2) && filled).then(|| fewest_products(g))
}

/// Whether tiles can compute this convolution, its channels are worth it, and its map is at least `side` high and wide.
fn covers(g: &Geometry, side: usize) -> bool {
    let window = g.window;
    let fits = window.kernel == 3
        && window.stride == 1
        && g.before().iter().all(|p| *p <= 2)
        && g.groups == 1;
    let channels = g.input >= FEWEST_CHANNELS && g.input.max(g.output) <= tiles::MOST_CHANNELS;
    fits && channels && g.out_height().min(g.out_width()) >= side
}

/// On maps of 5 and 6 both need as many; there the smaller one took a tenth less, for it has fewer transformed weights.
fn fewest_products(g: &Geometry) -> Tile {
    let one = Geometry { batch: 1, ..*g };
    let products = |tile| Tiling::new(&one, tile).count * tile.points();
    if products(Tile::Two) <= products(Tile::Four) { Tile::Two } else { Tile::Four }
}

#[cfg(test)]
mod tests;
