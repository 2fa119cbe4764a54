//! Convolution as custom operations; see `engine::conv`.

use super::{Run, Site};
use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use engine::conv;
use graph::op::Conv;
use graph::{Bounds, Geometry};

impl Run for Conv {
    fn run(&self, site: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        run(*self, site, inputs)
    }
}

/// `conv` of the first input, with the parameters of the node at `site`.
pub(super) fn run(conv: Conv, site: &Site, inputs: &[Tensor]) -> Result<Tensor> {
    let k = conv.window.kernel;
    let weight = site.parameter("weight")?;
    let weight = weight.reshape((conv.output, conv.input / conv.groups, k, k))?;
    let x = inputs[0].contiguous()?;
    if conv.bias {
        x.apply_op3(&weight, site.parameter("bias")?, ConvolveBias(conv))
    } else {
        x.apply_op2(&weight, Convolve(conv))
    }
}

/// `conv` on `x` `[b, h, w, in]` with `w` `[out, in / groups, k, k]`.
fn geometry(conv: Conv, x: &Shape, w: &Shape) -> Result<Geometry> {
    let (batch, height, width, input) = x.dims4()?;
    let Conv { window, groups, .. } = conv;
    let fits = window.kernel > 0
        && window.stride > 0
        && groups > 0
        && conv.output.is_multiple_of(groups)
        && input == conv.input
        && w.dims() == [conv.output, input / groups, window.kernel, window.kernel]
        && window.positions(height.min(width)).is_ok();
    if !fits {
        bail!("convolution {conv:?} does not fit input {x:?} and weight {w:?}")
    }
    Ok(Geometry::new(&conv, [height, width], batch))
}

/// Convolution without bias: `x` `[b, h, w, in]`, `w` `[out, in / groups, k, k]` → `[b, oh, ow, out]`.
#[derive(Clone, Copy, Debug)]
pub struct Convolve(pub Conv);

/// Convolution with bias `[out]`; otherwise as [`Convolve`].
#[derive(Clone, Copy, Debug)]
pub struct ConvolveBias(pub Conv);

const NAME: &str = "convolution";

fn forward(
    settings: Conv,
    (x, lx): (&CpuStorage, &Layout),
    (w, lw): (&CpuStorage, &Layout),
    bias: Option<&[f32]>,
) -> Result<(CpuStorage, Shape)> {
    let geometry = geometry(settings, lx.shape(), lw.shape())?;
    let shape =
        Shape::from((geometry.batch, geometry.out_height(), geometry.out_width(), geometry.output));
    let mut y = vec![0.0; shape.elem_count()];
    let (x, w) = (floats(x, lx, NAME)?, floats(w, lw, NAME)?);
    conv::forward(x, w, bias, Bounds::NONE, &geometry, &mut y);
    Ok((CpuStorage::F32(y), shape))
}

fn backward(
    settings: Conv,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    grad: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let geometry = geometry(settings, x.shape(), w.shape())?;
    // The picture itself needs no gradient: the stem saves a whole pass.
    let zeros = |like: &Tensor| vec![0.0; like.elem_count()];
    let (mut dx, mut dw, mut db) = (x.track_op().then(|| zeros(x)), zeros(w), bias.map(zeros));
    with_floats(&[x, w, grad], NAME, |s| {
        let (dx, db) = (dx.as_deref_mut(), db.as_deref_mut());
        conv::backward(s[0], s[1], s[2], &geometry, dx, &mut dw, db);
    })?;
    let dx = dx.map(|v| tensor_like(v, x)).transpose()?;
    let db = db.zip(bias).map(|(v, b)| tensor_like(v, b)).transpose()?;
    Ok((dx, Some(tensor_like(dw, w)?), db))
}

impl CustomOp2 for Convolve {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        forward(self.0, (x, lx), (w, lw), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw, _) = backward(self.0, x, w, None, grad)?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for ConvolveBias {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (bias, outputs) = (floats(b, lb, NAME)?, self.0.output);
        if bias.len() != outputs {
            bail!("convolution with {outputs} outputs got {} biases", bias.len())
        }
        forward(self.0, (x, lx), (w, lw), Some(bias))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        backward(self.0, x, w, Some(b), grad)
    }
}
