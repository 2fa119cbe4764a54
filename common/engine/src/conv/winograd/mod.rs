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
//! | [`kernel`] | products of a few rows with a panel, summed in registers |
//! | [`forward`] | the convolution, and with reversed weights its input gradient |
//!
//! Every sum runs over channels in their order, whatever the blocks: a picture's result does not depend on
//! the pictures beside it.

mod forward;
mod kernel;
mod transforms;

pub(crate) use forward::{forward, pack, pack_reversed, packed_floats};

use graph::Geometry;

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

/// The tile by which a convolution that could be summed directly is computed in less time, if any.
pub(crate) fn tile(g: &Geometry) -> Option<Tile> {
    let fits =
        g.window.kernel == 3 && g.window.stride == 1 && g.window.padding <= 2 && g.groups == 1;
    let map = g.out_height().min(g.out_width());
    (!cfg!(target_arch = "wasm32") && fits && map >= 4).then_some(Tile::Four)
}

/// Tiles laid over the output of a batch, row by row, picture by picture; those at the edge are cut.
#[derive(Clone, Copy)]
struct Tiling {
    side: usize,
    tall: usize,
    wide: usize,
    count: usize,
}

impl Tiling {
    fn new(g: &Geometry, tile: Tile) -> Self {
        let side = tile.side();
        let (tall, wide) = (g.out_height().div_ceil(side), g.out_width().div_ceil(side));
        Self { side, tall, wide, count: g.batch * tall * wide }
    }

    /// Picture, first output row and first output column of tile `i`.
    fn place(&self, i: usize) -> (usize, usize, usize) {
        let at = i % (self.tall * self.wide);
        (i / (self.tall * self.wide), at / self.wide * self.side, at % self.wide * self.side)
    }
}
#[cfg(test)]
mod tests;
