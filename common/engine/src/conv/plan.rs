//! Which way each convolution is computed: chosen once, by shape alone.

use super::winograd::{self, Tile};
use super::{direct, products};
use executor::Precision;
use graph::Geometry;
use std::fmt;

/// Most input channels of a plain convolution that is a first layer's, [`super::stem`], whatever its map: schedules
/// for answers rely on it.
pub(crate) const MOST_STEM_CHANNELS: usize = 11;

/// How the output is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Loops over channels, [`super::depthwise`].
    Depthwise,
    /// Products over tiles together with the batch norm before and the pool behind, `pointwise`.
    Fused,
    /// Sums over taps and channels straight from the picture, `direct`.
    Direct,
    /// The same for the few channels of a first layer, `stem`.
    Stem,
    /// Tiles of 3 × 3 by fewer multiplications, `winograd`.
    Winograd(Tile),
    /// Matrix products over tiles of gathered patches, `products`.
    Products,
}

/// How the gradient of the input is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputGradient {
    /// As forwards, taps mirrored.
    Depthwise,
    /// As forwards, in the same tiles as the weight gradient.
    Fused,
    /// The direct convolution with inputs and outputs exchanged.
    Direct,
    /// That in tiles, by fewer multiplications.
    Winograd(Tile),
    /// Products scattered back from patches.
    Products,
}

/// How the gradient of the weight is computed: a sum over all output positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightGradient {
    /// Picture by picture.
    Depthwise,
    /// Run by run of tiles.
    Fused,
    /// Tile by tile, by fewer multiplications, `winograd`.
    Winograd(Tile),
    /// A fixed number of partial sums over rows of patches, for small weights.
    ByRows,
    /// Each block of output channels on its own, for weights whose partial sums would cost more memory
    /// traffic than the product.
    ByChannels,
}

/// How one convolution is computed, forwards and backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvPlan {
    /// The output.
    pub forward: Forward,
    /// The gradient of the input.
    pub input_gradient: InputGradient,
    /// The gradient of the weight.
    pub weight_gradient: WeightGradient,
}

impl ConvPlan {
    /// What a pointwise convolution that is fused with its surroundings gets.
    pub const FUSED: Self = Self {
        forward: Forward::Fused,
        input_gradient: InputGradient::Fused,
        weight_gradient: WeightGradient::Fused,
    };

    /// What a convolution of this geometry gets; the batch does not matter.
    pub fn of(g: &Geometry) -> Self {
        if g.is_depthwise() {
            return Self {
                forward: Forward::Depthwise,
                input_gradient: InputGradient::Depthwise,
                weight_gradient: WeightGradient::Depthwise,
            };
        }
        let forward = match (g.groups, winograd::tile(g)) {
            (1, _) if g.input <= MOST_STEM_CHANNELS => Forward::Stem,
            (1, Some(tile)) => Forward::Winograd(tile),
            (1, None) if direct::is_direct(g) => Forward::Direct,
            (1, None) => Forward::Stem,
            _ => Forward::Products,
        };
        let input_gradient = match g.reversed().map(|r| (winograd::tile(&r), r)) {
            Some((Some(tile), _)) => InputGradient::Winograd(tile),
            Some((None, reversed)) if direct::is_direct(&reversed) => InputGradient::Direct,
            _ => InputGradient::Products,
        };
        let weight = g.output * g.input / g.groups * g.window.taps();
        let weight_gradient = if let Some(tile) = winograd::gradient_tile(g) {
            WeightGradient::Winograd(tile)
        } else if weight <= products::SMALL_WEIGHT || g.groups > 1 {
            WeightGradient::ByRows
        } else {
            WeightGradient::ByChannels
        };
        Self { forward, input_gradient, weight_gradient }
    }
}

impl ConvPlan {
    /// The same where factors are of `precision`.
    ///
    /// Direct sums of bf16 beat the smaller tiles, whose maps are of 5 × 5 or 6 × 6, by 2 to 11 % (resnet18 on pictures
    /// of 80 and 96 pixels, 1 to 32 of them). Maps of 4 × 4 were answered 8 % slower by them than by the larger tiles at 32
    /// pictures and 22 % faster at one, larger maps 5 to 30 % slower.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(unused_variables, reason = "products are of f32 there")
    )]
    pub(crate) fn at(self, precision: Precision) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        if precision == Precision::Bf16 && self.forward == Forward::Winograd(Tile::Two) {
            return Self { forward: Forward::Direct, ..self };
        }
        self
    }
}

impl fmt::Display for ConvPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forward, input_gradient, weight_gradient } = self;
        write!(f, "{forward:?}; gradients: input {input_gradient:?}, weight {weight_gradient:?}")
    }
}
