//! Our kernels on a device, and the one door through which they are launched.
//!
//! Kernels get addresses, not slices: the engine knows the lifetimes of its buffers from the schedule, all
//! work goes down one stream, in order, so a buffer may be handed on as soon as the launch that reads it is
//! queued.

#![allow(unsafe_code)] // launches, here alone

pub(super) use crate::address::Ptr;
use crate::cudnn::Convolutions;
use crate::device::Lease;
use crate::failure::Told;
use crate::product::Products;
use crate::transfer::Ring;
use candle_core::cuda_backend::cudarc::driver::{
    CudaStream, DeviceRepr, LaunchConfig, PushKernelArg, ValidAsZeroBits,
};
use candle_core::{CudaDevice, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// A struct of plain numbers.
    S(Struct),
}

/// A struct of plain numbers as a kernel declares it, from its first byte on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Struct([u64; 20]);

impl Struct {
    /// `v`, laid out as in C.
    pub(super) fn of<T: DeviceRepr + Copy>(v: T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<Self>() && align_of::<T>() <= align_of::<u64>()) };
        let mut words = [0; 20];
        // SAFETY: there is room, as asserted, and plain numbers are bytes.
        unsafe { words.as_mut_ptr().cast::<T>().write(v) };
        Self(words)
    }
}

/// Lets structs of plain numbers, laid out as in C, be arguments of kernels.
macro_rules! argument {
    ($($name:ty),* $(,)?) => { $(
        // SAFETY: as their twins in the kernels are.
        #[allow(unsafe_code)]
        unsafe impl candle_core::cuda_backend::cudarc::driver::DeviceRepr for $name {}

        impl From<$name> for crate::launch::Arg {
            fn from(v: $name) -> Self {
                Self::S(crate::launch::Struct::of(v))
            }
        }
    )* };
}
pub(super) use argument;

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

/// Threads of a block where each has values of its own.
pub(super) const BLOCK: usize = 256;

/// Kernels, loaded, and the stream that they are launched into: one executor's.
pub(super) struct Kernels {
    pub(super) device: CudaDevice,
    pub(super) stream: Arc<CudaStream>,
    lease: Lease,
    launches: AtomicUsize,
    captures: AtomicBool,
    ring: Mutex<Ring>,
}

impl Kernels {
    /// Those of device `number`, counted from 0.
    ///
    /// # Errors
    /// No such device; a device or driver that is too old for what nvcc made.
    pub(super) fn new(number: usize) -> Result<Self> {
        let lease = Lease::new(number)?;
        let (device, ring) = (lease.device().clone(), Mutex::default());
        let stream = device.cuda_stream();
        let (launches, captures) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self { device, stream, lease, launches, captures, ring })
    }

    /// Launches and products so far.
    pub(super) fn launches(&self) -> usize {
        self.launches.load(Ordering::Relaxed)
    }

    /// cuBLASLt on this stream.
    pub(super) fn products(&self) -> &Products {
        self.lease.products()
    }

    /// cuDNN on this stream, if it is there.
    pub(super) fn convolutions(&self) -> &Convolutions {
        self.lease.convolutions()
    }

    /// So many more of them.
    pub(super) fn count(&self, more: usize) {
        self.launches.fetch_add(more, Ordering::Relaxed);
    }

    /// Whether what is launched is recorded ([`crate::capture`]).
    pub(super) fn captures(&self) -> bool {
        self.captures.load(Ordering::Relaxed)
    }

    /// From now on it is, or is not.
    pub(super) fn set_captures(&self, captures: bool) {
        self.captures.store(captures, Ordering::Relaxed);
    }

    /// How many were counted since there were `before`, which did not run and are not counted any more.
    pub(super) fn uncount(&self, before: usize) -> usize {
        self.launches.swap(before, Ordering::Relaxed) - before
    }

    /// Copies `values` to `at`, where there is room for them; they may be changed when this returns.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn upload<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        values: &[T],
        at: Ptr,
    ) -> Result<()> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.upload(&self.stream, values, at)
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
        let Some(function) = self.lease.functions.get(name) else {
            candle_core::bail!("no kernel {name}")
        };
        self.count(1);
        let mut launch = self.stream.launch_builder(function);
        for arg in args {
            match arg {
                Arg::U(v) => launch.arg(v),
                Arg::L(v) => launch.arg(v),
                Arg::F(v) => launch.arg(v),
                Arg::D(v) => launch.arg(v),
                Arg::P(Ptr(v)) => launch.arg(v),
                Arg::S(Struct(v)) => launch.arg(v),
            };
        }
        let shape =
            LaunchConfig { grid_dim: (x, y, z), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the callers pass what the kernel declares, and buffers as long as its head says; the
        // stand-in driver ends every buffer at a guard page, so that tests see it when they do not.
        unsafe { launch.launch(shape) }.told()?;
        Ok(())
    }
}
