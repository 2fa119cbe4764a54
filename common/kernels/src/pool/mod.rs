//! Max pooling with any kernel, stride and padding, and the global average.
//!
//! The gradient of a maximum goes to the first largest input in row order, as in PyTorch.
//! candle's own max-pool gradient is divided by k² and loses rows of odd-sized inputs
//! (candle-core 0.11.1, `backprop.rs`, `Op::MaxPool2D`).

pub mod cpu;

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// A pooling window over pictures `[h, w, c]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side, pixels (at most 15, so that a place in it fits a byte).
    pub kernel: usize,
    /// Step, pixels.
    pub stride: usize,
    /// Pixels of −∞ on each side; less than the kernel.
    pub padding: usize,
}

impl Window {
    /// Output side for an input side of `n` pixels (rounded down, PyTorch's default).
    pub fn output(&self, n: usize) -> usize {
        ((n + 2 * self.padding).saturating_sub(self.kernel)) / self.stride.max(1) + 1
    }

    /// [`Window::output`] where windows lie side by side: none of less than a window.
    pub(crate) fn covered(&self, n: usize) -> usize {
        n / self.kernel
    }

    /// Whether windows lie side by side, each row of pixels in one row of windows.
    pub(crate) fn tiles(&self) -> bool {
        self.stride == self.kernel && self.padding == 0
    }
}

/// `x` `[b, h, w, c]` → `[b, oh, ow, c]`. One object serves one call: it keeps where the maxima were.
#[derive(Clone, Debug)]
pub struct MaxPool {
    window: Window,
    places: Arc<Mutex<Vec<u8>>>,
}

impl MaxPool {
    /// A max pool with the given window.
    pub fn new(window: Window) -> Self {
        Self { window, places: Arc::default() }
    }
}

const MAX: &str = "max pool";
const AVG: &str = "global average pool";

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        MAX
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        let win = self.window;
        let fits = win.kernel >= 1
            && win.kernel <= 15
            && win.stride >= 1
            && win.padding < win.kernel
            && h + 2 * win.padding >= win.kernel
            && w + 2 * win.padding >= win.kernel;
        if !fits {
            bail!("max pool {win:?} does not fit an input of {h} × {w}")
        }
        let n = b * win.output(h) * win.output(w) * c;
        let (mut y, mut places) = (vec![0.0; n], vec![0; n]);
        cpu::max_forward(floats(x, layout, MAX)?, None, (h, w, c), win, &mut y, &mut places);
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
        Ok((CpuStorage::F32(y), Shape::from((b, win.output(h), win.output(w), c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], MAX, |s| {
            cpu::max_backward(s[0], &places, (h, w, c), self.window, &mut dx);
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// Mean over height and width: `[b, h, w, c]` → `[b, 1, 1, c]`.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAvgPool;

impl CustomOp1 for GlobalAvgPool {
    fn name(&self) -> &'static str {
        AVG
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        let mut y = vec![0.0; b * c];
        cpu::mean_forward(floats(x, layout, AVG)?, h * w, c, &mut y);
        Ok((CpuStorage::F32(y), Shape::from((b, 1, 1, c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], AVG, |s| cpu::mean_backward(s[0], h * w, c, &mut dx))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
