//! A fixed low-pass filter.

use super::{Mode, Run, Site};
use crate::launch::{Arg, Ptr, args};
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::{Blur, Taps};

/// Sizes and shares, as kernels are told of them: h, w, c, oh, ow, stride, taps, those before, and their shares.
fn sizes(blur: Blur, [h, w, c]: [usize; 3]) -> Vec<Arg> {
    let taps = blur.taps.values().len();
    let (oh, ow) = (blur.output(h), blur.output(w));
    let mut all = args![h, w, c, oh, ow, blur.stride, taps, blur.taps.before()].to_vec();
    // Kernels take as many as there can be; they read no more than there are.
    let shares = blur.taps.shares().chain(std::iter::repeat(0.0));
    all.extend(shares.take(Taps::MOST).map(Arg::from));
    all
}

impl Run for Blur {
    fn forward(&self, engine: &mut Engine, site: &Site, _: Mode) -> Result<()> {
        let all = [&sizes(*self, site.shape)[..], args![site.x, site.y]].concat();
        engine.kernels.each("blur", site.n, &all)
    }

    fn backward(&self, engine: &mut Engine, site: &Site, grad: Buffer, _: Ptr) -> Result<()> {
        let dx = engine.memory.take(site.read)?;
        let all = [&sizes(*self, site.shape)[..], args![grad.at, dx.at]].concat();
        engine.kernels.each("blur_backward", site.read, &all)?;
        engine.through(site.input, grad, dx)
    }
}
