//! Two executors that need candle: networks in its tensors, and, with the feature `cuda`, the engine's schedule
//! with kernels of its own on candle's CUDA device (`cuda`).
//!
//! [`Network`], right before fast and on any of candle's devices, walks a graph node by node with candle's
//! autograd; loss, update and moving average are candle operations on flat tensors, so that nothing leaves the
//! device in a training step but the loss. What candle's own operations do wrongly or very slowly (candle-core 0.11.1) is a custom operation here,
//! one file each: [`conv`], [`norm`], [`activation`], [`pool`], [`grid`]. On the CPU these call `kernels`.
//! Sums, concatenation, split and shuffle are candle's.
//!
//! Activations are NHWC, weights in PyTorch's layout, as in `kernels`.

pub mod activation;
pub mod conv;
#[cfg(feature = "cuda")]
pub mod cuda;
mod forward;
pub mod grid;
mod loss;
pub mod network;
pub mod norm;
mod optim;
pub mod pool;
mod tensors;

pub use loss::loss;
pub use network::Network;
