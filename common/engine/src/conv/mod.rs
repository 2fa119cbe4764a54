//! Convolution over NHWC activations: plain, grouped, depthwise, pointwise; a linear layer is the
//! 1×1 convolution of a 1×1 picture.
//!
//! `y[b, oy, ox, o] = bias[o] + Σ x[b, oy·s + ky − p, ox·s + kx − p, i] · w[o, i, ky, kx]`
//!
//! with `x` `[b, h, w, in]`, `w` `[out, in / groups, k, k]` (PyTorch's layout), `y` `[b, oh, ow, out]`.
//! Out-of-picture taps read zero. [`ConvPlan`] chooses how each convolution is computed.
//!
//! Sums are cut by shape alone: the same bits for any number of threads.

mod bf16;
pub mod depthwise;
pub(crate) mod direct;
mod gemm;
mod kernel;
mod patches;
pub(crate) mod plan;
pub(crate) mod pointwise;
pub(crate) mod products;
mod rows;
pub(crate) mod stem;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod winograd;
#[cfg(target_arch = "wasm32")]
#[path = "winograd/absent.rs"]
pub(crate) mod winograd;

pub use plan::{ConvPlan, Forward, InputGradient, WeightGradient};
pub use winograd::Tile;

use crate::parallel::with_scratch;
use graph::{Bounds, Geometry};
use patches::unpack_weights;
use products::Product;
use rows::column_sums;
use winograd::Weights;

/// `x` `[b, h, w, in]`, `w` `[out, in / groups, k, k]`, `bias` `[out]` → `y` `[b, oh, ow, out]`,
/// clamped to `bounds`.
pub fn forward(
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    bounds: Bounds,
    g: &Geometry,
    y: &mut [f32],
) {
    assert_eq!(x.len(), g.batch * g.height * g.width * g.input, "input of {g:?}");
    assert_eq!(y.len(), g.rows() * g.output, "output of {g:?}");
    match ConvPlan::of(g).forward {
        Forward::Depthwise => with_scratch(depthwise::packed_floats(g), |packed| {
            depthwise::pack_with_bias(w, bias, packed);
            depthwise::Depthwise { geometry: *g, packed, bounds }.all(x, y);
        }),
        Forward::Direct => with_scratch(direct::packed_floats(g), |panels| {
            direct::pack(w, g, panels);
            direct::forward(x, panels, bias, bounds, g, y);
        }),
        Forward::Winograd(tile) => {
            winograd::forward(x, Weights::Plain(w), bias, bounds, (g, tile), y);
        }
        Forward::Stem => with_scratch(direct::packed_floats(g), |packed| {
            direct::pack(w, g, packed);
            stem::forward(x, packed, (bias, bounds), g, None, y);
        }),
        Forward::Products | Forward::Fused => products::forward(x, w, bias, bounds, g, y),
    }
}

/// Gradients of [`forward`] without clamp for the output gradient `grad` `[b, oh, ow, out]`: that of
/// the input goes into `dx` `[b, h, w, in]`, where there is one, that of the bias into `db`.
pub fn backward(
    x: &[f32],
    w: &[f32],
    grad: &[f32],
    g: &Geometry,
    dx: Option<&mut [f32]>,
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    assert_eq!(grad.len(), g.rows() * g.output, "output gradient of {g:?}");
    if let Some(db) = db {
        column_sums(grad, db);
    }
    let plan = ConvPlan::of(g);
    if plan.weight_gradient == WeightGradient::Depthwise {
        let mut grad = grad.to_vec();
        return depthwise::backward(x, w, &mut grad, g, |_, _| {}, dx, dw);
    }
    let p = Product::new(g);
    if let Some(dx) = dx {
        match (plan.input_gradient, g.reversed()) {
            (InputGradient::Direct, Some(reversed)) => {
                with_scratch(direct::packed_floats(&reversed), |panels| {
                    direct::pack_reversed(w, &reversed, panels);
                    direct::forward(grad, panels, None, Bounds::NONE, &reversed, dx);
                });
            }
            (InputGradient::Winograd(tile), Some(reversed)) => {
                let weights = Weights::Reversed(w);
                winograd::forward(grad, weights, None, Bounds::NONE, (&reversed, tile), dx);
            }
            _ => products::input_gradient(w, grad, g, &p, dx),
        }
    }
    if let WeightGradient::Winograd(tile) = plan.weight_gradient {
        return winograd::gradient(x, grad, (g, tile), dw);
    }
    with_scratch(dw.len(), |packed| {
        if plan.weight_gradient == WeightGradient::ByChannels {
            products::weight_gradient_by_channels(x, grad, g, &p, packed);
        } else {
            products::weight_gradient_by_rows(x, grad, g, &p, packed);
        }
        unpack_weights(packed, g.window.taps(), g.input / g.groups, dw);
    });
}
