//! What stands for cuDNN without the feature `cudnn`: nothing, so that products of patches do it all.

use crate::call::Call;
use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use std::ffi::c_void;

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
    pub(super) fn run(&self, _: &Call, _: &CudaStream, _: *mut c_void) -> Result<bool> {
        Ok(false)
    }
}
