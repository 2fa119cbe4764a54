//! Convolution over NHWC activations: plain, grouped, depthwise, pointwise; a linear layer is the
//! 1×1 convolution of a 1×1 picture.
//!
//! `y[b, oy, ox, o] = bias[o] + Σ x[b, oy·s + ky − p, ox·s + kx − p, i] · w[o, i, ky, kx]`
//!
//! with `x` `[b, h, w, in]`, `w` `[out, in / groups, k, k]` (PyTorch's layout), `y` `[b, oh, ow, out]`.
//! Out-of-picture taps read zero. [`cpu`] chooses: depthwise filters have loops of their own
//! ([`depthwise`]), plain convolutions are summed straight from the picture (`direct`, and `stem` for
//! the few channels of a first layer), as is the input gradient at stride 1; groups, weight gradients
//! and the other input gradients are matrix products over tiles of gathered patches. `pointwise` is
//! what the engine fuses a 1×1 convolution with.

pub mod cpu;
pub mod depthwise;
pub(crate) mod direct;
mod gemm;
mod patches;
pub(crate) mod pointwise;
mod rows;
mod stem;

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// The hyper-parameters of a convolution. Square kernels; the same stride and padding both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Kernel side, in pixels.
    pub kernel: usize,
    /// Step between outputs, in pixels.
    pub stride: usize,
    /// Zeros added on each side, in pixels.
    pub padding: usize,
    /// Channel groups: 1 = plain, number of input channels = depthwise.
    pub groups: usize,
}

/// A convolution applied to pictures of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pictures.
    pub batch: usize,
    /// Input height, pixels.
    pub height: usize,
    /// Input width, pixels.
    pub width: usize,
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Kernel, stride, padding, groups.
    pub window: Window,
}

impl Geometry {
    /// Checks that the window fits the shapes `x` `[b, h, w, in]` and `w` `[out, in / groups, k, k]`.
    ///
    /// # Errors
    /// When it does not.
    pub fn new(x: &Shape, w: &Shape, window: Window) -> Result<Self> {
        let (batch, height, width, input) = x.dims4()?;
        let (output, per_group, kh, kw) = w.dims4()?;
        let Window { kernel, stride, padding, groups } = window;
        let fits = kh == kernel
            && kw == kernel
            && stride > 0
            && groups > 0
            && per_group * groups == input
            && output % groups == 0
            && kernel > 0
            && height + 2 * padding >= kernel
            && width + 2 * padding >= kernel;
        if !fits {
            bail!("convolution {window:?} does not fit input {x:?} and weight {w:?}")
        }
        Ok(Self { batch, height, width, input, output, window })
    }

    /// Output height, pixels.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.window.padding - self.window.kernel) / self.window.stride + 1
    }

    /// Output width, pixels.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.window.padding - self.window.kernel) / self.window.stride + 1
    }

    /// Output positions over the whole batch: the rows of the matrix product.
    pub fn rows(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    /// One filter per channel.
    pub fn is_depthwise(&self) -> bool {
        self.window.groups == self.input && self.input == self.output && self.input > 1
    }

    /// The input is already the matrix of patches.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.window.kernel == 1 && self.window.stride == 1 && self.window.padding == 0
    }

    /// The convolution that gives the input gradient from the output gradient, with inputs and outputs
    /// exchanged and taps mirrored; None where the stride leaves gaps or padding exceeds the kernel.
    pub(crate) fn reversed(&self) -> Option<Self> {
        let Window { kernel, stride, padding, groups } = self.window;
        let padding = (kernel - 1).checked_sub(padding)?;
        (stride == 1 && groups == 1).then(|| Self {
            height: self.out_height(),
            width: self.out_width(),
            input: self.output,
            output: self.input,
            window: Window { kernel, stride, padding, groups },
            ..*self
        })
    }

    fn out_shape(&self) -> Shape {
        Shape::from((self.batch, self.out_height(), self.out_width(), self.output))
    }
}

/// Convolution without bias: `x` `[b, h, w, in]`, `w` `[out, in / groups, k, k]` → `[b, oh, ow, out]`.
#[derive(Clone, Copy, Debug)]
pub struct Conv(pub Window);

/// Convolution with bias `[out]`; otherwise as [`Conv`].
#[derive(Clone, Copy, Debug)]
pub struct ConvBias(pub Window);

const NAME: &str = "convolution";
/// No clamp.
const LINEAR: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

fn backward(
    window: Window,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    grad: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
    let geometry = Geometry::new(x.shape(), w.shape(), window)?;
    // The picture itself needs no gradient: the stem saves a whole pass.
    let zeros = |like: &Tensor| vec![0.0; like.elem_count()];
    let (mut dx, mut dw, mut db) = (x.track_op().then(|| zeros(x)), zeros(w), bias.map(zeros));
    with_floats(&[x, w, grad], NAME, |s| {
        let (dx, db) = (dx.as_deref_mut(), db.as_deref_mut());
        cpu::backward(s[0], s[1], s[2], &geometry, dx, &mut dw, db);
    })?;
    let dx = dx.map(|v| tensor_like(v, x)).transpose()?;
    let db = db.zip(bias).map(|(v, b)| tensor_like(v, b)).transpose()?;
    Ok((dx, Some(tensor_like(dw, w)?), db))
}

impl CustomOp2 for Conv {
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
        let geometry = Geometry::new(lx.shape(), lw.shape(), self.0)?;
        let mut y = vec![0.0; geometry.out_shape().elem_count()];
        let (x, w) = (floats(x, lx, NAME)?, floats(w, lw, NAME)?);
        cpu::forward(x, w, None, LINEAR, &geometry, &mut y);
        Ok((CpuStorage::F32(y), geometry.out_shape()))
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

impl CustomOp3 for ConvBias {
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
        let geometry = Geometry::new(lx.shape(), lw.shape(), self.0)?;
        let bias = floats(b, lb, NAME)?;
        if bias.len() != geometry.output {
            bail!("convolution with {} outputs got {} biases", geometry.output, bias.len())
        }
        let mut y = vec![0.0; geometry.out_shape().elem_count()];
        let (x, w) = (floats(x, lx, NAME)?, floats(w, lw, NAME)?);
        cpu::forward(x, w, Some(bias), LINEAR, &geometry, &mut y);
        Ok((CpuStorage::F32(y), geometry.out_shape()))
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
