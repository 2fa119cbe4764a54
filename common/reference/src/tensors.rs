//! Access to the floats behind candle tensors.

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};
use graph::Window;

/// The contiguous f32 data of a storage.
pub(crate) fn floats<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
    op: &'static str,
) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("{op}: needs a contiguous tensor, got strides {:?}", layout.stride())
    };
    match storage {
        CpuStorage::F32(v) => Ok(&v[start..end]),
        _ => bail!("{op}: needs f32"),
    }
}

/// Calls `f` with the f32 data of `tensors`, made contiguous where they are not.
pub(crate) fn with_floats<R>(
    tensors: &[&Tensor],
    op: &'static str,
    f: impl FnOnce(&[&[f32]]) -> R,
) -> Result<R> {
    let tensors: Vec<Tensor> = tensors.iter().map(|t| t.contiguous()).collect::<Result<_>>()?;
    let guards: Vec<_> = tensors.iter().map(|t| t.storage_and_layout()).collect();
    let mut slices = Vec::with_capacity(guards.len());
    for (storage, layout) in &guards {
        match &**storage {
            Storage::Cpu(s) => slices.push(floats(s, layout, op)?),
            _ => bail!("{op}: runs on the CPU only"),
        }
    }
    Ok(f(&slices))
}

/// A tensor of the shape of `like`.
pub(crate) fn tensor_like(v: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(v, like.shape(), like.device())
}

/// The output of `window` on `[b, h, w, c]`.
pub(crate) fn pooled(window: Window, shape: &Shape) -> Result<Shape> {
    let (b, h, w, c) = shape.dims4()?;
    if window.kernel == 0 || window.stride == 0 || window.positions(h.min(w)).is_err() {
        bail!("pool {window:?} does not fit an input of {h} × {w}")
    }
    Ok(Shape::from((b, window.output(h), window.output(w), c)))
}
