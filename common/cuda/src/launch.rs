//! Our kernels on a device, and the one door through which they are launched.
//!
//! Kernels get addresses, not slices: the engine knows the lifetimes of its buffers from the schedule, all
//! work goes down one stream, in order, so a buffer may be handed on as soon as the launch that reads it is
//! queued.

#![allow(unsafe_code)] // launches and products, here alone

use crate::op::{Groups, Shares, Tiles};
use crate::slide::{Divisor, Slide};
use crate::sums::{Cut, Parts};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaStream, LaunchConfig, PushKernelArg,
};
use candle_core::{CudaDevice, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Our kernels, by the file they are in: its name, its PTX, what they are called.
const MODULES: &[(&str, &str, &[&str])] = &include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// An address on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ptr(pub(super) u64);

impl Ptr {
    /// None: what a kernel may leave out.
    pub(super) const NULL: Self = Self(0);

    /// So many floats further on.
    pub(super) fn at(self, floats: usize) -> Self {
        Self(self.0 + 4 * floats as u64)
    }
}

/// An argument of a kernel, of the width that its declaration has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// `u32`
    U(u32),
    /// `u64`
    L(u64),
    /// `float`
    F(f32),
    /// `double`
    D(f64),
    /// A pointer.
    P(Ptr),
    /// Structs, as `slide` lists them.
    Divisor(Divisor),
    Slide(Slide),
    Cut(Cut),
    Parts(Parts),
    Tiles(Tiles),
    Groups(Groups),
    Shares(Shares),
}

impl From<usize> for Arg {
    /// Sizes of layers are `u32` in kernels; those that count values are `Arg::L`.
    fn from(n: usize) -> Self {
        Self::U(u32::try_from(n).expect("a layer's sizes fit 32 bits"))
    }
}

impl From<f32> for Arg {
    fn from(v: f32) -> Self {
        Self::F(v)
    }
}

impl From<Ptr> for Arg {
    fn from(p: Ptr) -> Self {
        Self::P(p)
    }
}

/// The arguments of a launch.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$(crate::launch::Arg::from($arg)),*] };
}
pub(super) use args;

/// Threads of a block where each has a value of its own.
const BLOCK: usize = 256;

/// A row-major matrix: where it is, whether it is read turned round.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) at: Ptr,
    pub(super) turned: bool,
}

/// Kernels, loaded.
pub(super) struct Kernels {
    pub(super) device: CudaDevice,
    functions: BTreeMap<&'static str, CudaFunction>,
    stream: Arc<CudaStream>,
    launches: AtomicUsize,
}

impl Kernels {
    /// Loads them.
    ///
    /// # Errors
    /// A device or driver that is too old for what nvcc made.
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let mut functions = BTreeMap::new();
        for (module, ptx, names) in MODULES {
            for name in *names {
                let module = format!("crumb_{module}");
                let function = device.get_or_load_custom_func(name, &module, ptx)?;
                functions.insert(*name, function.into_cuda_function());
            }
        }
        let (device, stream) = (device.clone(), device.cuda_stream());
        Ok(Self { device, functions, stream, launches: AtomicUsize::new(0) })
    }

    /// Launches and products so far.
    pub(super) fn launches(&self) -> usize {
        self.launches.load(Ordering::Relaxed)
    }

    /// A kernel with a thread for each of `n` values; its first argument is n.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn each(&self, name: &'static str, n: usize, args: &[Arg]) -> Result<()> {
        let all: Vec<Arg> = std::iter::once(Arg::L(n as u64)).chain(args.iter().copied()).collect();
        let blocks = u32::try_from(n.div_ceil(BLOCK)).expect("a device holds fewer values");
        self.grid(name, [blocks, 1, 1], BLOCK as u32, &all)
    }

    /// A kernel with these blocks of `threads`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn grid(
        &self,
        name: &'static str,
        [x, y, z]: [u32; 3],
        threads: u32,
        args: &[Arg],
    ) -> Result<()> {
        let Some(function) = self.functions.get(name) else {
            candle_core::bail!("no kernel {name}")
        };
        self.launches.fetch_add(1, Ordering::Relaxed);
        let mut launch = self.stream.launch_builder(function);
        for arg in args {
            match arg {
                Arg::U(v) => launch.arg(v),
                Arg::L(v) => launch.arg(v),
                Arg::F(v) => launch.arg(v),
                Arg::D(v) => launch.arg(v),
                Arg::P(Ptr(v)) => launch.arg(v),
                Arg::Divisor(v) => launch.arg(v),
                Arg::Slide(v) => launch.arg(v),
                Arg::Cut(v) => launch.arg(v),
                Arg::Parts(v) => launch.arg(v),
                Arg::Tiles(v) => launch.arg(v),
                Arg::Groups(v) => launch.arg(v),
                Arg::Shares(v) => launch.arg(v),
            };
        }
        let shape =
            LaunchConfig { grid_dim: (x, y, z), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the callers pass what the kernel declares, and buffers as long as its head says; the
        // stand-in driver ends every buffer at a guard page, so that tests see it when they do not.
        unsafe { launch.launch(shape) }.w()?;
        Ok(())
    }

    /// `c = a · b + keep · c`, `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, all row-major, in f32 without
    /// shorter formats inside.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn product(
        &self,
        a: Matrix,
        b: Matrix,
        c: Ptr,
        [m, n, k]: [usize; 3],
        keep: f32,
    ) -> Result<()> {
        use sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        self.launches.fetch_add(1, Ordering::Relaxed);
        let blas = self.device.cublas_handle();
        let turn = |m: Matrix| if m.turned { CUBLAS_OP_T } else { CUBLAS_OP_N };
        let row = |m: Matrix, straight: usize, turned: usize| {
            (if m.turned { turned } else { straight }) as i32
        };
        let (one, pointer) = (1.0f32, |p: Ptr| p.0 as *const std::ffi::c_void);
        // cuBLAS is column-major: it sees the transposed of all three, cᵀ = bᵀ · aᵀ.
        // SAFETY: as for launches.
        unsafe {
            result::gemm_strided_batched_ex(
                *blas.handle(),
                turn(b),
                turn(a),
                n as i32,
                m as i32,
                k as i32,
                (&raw const one).cast(),
                pointer(b.at),
                sys::cudaDataType_t::CUDA_R_32F,
                row(b, n, k),
                0,
                pointer(a.at),
                sys::cudaDataType_t::CUDA_R_32F,
                row(a, k, m),
                0,
                (&raw const keep).cast(),
                c.0 as *mut std::ffi::c_void,
                sys::cudaDataType_t::CUDA_R_32F,
                n as i32,
                0,
                1,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .w()
    }
}
