//! The arithmetic of convolutional networks on the CPU.
//!
//! candle's own operations train a depthwise-separable network many times slower than they need
//! to (candle-core 0.11.1). Every operation a network here is made of therefore has kernels in this
//! crate, and an engine that runs whole networks with them.
//!
//! | module | what it is |
//! |---|---|
//! | [`network`] | the executor: a network with its parameters |
//! | [`pass`] | the forward and backward pass over a graph's fused operations, in buffers that are reused |
//! | [`conv`] | convolution: plain, grouped, depthwise, pointwise, linear |
//! | [`op`] | the operations, one file each: forward and backward pass |
//! | [`norm`] | kernels of batch norm, fused with an activation |
//! | [`elementwise`] | clamps, masks, sums, value by value |
//! | [`loss`] | cross-entropy and distillation |
//! | [`optim`] | optimizer steps and averages over flat buffers |
//!
//! Its tests stand in `reference/tests`, where candle's own operations are at hand to compare with.
//!
//! # Conventions
//! * Activations are f32 and NHWC: `[batch, height, width, channels]`, contiguous. With channels
//!   last a depthwise filter vectorises over channels, and a pointwise one is a plain matrix product.
//! * Weights have the layout PyTorch stores: `[out, in / groups, kernel, kernel]`.
//! * Results never depend on the number of threads: sums are cut into blocks whose size depends on
//!   the shapes alone, and partial sums are added in block order.
//! * The loops that take the time are compiled for the baseline, for AVX2 + FMA and for AVX-512, and chosen at
//!   run time ([`simd`]); matrix products choose for themselves.

// A new operation or activation is to be asked about, not to be taken for another.
#![deny(clippy::wildcard_enum_match_arm)]

mod answers;
mod arena;
mod channels;
pub mod conv;

pub mod elementwise;
pub mod loss;
mod maxima;
pub mod network;
pub mod norm;
pub mod op;
pub mod optim;
pub mod parallel;
pub mod pass;
pub mod simd;
mod values;
mod windows;

pub use answers::Answers;
pub use network::Network;
