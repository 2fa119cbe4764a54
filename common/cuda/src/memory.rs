//! Buffers on the device that are given back and taken again: after the first step of a batch size nothing
//! is allocated.

use crate::launch::Ptr;
use candle_core::cuda_backend::cudarc::driver::result::mem_get_info;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Result};

/// Floats on the device.
pub(super) struct Buffer {
    slice: CudaSlice<f32>,
    /// Where it begins.
    pub(super) at: Ptr,
}

/// The buffers of an engine that are free.
pub(super) struct Memory {
    device: CudaDevice,
    free: Vec<Buffer>,
    allocations: usize,
    /// Bytes of all buffers.
    bytes: usize,
    /// Whether the device had no room for one.
    is_full: bool,
}

impl Buffer {
    /// Floats it holds.
    pub(super) fn capacity(&self) -> usize {
        self.slice.len()
    }

    /// The first `n` floats, here.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn read(&self, device: &CudaDevice, n: usize) -> Result<Vec<f32>> {
        device.clone_dtoh(&self.slice.slice(..n))
    }

    /// `values` at its start.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn write(&mut self, device: &CudaDevice, values: &[f32]) -> Result<()> {
        device.memcpy_htod(values, &mut self.slice.slice_mut(..values.len()))
    }

    /// A copy.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn copy(&self, memory: &mut Memory) -> Result<Self> {
        let mut copy = memory.take(self.capacity())?;
        let device = &memory.device;
        device.memcpy_dtod(&self.slice, &mut copy.slice.slice_mut(..self.slice.len()))?;
        Ok(copy)
    }

    /// `n` floats of `from`, at its start.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn copy_from(&mut self, from: &Self, n: usize, device: &CudaDevice) -> Result<()> {
        device.memcpy_dtod(&from.slice.slice(..n), &mut self.slice.slice_mut(..n))
    }
}

impl Memory {
    pub(super) fn new(device: &CudaDevice) -> Self {
        Self { device: device.clone(), free: Vec::new(), allocations: 0, bytes: 0, is_full: false }
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
    pub(super) fn room(&self) -> usize {
        self.bytes + mem_get_info().map_or(0, |(free, _)| free)
    }

    /// At least `n` floats of any value: the smallest free buffer that holds them, or a new one.
    ///
    /// # Errors
    /// A device without so much memory; [`Memory::is_full`] says so afterwards.
    pub(super) fn take(&mut self, n: usize) -> Result<Buffer> {
        let fitting = self.free.iter().enumerate().filter(|(_, b)| b.capacity() >= n);
        if let Some((i, _)) = fitting.min_by_key(|(_, b)| b.capacity()) {
            return Ok(self.free.swap_remove(i));
        }
        let slice = self.device.alloc_zeros::<f32>(n.max(1));
        self.is_full = slice.is_err();
        let slice = slice.map_err(|_| {
            let kilobytes = n.div_ceil(1 << 8);
            candle_core::Error::Msg(format!("the device has no room for {kilobytes} KB more"))
        })?;
        self.allocations += 1;
        self.bytes += 4 * n.max(1);
        let at = Ptr(slice.device_ptr(&self.device.cuda_stream()).0);
        Ok(Buffer { slice, at })
    }

    /// Where a buffer for at least `n` floats lies: the one in `slot` if it is large enough, or another there.
    ///
    /// # Errors
    /// As [`Memory::take`].
    pub(super) fn fit(&mut self, slot: &mut Option<Buffer>, n: usize) -> Result<Ptr> {
        let buffer = match slot.take() {
            Some(buffer) if buffer.capacity() >= n => buffer,
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
        buffer.write(&self.device, values)?;
        Ok(buffer)
    }

    pub(super) fn give(&mut self, buffer: Buffer) {
        self.free.push(buffer);
    }
}
