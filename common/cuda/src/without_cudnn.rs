//! What stands for cuDNN without the feature `cudnn`: nothing, so that products of patches do it all.

use crate::address::Ptr;
use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use executor::Precision;
use graph::Geometry;
use std::ffi::c_void;

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

/// A convolution that nobody makes.
#[expect(dead_code, reason = "nobody makes it")]
pub(super) struct Call<'a> {
    pub(super) g: &'a Geometry,
    pub(super) precision: Precision,
    pub(super) way: Way,
    pub(super) at: [Ptr; 3],
}

/// See the module.
pub(super) struct Convolutions;

impl Convolutions {
    #[expect(clippy::unnecessary_wraps, reason = "cuDNN may fail")]
    pub(super) fn new(_: &CudaStream) -> Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "cuDNN may fail")]
    pub(super) fn workspace(&self, _: &Call) -> Result<Option<usize>> {
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "cuDNN may fail")]
    pub(super) fn run(&self, _: &Call, _: *mut c_void) -> Result<bool> {
        Ok(false)
    }
}
