//! A fixed low-pass filter.

use super::{Mode, Run, Site};
use crate::launch::{Ptr, args, argument};
use crate::memory::Buffer;
use crate::slide::{Slide, lanes};
use crate::values::Engine;
use candle_core::Result;
use graph::op::{Blur, Taps};

/// What each tap takes of a value, as kernels take them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    of: [f32; Taps::MOST],
}

argument!(Shares);

impl Shares {
    fn new(taps: &Taps) -> Self {
        let mut of = [0.0; Taps::MOST];
        of.iter_mut().zip(taps.shares()).for_each(|(to, share)| *to = share);
        Self { of }
    }
}

/// The filter as a window moved over pictures of `[h, w, c]`.
fn slide(blur: Blur, [h, w, c]: [usize; 3], buffers: &[Ptr]) -> Slide {
    let window = [blur.taps.values().len(), blur.stride, blur.taps.before()];
    Slide::over([h, w], [blur.output(h), blur.output(w)], c, window, lanes(c, buffers))
}

impl Run for Blur {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let s = slide(*self, site.shape, &[site.x, site.y]);
        engine.slid("blur", site.n, s, args![Shares::new(&self.taps), site.x, site.y])
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let dx = engine.memory.take(site.read)?;
        let s = slide(*self, site.shape, &[grad.at, dx.at]);
        engine.slid(
            "blur_backward",
            site.read,
            s,
            args![Shares::new(&self.taps), grad.at, dx.at],
        )?;
        engine.through(site.input, grad, dx)
    }
}
