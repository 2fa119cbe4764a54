//! A convolution as a library is asked for it.

use crate::address::Ptr;
use executor::Precision;
use graph::Geometry;

/// What is computed from what.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// x, weights → y.
    Forward,
    /// Gradient of y, weights → gradient of x.
    Input,
    /// x, gradient of y → gradient of the weights.
    Weight,
}

/// A convolution of all channels, `way` from the first two addresses to the third.
#[cfg_attr(not(feature = "cudnn"), expect(dead_code, reason = "nobody makes it"))]
pub(super) struct Call<'a> {
    pub(super) g: &'a Geometry,
    pub(super) precision: Precision,
    pub(super) way: Way,
    pub(super) at: [Ptr; 3],
}
