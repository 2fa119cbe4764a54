//! WebAssembly does without minimal filtering: a page is to be small. There are no tiles, so that nothing is left of
//! what would be done with one.

use graph::{Bounds, Geometry};

/// Outputs that are computed together: there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {}

/// Weights of a convolution, see the module that this one stands for.
#[derive(Clone, Copy)]
#[expect(dead_code, reason = "nobody reads weights here")]
pub(crate) enum Weights<'a> {
    Plain(&'a [f32]),
    Reversed(&'a [f32]),
    Packed(&'a [f32]),
}

impl Weights<'_> {
    pub(crate) fn pack(self, _: &Geometry, tile: Tile, _: &mut [f32]) {
        match tile {}
    }
}

/// None.
pub(crate) fn tile(_: &Geometry) -> Option<Tile> {
    None
}

/// None.
pub(crate) fn gradient_tile(_: &Geometry) -> Option<Tile> {
    None
}

pub(crate) fn packed_floats(_: &Geometry, tile: Tile) -> usize {
    match tile {}
}

pub(crate) fn forward(
    _: &[f32],
    _: Weights,
    _: Option<&[f32]>,
    _: Bounds,
    (_, tile): (&Geometry, Tile),
    _: &mut [f32],
) {
    match tile {}
}

pub(crate) fn gradient(_: &[f32], _: &[f32], (_, tile): (&Geometry, Tile), _: &mut [f32]) {
    match tile {}
}
