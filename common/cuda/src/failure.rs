//! What went wrong on a device, in words: full is told from broken, and a failure from what it follows.

use candle_core::cuda_backend::cudarc::cublas::result::CublasError;
use candle_core::cuda_backend::cudarc::driver::sys::CUresult;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DriverError};
use candle_core::{Error, Result};

/// Whether the device has no room for what was asked for.
pub(super) fn is_full(error: &DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

/// Whether a kernel that was launched before has failed. The device reports it with whatever call comes next, and
/// with all that follow: the process can do nothing more there (CUDA driver API, "Error handling": the context is in
/// an inconsistent state).
fn is_broken(error: &DriverError) -> bool {
    use CUresult as E;
    // An equality each, as a match would need a wildcard over a hundred others.
    [
        E::CUDA_ERROR_ECC_UNCORRECTABLE,
        E::CUDA_ERROR_ILLEGAL_ADDRESS,
        E::CUDA_ERROR_LAUNCH_TIMEOUT,
        E::CUDA_ERROR_ASSERT,
        E::CUDA_ERROR_HARDWARE_STACK_ERROR,
        E::CUDA_ERROR_ILLEGAL_INSTRUCTION,
        E::CUDA_ERROR_MISALIGNED_ADDRESS,
        E::CUDA_ERROR_INVALID_ADDRESS_SPACE,
        E::CUDA_ERROR_INVALID_PC,
        E::CUDA_ERROR_LAUNCH_FAILED,
    ]
    .contains(&error.0)
}

/// What the driver calls it, and its sentence.
pub(super) fn named(error: &DriverError) -> String {
    let text = |s: std::result::Result<&std::ffi::CStr, DriverError>| {
        s.map_or_else(|_| format!("error {}", error.0 as u32), |s| s.to_string_lossy().into_owned())
    };
    format!("{} ({})", text(error.error_name()), text(error.error_string()))
}

/// The first line of what candle says: a trace of calls follows where `RUST_BACKTRACE` is set.
pub(super) fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Results of CUDA's libraries as candle's, told in a line.
pub(super) trait Told<T> {
    /// The same, with an error that says whether a kernel before this call is to blame.
    ///
    /// # Errors
    /// The error that it is.
    fn told(self) -> Result<T>;
}

/// What `error` of a library on `stream` comes from: of a kernel that failed before, libraries say that they fail
/// themselves, with a status of their own, so the driver is asked.
pub(super) fn blamed(stream: &CudaStream, error: Error) -> Error {
    match stream.synchronize() {
        Err(e) if is_broken(&e) => worded(&e),
        _ => error,
    }
}

fn worded(e: &DriverError) -> Error {
    Error::Msg(if is_broken(e) {
        format!(
            "an earlier kernel failed: {}; its results and all since are void. compute-sanitizer, put before the \
             command line, says which kernel",
            named(e)
        )
    } else if is_full(e) {
        format!("the device has no room: {}", named(e))
    } else {
        format!("the device refuses: {}", named(e))
    })
}

impl<T> Told<T> for std::result::Result<T, DriverError> {
    fn told(self) -> Result<T> {
        self.map_err(|e| worded(&e))
    }
}

impl<T> Told<T> for std::result::Result<T, CublasError> {
    fn told(self) -> Result<T> {
        self.map_err(|e| Error::Msg(format!("cuBLAS: {e}")))
    }
}
