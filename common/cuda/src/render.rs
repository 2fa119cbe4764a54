//! Pictures that stay on the device as bytes, and views of them.

#![allow(unsafe_code)] // memory that is not set

use crate::failure::{Told, is_full};
use crate::launch::{Arg, Kernels, Ptr, args};
use crate::memory::{Buffer, Memory};
use crate::values::Engine;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::{Result, bail};
use views::{Mixing, Normalization, Pictures, Shot, View};

/// A view, as kernels are told of it; see `render.cu`.
struct Words {
    /// Picture, partner, how they are mixed (0 not at all, 1 by weight, 2 by a rectangle, 3 by a square that
    /// holds all of the partner), and rectangle or square: top, bottom, left, right.
    places: [u32; 7],
    /// Share of the picture itself; then of the picture and of its partner: matrix (4), centre (2),
    /// brightness, contrast, saturation.
    shots: [f32; 1 + 2 * 9],
}

impl Words {
    fn new(picture: usize, view: &View) -> Self {
        let (how, [top, bottom, left, right]) = match view.mixing {
            Mixing::None => (0, [0; 4]),
            Mixing::Mixup(_) => (1, [0; 4]),
            Mixing::CutMix(rectangle) => (2, rectangle.map(|n| n as u32)),
            Mixing::ResizeMix(square) => (3, square.map(|n| n as u32)),
        };
        let (partner, other) = view.partner;
        let shot = |s: &Shot| {
            let ([[yy, yx], [xy, xx]], [cy, cx], [b, c, a]) = (s.matrix, s.center, s.colour);
            [yy, yx, xy, xx, cy, cx, b, c, a]
        };
        let mut shots = [view.weight; 1 + 2 * 9];
        shots[1..10].copy_from_slice(&shot(&view.own));
        shots[10..].copy_from_slice(&shot(&other));
        let places = [picture as u32, partner as u32, how, top, bottom, left, right];
        Self { places, shots }
    }
}

/// A data set on the device.
pub(super) struct Kept {
    bytes: CudaSlice<u8>,
    at: Ptr,
    count: usize,
    size: usize,
    /// Mean and deviation of the colours.
    normalization: Buffer,
}

/// Bytes of pictures that go up together.
const TOGETHER: usize = 4 << 20;

impl Kept {
    /// All of `pictures`, one after the other; None where, with the `kept` bytes of others, they would take more than half
    /// of the device's memory: training needs some, too. What others have of it now does not count, as views that the
    /// device renders differ from the CPU's by rounding: the same command gives the same bytes, or an error.
    ///
    /// # Errors
    /// A device that fails, or has no room left for them.
    pub(super) fn new(
        pictures: &dyn Pictures,
        normalization: &Normalization,
        kept: usize,
        memory: &mut Memory,
        kernels: &Kernels,
    ) -> Result<Option<Self>> {
        let (count, size) = (pictures.count(), pictures.size());
        let each = 3 * size * size;
        let (_, total) = kernels.stream.context().mem_get_info().told()?;
        // Kernels are told of pictures and sizes in 32 bits.
        if 2 * (kept + count * each) > total || u32::try_from(count.max(size)).is_err() {
            return Ok(None);
        }
        // SAFETY: written below, all of it.
        let bytes = unsafe { kernels.stream.alloc::<u8>((count * each).max(1)) };
        if bytes.as_ref().is_err_and(is_full) {
            bail!(
                "the device has no room for {} MB of pictures, which would be {} % of its memory: this program \
                 or others have it, nvidia-smi lists them; or leave out --device",
                (count * each).div_ceil(1 << 20),
                (100 * count * each).div_ceil(total.max(1))
            )
        }
        let bytes = bytes.told()?;
        let start = bytes.device_ptr(&kernels.stream).0;
        let group = (TOGETHER / each.max(1)).max(1);
        for first in (0..count).step_by(group) {
            let some = first..(first + group).min(count);
            let some: Vec<u8> = some.flat_map(|i| pictures.pixels(i)).copied().collect();
            kernels.upload(&some, Ptr(start + (first * each) as u64))?;
        }
        let normalization = memory.hold(&[normalization.mean, normalization.std].concat())?;
        Ok(Some(Self { bytes, at: Ptr(start), count, size, normalization }))
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Floats of a view.
    pub(super) fn floats(&self) -> usize {
        3 * self.size * self.size
    }
}

/// What kernels are told of `views` of `pictures`: places, as bits, and shots.
///
/// # Errors
/// A view of a picture that is not there.
fn tables(pictures: &Kept, views: &[(usize, View)]) -> Result<(Vec<f32>, Vec<f32>)> {
    let is_there = |(i, v): &(usize, View)| i.max(&v.partner.0) < &pictures.count;
    if !views.iter().all(is_there) {
        bail!("a view of a picture that is not among {}", pictures.count)
    }
    let words: Vec<Words> = views.iter().map(|(i, view)| Words::new(*i, view)).collect();
    let places = words.iter().flat_map(|w| w.places).map(f32::from_bits).collect();
    Ok((places, words.iter().flat_map(|w| w.shots).collect()))
}

impl Engine {
    /// Makes `views` of `pictures` the batch, which [`Engine::render`] then renders.
    ///
    /// # Errors
    /// A view of no picture; a device that fails.
    pub(super) fn draw(&mut self, pictures: &Kept, views: &[(usize, View)]) -> Result<()> {
        if pictures.floats() != self.schedule.operations[0].floats() {
            bail!("pictures of another size than the network's")
        }
        let (places, shots) = tables(pictures, views)?;
        self.begin(views.len() * pictures.floats())?;
        self.memory.put(&mut self.inputs.places, &places)?;
        self.memory.put(&mut self.inputs.shots, &shots)?;
        Ok(())
    }

    /// Renders the batch, views of `pictures` that were drawn ([`Engine::draw`]).
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn render(&mut self, pictures: &Kept) -> Result<()> {
        let (b, size, plane) = (self.batch, pictures.size, pictures.size * pictures.size);
        let [places, shots] = [&self.inputs.places, &self.inputs.shots]
            .map(|table| table.as_ref().expect("views were drawn").at);
        let raw = self.memory.take(b * 2 * plane * 3)?;
        let rows = self.memory.take(b * 2 * size)?;
        let sums = self.memory.take(b * 2)?;
        let kernels = &self.kernels;
        let all = args![size, pictures.at, places, shots, raw.at];
        kernels.each("shoot", b * 2 * plane, all)?;
        let all = args![size, places, shots, raw.at, rows.at];
        kernels.each("grey_rows", b * 2 * size, all)?;
        self.sum(b * 2, size, b * 2, rows.at, sums.at)?;
        let mut all = args![size, places, shots, raw.at, sums.at].to_vec();
        let mean = pictures.normalization.at;
        all.extend([mean, mean.at(3), self.out(0)].map(Arg::from));
        kernels.each("mix", b * plane, &all)?;
        [raw, rows, sums].into_iter().for_each(|b| self.memory.give(b));
        Ok(())
    }
}
