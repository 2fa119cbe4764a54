//! Pooling as custom operations; see `engine::pool`.
//!
//! candle's own max-pool gradient is divided by k² and loses rows of odd-sized inputs (candle-core
//! 0.11.1, `backprop.rs`, `Op::MaxPool2D`).

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use engine::pool;
use graph::Window;
use std::sync::{Arc, Mutex, PoisonError};

/// The output of `window` on `[b, h, w, c]`.
fn out_shape(window: Window, shape: &Shape) -> Result<Shape> {
    let (b, h, w, c) = shape.dims4()?;
    if window.kernel == 0 || window.stride == 0 || window.positions(h.min(w)).is_err() {
        bail!("pool {window:?} does not fit an input of {h} × {w}")
    }
    Ok(Shape::from((b, window.output(h), window.output(w), c)))
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
const AVG: &str = "average pool";
const GLOBAL: &str = "global average pool";

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        MAX
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, h, w, c) = layout.shape().dims4()?;
        let shape = out_shape(self.window, layout.shape())?;
        let (mut y, mut places) = (vec![0.0; shape.elem_count()], vec![0; shape.elem_count()]);
        let x = floats(x, layout, MAX)?;
        pool::max_forward(x, None, (h, w, c), self.window, &mut y, &mut places);
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], MAX, |s| {
            pool::max_backward(s[0], &places, (h, w, c), self.window, &mut dx);
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// Mean of each window: `[b, h, w, c]` → `[b, oh, ow, c]`.
#[derive(Clone, Copy, Debug)]
pub struct AvgPool(pub Window);

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        AVG
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, h, w, c) = layout.shape().dims4()?;
        let shape = out_shape(self.0, layout.shape())?;
        let mut y = vec![0.0; shape.elem_count()];
        pool::avg_forward(floats(x, layout, AVG)?, (h, w, c), self.0, &mut y);
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], AVG, |s| pool::avg_backward(s[0], (h, w, c), self.0, &mut dx))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// Mean over height and width: `[b, h, w, c]` → `[b, 1, 1, c]`.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAvgPool;

impl CustomOp1 for GlobalAvgPool {
    fn name(&self) -> &'static str {
        GLOBAL
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, h, w, c) = layout.shape().dims4()?;
        let mut y = vec![0.0; b * c];
        pool::mean_forward(floats(x, layout, GLOBAL)?, h * w, c, &mut y);
        Ok((CpuStorage::F32(y), Shape::from((b, 1, 1, c))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], GLOBAL, |s| pool::mean_backward(s[0], h * w, c, &mut dx))?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
