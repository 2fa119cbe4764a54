//! The engine's schedule on a CUDA device: the same fused steps and buffer lifetimes as on the CPU, with
//! kernels of our own, memory and matrix products from candle's [`candle_core::CudaDevice`], no autograd tape.
//!
//! | file | what it is |
//! |---|---|
//! | `launch` | our kernels, loaded; the one door to launches and cuBLAS |
//! | `memory` | buffers that are given back and taken again |
//! | `pass`, `forward`, `backward` | the fused operations, twins of `engine::engine` |
//! | `optimizer` | an update over all variables in a few launches, twin of `engine::optim` |
//! | `render` | views of pictures that stay on the device |
//! | [`network`] | parameters on the device: answers, and training steps |
//! | `*.cu` | the kernels, one file for an operation or a few that are alike |
//!
//! Convolutions of all channels are products of patches (im2col) through cuBLAS, forwards, and backwards to
//! both sides; candle's own gradients of convolutions are naive kernels (candle-core 0.11.1,
//! `cuda_backend/mod.rs`, `conv_transpose2d`). Every sum is added up by one thread or in parts whose order
//! depends on shapes alone, without atomics: the same inputs give the same bytes on the same device, though
//! not those of the CPU.

#![cfg(feature = "cuda")]

mod backward;
mod forward;
mod launch;
mod memory;
pub mod network;
mod optimizer;
mod pass;
mod render;

pub use network::Network;

fn misfit(e: graph::Error) -> candle_core::Error {
    candle_core::Error::msg(e)
}
