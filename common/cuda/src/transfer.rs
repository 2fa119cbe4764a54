//! What goes up and what comes down.
//!
//! A copy down is asynchronous by contract, so whoever reads waits for it. A large copy up from ordinary memory makes
//! the driver stage it piece by piece while the caller waits; through two pinned buffers in turn the next piece is
//! copied while the device takes the one before (CUDA C++ Best Practices Guide, "Asynchronous and overlapping
//! transfers with computation").

#![allow(unsafe_code)] // copies by address

use crate::address::Ptr;
use crate::failure::Told;
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaSlice, CudaStream, DeviceRepr, PinnedHostSlice, ValidAsZeroBits, result,
};
use candle_core::{CudaDevice, Result};
use std::sync::Arc;

/// Bytes from which on a copy up takes the pinned buffers: shorter ones the driver puts into its own command buffer
/// and returns (CUDA driver API, "API synchronization behavior": 64 kB).
const PINNED: usize = 64 << 10;

/// Bytes of a pinned buffer: a batch of 32 pictures of 64 px is 1.6 MB, 64 of 128 px are three pieces.
const HALF: usize = 4 << 20;

/// Two pinned buffers, made when the first large copy needs them.
#[derive(Default)]
pub(super) struct Ring {
    halves: Option<[Half; 2]>,
    next: usize,
}

struct Half {
    bytes: PinnedHostSlice<u8>,
    /// After the copy that reads it.
    done: CudaEvent,
}

impl Half {
    fn new(stream: &CudaStream) -> Result<Self> {
        let context = stream.context();
        // SAFETY: written before it is read.
        let bytes = unsafe { context.alloc_pinned::<u8>(HALF) }.told()?;
        Ok(Self { bytes, done: context.new_event(None).told()? })
    }

    /// Copies `piece` to `at` by way of this buffer, once the copy before that reads it is done.
    fn carry(&mut self, stream: &CudaStream, piece: &[u8], at: u64) -> Result<()> {
        self.done.synchronize().told()?;
        let bytes = &mut self.bytes.as_mut_slice().told()?[..piece.len()];
        bytes.copy_from_slice(piece);
        // SAFETY: the caller's buffer is as long; this one is left alone until `done`.
        unsafe { result::memcpy_htod_async(at, bytes, stream.cu_stream()) }.told()?;
        self.done.record(stream).told()
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // The device may still read it. What failed was told where it was asked for.
        let _ = self.done.synchronize();
    }
}

impl Ring {
    fn carry(&mut self, stream: &CudaStream, bytes: &[u8], at: u64) -> Result<()> {
        let halves = match &mut self.halves {
            Some(halves) => halves,
            none => none.insert([Half::new(stream)?, Half::new(stream)?]),
        };
        for (k, piece) in bytes.chunks(HALF).enumerate() {
            halves[self.next].carry(stream, piece, at + (k * HALF) as u64)?;
            self.next = 1 - self.next;
        }
        Ok(())
    }

    /// Copies `values` to `at`, where there is room for them; they may be changed when this returns.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn upload<T: DeviceRepr + ValidAsZeroBits>(
        &mut self,
        stream: &CudaStream,
        values: &[T],
        at: Ptr,
    ) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        stream.context().bind_to_thread().told()?;
        if size_of_val(values) < PINNED {
            // SAFETY: as long as `values`, says the caller; the driver has read them when it returns.
            return unsafe { result::memcpy_htod_async(at.0, values, stream.cu_stream()) }.told();
        }
        // SAFETY: plain numbers are bytes.
        let bytes =
            unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        self.carry(stream, bytes, at.0)
    }
}

/// A copy of `values`, which are few, in memory of its own.
///
/// # Errors
/// A device that fails.
pub(super) fn table<T: DeviceRepr>(device: &CudaDevice, values: &[T]) -> Result<CudaSlice<T>> {
    device.cuda_stream().clone_htod(values).told()
}

/// The first `n` values of `slice`, once everything before has run.
///
/// # Errors
/// A device that fails.
pub(super) fn download<T: DeviceRepr>(
    stream: &Arc<CudaStream>,
    slice: &CudaSlice<T>,
    n: usize,
) -> Result<Vec<T>> {
    let values = stream.clone_dtoh(&slice.slice(..n)).told()?;
    stream.synchronize().told()?;
    Ok(values)
}
