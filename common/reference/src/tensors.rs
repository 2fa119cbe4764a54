//! Access to the floats behind candle tensors.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

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
