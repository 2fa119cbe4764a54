//! Buffers on the device that are given back and taken again: after the first step of a batch size nothing
//! is allocated.

#![allow(unsafe_code)] // memory that is not set

use crate::device::asked;
use crate::failure::{Told, is_full};
use crate::launch::{Kernels, Ptr};
use crate::transfer::download;
use candle_core::cuda_backend::cudarc::driver::result::memset_d8_async;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Result};
use std::sync::Arc;

/// Floats on the device.
pub(super) struct Buffer {
    slice: CudaSlice<f32>,
    /// Where it begins.
    pub(super) at: Ptr,
}

/// The buffers of an engine that are free.
pub(super) struct Memory {
    kernels: Arc<Kernels>,
    free: Vec<Buffer>,
    allocations: usize,
    /// Bytes of all buffers.
    bytes: usize,
    /// Whether the device had no room for one.
    is_full: bool,
    /// Whether buffers have the size that was asked for, and hold NaN: see [`asked`].
    is_exact: bool,
}

impl Buffer {
    /// Floats it holds.
    pub(super) fn capacity(&self) -> usize {
        self.slice.len()
    }

    /// The first `n` floats, here. Waits for the device.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn read(&self, device: &CudaDevice, n: usize) -> Result<Vec<f32>> {
        download(&device.cuda_stream(), &self.slice, n)
    }

    /// `values` at its start.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn write(&mut self, kernels: &Kernels, values: &[f32]) -> Result<()> {
        assert!(
            values.len() <= self.capacity(),
            "{} floats into {}",
            values.len(),
            self.capacity()
        );
        kernels.upload(values, self.at)
    }

    /// A copy.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn copy(&self, memory: &mut Memory) -> Result<Self> {
        let mut copy = memory.take(self.capacity())?;
        copy.copy_from(self, self.capacity(), &memory.kernels.device)?;
        Ok(copy)
    }

    /// `n` floats of `from`, at its start.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn copy_from(&mut self, from: &Self, n: usize, device: &CudaDevice) -> Result<()> {
        let stream = device.cuda_stream();
        stream.memcpy_dtod(&from.slice.slice(..n), &mut self.slice.slice_mut(..n)).told()
    }
}

impl Memory {
    pub(super) fn new(kernels: &Arc<Kernels>) -> Self {
        let (kernels, is_exact) = (kernels.clone(), asked("exact"));
        Self { kernels, free: Vec::new(), allocations: 0, bytes: 0, is_full: false, is_exact }
    }

    /// Buffers that were allocated so far.
    pub(super) fn allocations(&self) -> usize {
        self.allocations
    }

    /// Whether the last buffer that was asked for did not fit on the device.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Bytes of all buffers that were taken from the device, and of what it has left.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn room(&self) -> Result<usize> {
        let (free, _) = self.kernels.stream.context().mem_get_info().told()?;
        Ok(self.bytes + free)
    }

    /// Whether a buffer of `capacity` floats is one for `n`.
    fn fits(&self, capacity: usize, n: usize) -> bool {
        if self.is_exact { capacity == n.max(1) } else { capacity >= n }
    }

    /// At least `n` floats of any value: the smallest free buffer that holds them, or a new one.
    ///
    /// # Errors
    /// A device without so much memory; [`Memory::is_full`] says so afterwards.
    pub(super) fn take(&mut self, n: usize) -> Result<Buffer> {
        let fitting = self.free.iter().enumerate().filter(|(_, b)| self.fits(b.capacity(), n));
        let buffer = match fitting.min_by_key(|(_, b)| b.capacity()) {
            Some((i, _)) => self.free.swap_remove(i),
            None => self.allocate(n)?,
        };
        if self.is_exact {
            let bytes = 4 * buffer.capacity();
            // SAFETY: as long as the buffer. Bytes of ones are a NaN.
            let filled = unsafe {
                memset_d8_async(buffer.at.0, 0xff, bytes, self.kernels.stream.cu_stream())
            };
            filled.told()?;
        }
        Ok(buffer)
    }

    fn allocate(&mut self, n: usize) -> Result<Buffer> {
        if self.kernels.captures() {
            // A device with memory pools would give what is there while the graph runs, which is no buffer.
            candle_core::bail!("a buffer of {n} floats more in what is recorded")
        }
        let stream = &self.kernels.stream;
        // SAFETY: whoever takes a buffer writes it before it is read, as it would one that others have used.
        let slice = unsafe { stream.alloc::<f32>(n.max(1)) };
        self.is_full = slice.as_ref().is_err_and(is_full);
        if self.is_full {
            let kilobytes = n.div_ceil(1 << 8);
            return Err(candle_core::Error::Msg(format!(
                "the device has no room for {kilobytes} KB more"
            )));
        }
        let slice = slice.told()?;
        self.allocations += 1;
        self.bytes += 4 * n.max(1);
        let at = Ptr(slice.device_ptr(stream).0);
        Ok(Buffer { slice, at })
    }

    /// Where a buffer for at least `n` floats lies: the one in `slot` if it is large enough, or another there.
    ///
    /// # Errors
    /// As [`Memory::take`].
    pub(super) fn fit(&mut self, slot: &mut Option<Buffer>, n: usize) -> Result<Ptr> {
        let buffer = match slot.take() {
            Some(buffer) if self.fits(buffer.capacity(), n) => buffer,
            small => {
                small.into_iter().for_each(|b| self.give(b));
                self.take(n)?
            }
        };
        Ok(slot.insert(buffer).at)
    }

    /// A buffer with these values.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn hold(&mut self, values: &[f32]) -> Result<Buffer> {
        let mut buffer = self.take(values.len())?;
        buffer.write(&self.kernels, values)?;
        Ok(buffer)
    }

    /// First and second momenta, of those that there are; none without first ones.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn hold_momenta(
        &mut self,
        [first, second]: [Vec<f32>; 2],
    ) -> Result<Option<(Buffer, Option<Buffer>)>> {
        if first.is_empty() {
            return Ok(None);
        }
        let second = (!second.is_empty()).then(|| self.hold(&second)).transpose()?;
        Ok(Some((self.hold(&first)?, second)))
    }

    /// Where `values` lie, uploaded to the buffer in `slot`, or to a larger one there.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn put(&mut self, slot: &mut Option<Buffer>, values: &[f32]) -> Result<Ptr> {
        let at = self.fit(slot, values.len())?;
        self.kernels.upload(values, at)?;
        Ok(at)
    }

    pub(super) fn give(&mut self, buffer: Buffer) {
        self.free.push(buffer);
    }
}
