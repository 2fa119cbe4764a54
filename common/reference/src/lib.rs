//! The reference executor: networks in candle's tensors, on the CPU.
//!
//! [`Network`], right before fast, walks a graph node by node with candle's autograd; loss, update and moving
//! average are candle operations on flat tensors. What candle's own operations do wrongly or very slowly
//! (candle-core 0.11.1) is a custom operation: in [`op`], one file for each operation of a graph, which call kernels of `engine`, and [`grid`].
//! [`look`] shows what single nodes do, [`Matrix`] multiplies in f64.
//!
//! Activations are NHWC, weights in PyTorch's layout, as in `engine`.

pub mod grid;
pub mod look;
mod loss;
mod matrix;
pub mod network;
pub mod op;
mod optim;
mod pass;
mod tensors;

pub use loss::loss;
pub use matrix::Matrix;
pub use network::Network;
