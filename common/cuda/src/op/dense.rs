//! Convolution of all channels: a product of patches (im2col) and weights, which lie on the device in the order of
//! patches ([`crate::order`]).

use super::{Mode, Site};
use crate::call::{Call, Way};
use crate::device::asked;
use crate::launch::{Ptr, args};
use crate::memory::Buffer;
use crate::product::{After, Matrix, Product};
use crate::slide::Slide;
use crate::values::Engine;
use candle_core::Result;
use executor::Precision;
use graph::{Bounds, Geometry, Op, Window};

/// Most floats of a convolution's patches at a time, 256 MB: pictures are taken in groups.
const PATCHES: usize = 64 << 20;

impl Site<'_> {
    /// What its products are made of: f32 where it reads the pictures, and in linear layers, as on the CPU.
    fn precision(&self, engine: &Engine) -> Precision {
        let outside = self.input == 0 || matches!(self.fused.op, Op::Linear(_));
        if outside { Precision::F32 } else { engine.precision }
    }
}

/// A convolution whose products are made.
struct Dense {
    g: Geometry,
    precision: Precision,
    /// Pictures that have their patches at a time; None where the pictures are their patches.
    together: Option<usize>,
}

impl Dense {
    fn new(engine: &Engine, site: &Site, g: Geometry) -> Self {
        let precision = site.precision(engine);
        let picture = g.positions() * g.patch();
        let most = if asked("few-patches") { 0 } else { PATCHES / picture };
        let together = (g.window != Window::POINT).then(|| most.clamp(1, g.batch));
        Self { g, precision, together }
    }

    /// The groups of pictures: the first of each, and how many.
    fn groups(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (batch, together) = (self.g.batch, self.together.unwrap_or(self.g.batch));
        (0..batch).step_by(together).map(move |first| (first, together.min(batch - first)))
    }

    fn is_rounded(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// `n` values at `at` as factors: rounded into a buffer, or what is there.
    fn factors(&self, engine: &mut Engine, n: usize, at: Ptr) -> Result<Factors> {
        if !self.is_rounded() {
            return Ok(Factors { at, buffer: None });
        }
        // Two in a float.
        let buffer = engine.memory.take(n.div_ceil(2))?;
        engine.kernels.fours("to_bf16", n, args![at, buffer.at])?;
        Ok(Factors { at: buffer.at, buffer: Some(buffer) })
    }

    /// Room for the patches of a group.
    fn room(&self, engine: &mut Engine) -> Result<Option<Buffer>> {
        let floats = |n: usize| n * self.g.positions() * self.g.patch();
        self.together.map(|n| engine.memory.take(floats(n))).transpose()
    }

    /// Patches of `n` pictures from `x` on, `[rows, patch]`, as factors, in `room` where they need any.
    fn patches(
        &self,
        engine: &mut Engine,
        n: usize,
        x: Ptr,
        room: Option<&Buffer>,
    ) -> Result<Factors> {
        let g = &self.g;
        let Some(room) = room else { return self.factors(engine, n * g.floats(), x) };
        let (n, s) = (n * g.positions() * g.patch(), Slide::new(g, &[x, room.at]));
        let all = args![x, room.at];
        if self.is_rounded() {
            engine.slid("patches_bf16", n, s, all)?;
        } else {
            engine.slid("patches", n, s, all)?;
        }
        Ok(Factors { at: room.at, buffer: None })
    }
}

/// Where the factors of a product are, and what holds them, if they were made for it.
struct Factors {
    at: Ptr,
    buffer: Option<Buffer>,
}

impl Factors {
    fn matrix(&self, turned: bool) -> Matrix {
        Matrix { at: self.at, turned }
    }

    fn give(self, engine: &mut Engine) {
        self.buffer.into_iter().for_each(|b| engine.memory.give(b));
    }
}

/// A convolution at `site`, with a bias, unless that is null, and its clamps.
///
/// # Errors
/// A device that fails.
pub(super) fn forward(
    engine: &mut Engine,
    site: &Site,
    g: Geometry,
    bias: Ptr,
    mode: Mode,
) -> Result<()> {
    let (dense, Bounds { lo, hi }) = (Dense::new(engine, site, g), site.fused.bounds);
    // What cuBLASLt's clamp makes of a NaN is said nowhere. In training it must be seen; in answers it may become 0, as in
    // the stand-in, where the clamp of our own would be a pass more.
    let clamps = site.fused.bounds == Bounds::RELU && mode == Mode::Inference;
    let at_once = clamps || site.fused.bounds == Bounds::NONE;
    let after = After { bias: if at_once { bias } else { Ptr::NULL }, clamps, adds: false };
    let all = [site.x, site.parameter(0), site.y];
    let call = Call { g: &dense.g, precision: dense.precision, way: Way::Forward, at: all };
    let is_done = !engine.convolve(&call)? && {
        products(engine, &dense, all, after)?;
        at_once
    };
    if is_done || bias == Ptr::NULL && site.fused.bounds == Bounds::NONE {
        return Ok(());
    }
    engine.kernels.clamp(site.n, g.output, bias, [lo, hi], site.y)
}

fn products(
    engine: &mut Engine,
    dense: &Dense,
    [x, weight, y]: [Ptr; 3],
    after: After,
) -> Result<()> {
    let (g, precision) = (dense.g, dense.precision);
    let weight = dense.factors(engine, g.output * g.patch(), weight)?;
    let room = dense.room(engine)?;
    for (first, n) in dense.groups() {
        let a = dense.patches(engine, n, x.at(first * g.floats()), room.as_ref())?;
        let to = y.at(first * g.positions() * g.output);
        let (factors, shape) =
            ([a.matrix(false), weight.matrix(true)], [n * g.positions(), g.output, g.patch()]);
        engine.product(&Product { precision, factors, c: to, shape, after })?;
        a.give(engine);
    }
    room.into_iter().for_each(|b| engine.memory.give(b));
    weight.give(engine);
    Ok(())
}

/// Its gradients: of the weights to `dw`, of x to `dx`, if it has one.
///
/// # Errors
/// A device that fails.
pub(super) fn backward(
    engine: &mut Engine,
    site: &Site,
    g: Geometry,
    [grad, dw]: [Ptr; 2],
    dx: Option<Ptr>,
) -> Result<()> {
    let dense = Dense::new(engine, site, g);
    let precision = dense.precision;
    let mut by_cudnn = |way, at| engine.convolve(&Call { g: &g, precision, way, at });
    let has_weight = by_cudnn(Way::Weight, [site.x, grad, dw])?;
    let dx = match dx {
        Some(dx) if by_cudnn(Way::Input, [grad, site.parameter(0), dx])? => None,
        dx => dx,
    };
    if has_weight && dx.is_none() {
        return Ok(());
    }
    let weight = dense.factors(engine, g.output * g.patch(), site.parameter(0))?;
    let room = dense.room(engine)?;
    for (first, n) in dense.groups() {
        let rows = n * g.positions();
        let from = grad.at(first * g.positions() * g.output);
        let from = dense.factors(engine, rows * g.output, from)?;
        if !has_weight {
            let a = dense.patches(engine, n, site.x.at(first * g.floats()), room.as_ref())?;
            let after = After { adds: first > 0, ..After::NOTHING };
            let (factors, shape) =
                ([from.matrix(true), a.matrix(false)], [g.output, g.patch(), rows]);
            engine.product(&Product { precision, factors, c: dw, shape, after })?;
            a.give(engine);
        }
        if let Some(dx) = dx {
            let to = dx.at(first * g.floats());
            let back = room.as_ref().map_or(to, |b| b.at);
            let (factors, shape) =
                ([from.matrix(false), weight.matrix(false)], [rows, g.patch(), g.output]);
            let after = After::NOTHING;
            engine.product(&Product { precision, factors, c: back, shape, after })?;
            if room.is_some() {
                let s = Slide::new(&g, &[back, to]);
                engine.slid("patches_back", n * g.floats(), s, args![back, to])?;
            }
        }
        from.give(engine);
    }
    room.into_iter().for_each(|b| engine.memory.give(b));
    weight.give(engine);
    Ok(())
}
