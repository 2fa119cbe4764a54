//! The arithmetic of convolutional networks on the CPU.
//!
//! candle's own operations train a depthwise-separable network many times slower than they need
//! to (candle-core 0.11.1). Every operation a network here is made of therefore has kernels in this
//! crate, and an engine that runs whole networks with them.
//!
//! | module | what it is |
//! |---|---|
//! | [`network`] | the executor: a network with its parameters |
//! | [`pass`] | the forward and backward pass over a graph's fused operations |
//! | [`conv`] | convolution: plain, grouped, depthwise, pointwise, linear |
//! | [`norm`] | batch norm fused with an activation |
//! | [`pool`] | max pool, average pool, mean over the picture |
//! | [`channels`] | concatenation, split, shuffle |
//! | [`activation`] | clamps, sums |
//! | [`loss`] | cross-entropy and distillation |
//! | [`optim`] | optimizer steps and averages over flat buffers |
//!
//! Its tests stand in `reference/tests`, where candle's own operations are at hand to compare with.
//!
//! # Conventions
//! * Activations are f32 and NHWC: `[batch, height, width, channels]`, contiguous. With channels
//!   last a depthwise filter vectorises over channels, and a pointwise one is a plain matrix product.
//! * Weights have the layout PyTorch stores: `[out, in / groups, kernel, kernel]`.
//! * Results never depend on the number of threads: work is cut into blocks whose size depends on
//!   the shapes alone, and partial sums are added in block order.
//! * The loops that take the time are compiled for the baseline, for AVX2 + FMA and for AVX-512, and chosen at
//!   run time ([`simd`]); matrix products choose for themselves.

pub mod activation;
pub mod channels;
pub mod conv;

pub mod loss;
pub mod network;
pub mod norm;
pub mod optim;
pub mod parallel;
pub mod pass;
pub mod pool;
pub mod simd;

pub use network::Network;
