//! Pictures that stay on the device as bytes, and views of them.

use crate::launch::{Arg, Ptr, args};
use crate::memory::{Buffer, Memory};
use crate::values::Engine;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{CudaDevice, Result, bail};

/// Where and how one picture is looked at: matrix (4), centre (2), brightness, contrast, saturation.
pub type Shot = [f32; 9];

/// A view, as kernels are told of it; see `views.cu`.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Picture, partner, how they are mixed (0 not at all, 1 by weight, 2 by a rectangle), and the
    /// rectangle: top, bottom, left, right.
    pub places: [u32; 7],
    /// Share of the picture itself.
    pub weight: f32,
    /// Of the picture and of its partner.
    pub shots: [Shot; 2],
}

/// A data set on the device.
pub(super) struct Pictures {
    bytes: CudaSlice<u8>,
    at: Ptr,
    count: usize,
    size: usize,
    /// Mean and deviation of the colours.
    normalization: Buffer,
}

impl Pictures {
    /// `count` pictures `[3, size, size]`, one after the other; None where they would take more than half of
    /// the room that the device has left: training needs some, too.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn new<'a>(
        pixels: impl Iterator<Item = &'a [u8]>,
        (count, size): (usize, usize),
        [mean, std]: [[f32; 3]; 2],
        memory: &mut Memory,
        device: &CudaDevice,
    ) -> Result<Option<Self>> {
        let each = 3 * size * size;
        if 2 * count * each > memory.room() {
            return Ok(None);
        }
        let mut bytes = device.alloc_zeros::<u8>(count * each)?;
        for (i, picture) in pixels.enumerate() {
            device.memcpy_htod(picture, &mut bytes.slice_mut(i * each..(i + 1) * each))?;
        }
        let at = Ptr(bytes.device_ptr(&device.cuda_stream()).0);
        let normalization = memory.hold(&[mean, std].concat())?;
        Ok(Some(Self { bytes, at, count, size, normalization }))
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl Engine {
    /// Makes `views` of `pictures` the batch.
    ///
    /// # Errors
    /// Pictures of another size, a view of none of them; a device that fails.
    pub(super) fn render(&mut self, pictures: &Pictures, views: &[View]) -> Result<()> {
        let (b, size, plane) = (views.len(), pictures.size, pictures.size * pictures.size);
        self.begin(b * 3 * plane)?;
        let is_there = |v: &View| v.places[..2].iter().all(|i| (*i as usize) < pictures.count);
        if !views.iter().all(is_there) {
            bail!("a view of a picture that is not among {}", pictures.count)
        }
        let places: Vec<f32> = views.iter().flat_map(|v| v.places).map(f32::from_bits).collect();
        let shots: Vec<f32> = views
            .iter()
            .flat_map(|v| std::iter::once(v.weight).chain(v.shots.into_iter().flatten()))
            .collect();
        let [places, shots] = [places, shots].map(|table| self.memory.hold(&table));
        let (places, shots) = (places?, shots?);
        let raw = self.memory.take(b * 2 * plane * 3)?;
        let rows = self.memory.take(b * 2 * size)?;
        let sums = self.memory.take(b * 2)?;
        let kernels = &self.kernels;
        let all = args![size, pictures.at, places.at, shots.at, raw.at];
        kernels.each("shoot", b * 2 * plane, all)?;
        let all = args![size, places.at, shots.at, raw.at, rows.at];
        kernels.each("grey_rows", b * 2 * size, all)?;
        self.sum(b * 2, size, b * 2, rows.at, sums.at)?;
        let mut all = args![size, places.at, shots.at, raw.at, sums.at].to_vec();
        let mean = pictures.normalization.at;
        all.extend([mean, mean.at(3), self.out(0)].map(Arg::from));
        kernels.each("mix", b * plane, &all)?;
        [places, shots, raw, rows, sums].into_iter().for_each(|b| self.memory.give(b));
        Ok(())
    }
}
