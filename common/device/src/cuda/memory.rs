//! Buffers on the device that are given back and taken again: after the first step of a batch size nothing
//! is allocated.

use super::kernels::Ptr;
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
        Self { device: device.clone(), free: Vec::new(), allocations: 0 }
    }

    /// Buffers that were allocated so far.
    pub(super) fn allocations(&self) -> usize {
        self.allocations
    }

    /// At least `n` floats of any value: the smallest free buffer that holds them, or a new one.
    ///
    /// # Errors
    /// A device without so much memory: the message says how much.
    pub(super) fn take(&mut self, n: usize) -> Result<Buffer> {
        let fitting = self.free.iter().enumerate().filter(|(_, b)| b.capacity() >= n);
        if let Some((i, _)) = fitting.min_by_key(|(_, b)| b.capacity()) {
            return Ok(self.free.swap_remove(i));
        }
        self.allocations += 1;
        let slice = self.device.alloc_zeros::<f32>(n.max(1)).map_err(|e| {
            let megabytes = n.div_ceil(1 << 18);
            let first = e.to_string().lines().next().unwrap_or_default().to_owned();
            candle_core::Error::Msg(format!("no {megabytes} MB more on the device: {first}"))
        })?;
        let at = Ptr(slice.device_ptr(&self.device.cuda_stream()).0);
        Ok(Buffer { slice, at })
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
