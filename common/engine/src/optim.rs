//! Optimizer steps fused into one pass over a parameter.
//!
//! candle-nn's AdamW makes fourteen temporaries per parameter and step, and its SGD has no
//! momentum (candle-nn 0.11.1, `optim.rs`).

use crate::parallel::{BLOCK, prelude::*};
use crate::simd::{dispatch, mul_add};
use executor::update::{ADAM_FLOOR, BETA1, BETA2, Part, Rule, SGD_MOMENTUM, Update};

/// SGD with Nesterov momentum and L2 weight decay, as
/// `torch.optim.SGD(nesterov=True)`: `g += wd·p; m = µ·m + g; p −= lr·(g + µ·m)`.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// Learning rate of this step.
    pub lr: f32,
    /// µ.
    pub momentum: f32,
    /// L2 factor.
    pub weight_decay: f32,
    /// Factor on the gradient first (global-norm clipping).
    pub grad_scale: f32,
}

/// AdamW (Loshchilov & Hutter 2019), as `torch.optim.AdamW`:
/// `p *= 1 − lr·wd; m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; p −= lr·m̂ / (√v̂ + ε)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f32,
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Number of this step, from 1 (bias correction).
    pub step: i32,
    /// Factor on the gradient first (global-norm clipping).
    pub grad_scale: f32,
}

impl Sgd {
    /// One step on `parameter` with gradient `grad`; `momentum` is the buffer m, zero at first. All of
    /// one length.
    pub fn step(&self, parameter: &mut [f32], grad: &[f32], momentum: &mut [f32]) {
        let blocks = parameter.par_chunks_mut(BLOCK).zip(grad.par_chunks(BLOCK));
        blocks
            .zip(momentum.par_chunks_mut(BLOCK))
            .for_each(|((p, g), m)| sgd_block(p, g, m, *self));
    }
}

impl AdamW {
    /// One step on `parameter` with gradient `grad`; `first` and `second` are m and v. All of one
    /// length.
    pub fn step(&self, parameter: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32]) {
        let blocks = parameter.par_chunks_mut(BLOCK).zip(grad.par_chunks(BLOCK));
        blocks
            .zip(first.par_chunks_mut(BLOCK))
            .zip(second.par_chunks_mut(BLOCK))
            .for_each(|(((p, g), m), v)| adamw_block(p, g, m, v, *self));
    }
}

/// Σ g², in f64 and in a fixed order.
pub fn square_sum(grad: &[f32]) -> f64 {
    let mut blocks = vec![0.0; grad.len().div_ceil(BLOCK)];
    blocks.par_chunks_mut(1).zip(grad.par_chunks(BLOCK)).for_each(|(sum, block)| {
        sum[0] = block.iter().map(|v| f64::from(*v).powi(2)).sum();
    });
    blocks.iter().sum()
}

dispatch! {
    fn sgd_block(p: &mut [f32], g: &[f32], m: &mut [f32], o: Sgd) = sgd_block_body
}

#[inline(always)]
fn sgd_block_body<const FMA: bool>(p: &mut [f32], g: &[f32], m: &mut [f32], o: Sgd) {
    for ((p, g), m) in p.iter_mut().zip(g).zip(m) {
        let g = mul_add::<FMA>(o.weight_decay, *p, *g * o.grad_scale);
        *m = mul_add::<FMA>(o.momentum, *m, g);
        *p -= o.lr * mul_add::<FMA>(o.momentum, *m, g);
    }
}

dispatch! {
    fn adamw_block(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], o: AdamW)
        = adamw_block_body
}

#[inline(always)]
fn adamw_block_body<const FMA: bool>(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    o: AdamW,
) {
    let correct1 = 1.0 - o.beta1.powi(o.step);
    let correct2 = (1.0 - o.beta2.powi(o.step)).sqrt();
    let (lr, keep) = (o.lr / correct1, 1.0 - o.lr * o.weight_decay);
    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        let g = *g * o.grad_scale;
        *m = mul_add::<FMA>(o.beta1, *m, (1.0 - o.beta1) * g);
        *v = mul_add::<FMA>(o.beta2, *v, (1.0 - o.beta2) * g * g);
        *p = *p * keep - lr * *m / (v.sqrt() / correct2 + o.epsilon);
    }
}

/// One step, number `step` from 1, on the variables in `parts` with `gradient`; `momenta` are the first and, for
/// AdamW, the second. All buffers of one layout. The norm that is clipped is that of all parts together.
pub fn step(
    update: &Update,
    parts: &[Part],
    variables: &mut [f32],
    gradient: &[f32],
    momenta: &mut [Vec<f32>; 2],
    step: i32,
) {
    let mut grad_scale = 1.0;
    if update.clip > 0.0 {
        let sum: f64 = parts.iter().map(|p| square_sum(&gradient[p.range.clone()])).sum();
        grad_scale = (update.clip / (sum.sqrt() as f32 + 1e-6)).min(1.0);
    }
    for Part { range, decays, is_head } in parts {
        let (lr, step) = (update.lr_of(*is_head), update.count(step, *is_head));
        let weight_decay = if *decays { update.weight_decay } else { 0.0 };
        let (p, g) = (&mut variables[range.clone()], &gradient[range.clone()]);
        let [first, second] = momenta;
        let first = &mut first[range.clone()];
        match update.rule {
            Rule::Sgd => {
                Sgd { lr, momentum: SGD_MOMENTUM, weight_decay, grad_scale }.step(p, g, first);
            }
            Rule::AdamW => AdamW {
                lr,
                beta1: BETA1,
                beta2: BETA2,
                epsilon: ADAM_FLOOR,
                weight_decay,
                step,
                grad_scale,
            }
            .step(p, g, first, &mut second[range.clone()]),
        }
    }
}

/// `average += (1 − keep) · (now − average)`.
pub fn average(average: &mut [f32], now: &[f32], keep: f32) {
    let blocks = average.par_chunks_mut(BLOCK).zip(now.par_chunks(BLOCK));
    blocks.for_each(|(a, n)| a.iter_mut().zip(n).for_each(|(a, n)| *a += (1.0 - keep) * (n - *a)));
}
