//! The arithmetic of convolutional networks on the CPU, behind candle custom operations.
//!
//! candle's own operations train a depthwise-separable network many times slower than they need
//! to, its max-pool gradient is scaled by 1/k², and a 3×3/2 pool cannot be trained at all
//! (candle-core 0.11.1, `backprop.rs`). Every operation a network here is made of therefore lives
//! in this crate, one directory each:
//!
//! | directory | operation | custom operation |
//! |---|---|---|
//! | [`conv`] | convolution: plain, grouped, depthwise, pointwise, linear | [`conv::Conv`], [`conv::ConvBias`] |
//! | [`norm`] | batch norm (training statistics) fused with an activation | [`norm::BatchNormAct`] |
//! | [`activation`] | clamp to an interval: ReLU, ReLU6 | [`activation::Clamp`] |
//! | [`pool`] | max pool (any kernel, stride, padding), global average pool | [`pool::MaxPool`], [`pool::GlobalAvgPool`] |
//! | [`quant`] | rounding to a grid, with a gradient | none: it concerns weights alone |
//! | [`engine`] | all of them, fused, for a whole network on the CPU | none: it runs beside candle |
//! | [`optim`] | fused optimizer steps | none: as above |
//!
//! # Conventions
//! * Activations are f32 and NHWC: `[batch, height, width, channels]`, contiguous. With channels
//!   last a depthwise filter vectorises over channels, and a pointwise one is a plain matrix product.
//! * Weights have the layout PyTorch stores: `[out, in / groups, kernel, kernel]`.
//! * Results never depend on the number of threads: work is cut into blocks whose size depends on
//!   the shapes alone, and partial sums are added in block order.
//! * Every loop is compiled for the baseline, for AVX2 + FMA and for AVX-512, and chosen at run time ([`simd`]).

pub mod activation;
pub mod conv;
pub mod engine;
pub mod norm;
pub mod optim;
pub mod parallel;
pub mod pool;
pub mod quant;
pub mod simd;
mod tensors;
