//! The engine's schedule on a CUDA device: the same fused steps and buffer lifetimes as on the CPU, with
//! kernels of our own; device, stream and cuBLAS handle are candle's ([`candle_core::CudaDevice`]); no autograd
//! tape.
//!
//! | file | what it is |
//! |---|---|
//! | `address` | addresses on the device |
//! | `device` | devices of this process, opened once; the kernels, loaded |
//! | `failure` | what went wrong there, in words |
//! | `launch` | the one door to launches |
//! | `capture` | a pass as one launch, a CUDA graph |
//! | `transfer` | copies up and down |
//! | `product` | products of matrices, by cuBLASLt, or cuBLAS where that has no way |
//! | `memory` | buffers that are given back and taken again |
//! | `inputs` | what a batch brings along, in buffers that stay |
//! | `lazy` | batch norms that whoever reads them makes |
//! | `stage` | a batch goes up |
//! | `values` | results and gradients of a batch, in such buffers |
//! | `slide` | windows and divisions as kernels take them |
//! | `sums` | sums whose order shapes decide |
//! | `op` | the fused operations, each with its passes, its kernels beside it |
//! | `loss` | the loss and its gradient |
//! | `pass` | the passes over all operations, twin of `engine::pass` |
//! | `optimizer` | an update over all variables in a few launches, twin of `engine::optim` |
//! | `order` | in which order variables lie on the device |
//! | `call` | a convolution as a library is asked for it |
//! | `cudnn` | with the feature `cudnn`: convolutions of all channels by cuDNN |
//! | `render` | views of pictures that stay on the device |
//! | [`network`] | parameters on the device: answers, and training steps |
//! | `*.cu` | the kernels, beside what launches them; `*.cuh` are what they share |
//!
//! Convolutions of all channels are products of patches (im2col) through cuBLASLt, forwards, and backwards to
//! both sides, or cuDNN's with the feature `cudnn`; candle's own gradients of convolutions are naive kernels (candle-core 0.11.1,
//! `cuda_backend/mod.rs`, `conv_transpose2d`). Every sum is added up by one thread or in parts whose order
//! depends on shapes alone, without atomics: the same inputs give the same bytes on the same device, though
//! not those of the CPU.

#![cfg(feature = "cuda")]
#![deny(clippy::wildcard_enum_match_arm)] // a new operation must not run as another

mod address;
mod call;
mod capture;
#[cfg_attr(not(feature = "cudnn"), path = "without_cudnn.rs")]
mod cudnn;
mod device;
mod failure;
mod inputs;
mod launch;
mod lazy;
mod loss;
mod memory;
pub mod network;
mod op;
mod optimizer;
mod order;
mod pass;
mod product;
mod render;
mod slide;
mod stage;
mod sums;
mod transfer;
mod values;

pub use device::is_there;
pub use network::Network;
