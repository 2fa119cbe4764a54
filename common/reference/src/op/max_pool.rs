//! The largest value of each window, as a custom operation; see `engine::op::max_pool`.
//!
//! candle's own max-pool gradient is divided by k² and loses rows of odd-sized inputs (candle-core
//! 0.11.1, `backprop.rs`, `Op::MaxPool2D`).

use super::{Run, Site};
use crate::tensors::{floats, pooled, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use engine::op::max_pool;
use graph::Window;
use graph::op::MaxPool;
use std::sync::{Arc, Mutex, PoisonError};

impl Run for MaxPool {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].contiguous()?.apply_op1(Maxima::new(self.0))
    }
}

/// `x` `[b, h, w, c]` → `[b, oh, ow, c]`. One object serves one call: it keeps where the maxima were.
#[derive(Clone, Debug)]
pub struct Maxima {
    window: Window,
    places: Arc<Mutex<Vec<u8>>>,
}

impl Maxima {
    /// A max pool with the given window.
    pub fn new(window: Window) -> Self {
        Self { window, places: Arc::default() }
    }
}

const NAME: &str = "max pool";

impl CustomOp1 for Maxima {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, h, w, c) = layout.shape().dims4()?;
        let shape = pooled(self.window, layout.shape())?;
        let (mut y, mut places) = (vec![0.0; shape.elem_count()], vec![0; shape.elem_count()]);
        let x = floats(x, layout, NAME)?;
        max_pool::forward(x, None, (h, w, c), self.window, &mut y, &mut places);
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, h, w, c) = x.dims4()?;
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dx = vec![0.0; x.elem_count()];
        with_floats(&[grad], NAME, |s| {
            max_pool::backward(s[0], &places, (h, w, c), self.window, &mut dx);
        })?;
        Ok(Some(tensor_like(dx, x)?))
    }
}
