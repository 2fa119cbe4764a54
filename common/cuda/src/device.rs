//! The CUDA devices of this process. What costs to open is kept until the process ends: a device's context (half a
//! second on a GPU, by estimate), our kernels, and streams with their cuBLAS handles, which executors take and give
//! back. So whoever makes a hundred executors, one after the other, pays once.
//!
//! An executor has a stream of its own: work of two of them, in two threads, is never in each other's order, and what
//! one captures as a graph holds nothing of the other.

#![allow(unsafe_code)] // event tracking, and cuBLAS's workspace

use crate::cudnn::Convolutions;
use crate::failure::{Told, first_line, is_full, named};
use crate::product::Products;
use candle_core::cuda_backend::cudarc::cublas::sys;
use candle_core::cuda_backend::cudarc::driver::sys::CUresult;
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, DevicePtr, DriverError,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{CudaDevice, Result, bail};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Our kernels, by the file they are in: its name, its fat binary, what they are called.
const MODULES: &[(&str, &[u8], &[&str])] = &include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Generations that fat binaries hold machine code for, 80 for compute capability 8.0; newer ones take the PTX of the
/// first.
const GENERATIONS: &[u32] = include!(concat!(env!("OUT_DIR"), "/generations.rs"));

/// Kernels that are loaded, by name.
pub(super) type Functions = BTreeMap<&'static str, CudaFunction>;

/// Devices that were opened, by number.
static OPEN: Mutex<BTreeMap<usize, Opened>> = Mutex::new(BTreeMap::new());

/// Keeps executors from being opened while it lives: a new stream may wait for all of the context, and handles allocate,
/// which ends the captures of other threads.
pub(super) fn closed() -> impl Sized {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Opened {
    functions: Arc<Functions>,
    /// Streams that no executor has.
    idle: Vec<Seat>,
}

/// A stream on a device, with the libraries that work on it.
struct Seat {
    device: CudaDevice,
    products: Products,
    convolutions: Convolutions,
    /// Of cuBLAS: with memory of its own it would allocate some, which is forbidden while a graph is captured.
    _workspace: CudaSlice<u8>,
}

/// A stream on a device, for one executor.
pub(super) struct Lease {
    number: usize,
    seat: Option<Seat>,
    pub(super) functions: Arc<Functions>,
}

impl Lease {
    /// A stream on device `number`, counted from 0.
    ///
    /// # Errors
    /// No such device; one that no kernel was compiled for.
    pub(super) fn new(number: usize) -> Result<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Opened { functions, idle }) = open.get_mut(&number) {
            let functions = functions.clone();
            let seat = idle.pop().map_or_else(|| Seat::new(number), Ok)?;
            return Ok(Self { number, seat: Some(seat), functions });
        }
        let seat = Seat::new(number)?;
        let functions = Arc::new(load(&seat.device, number)?);
        open.insert(number, Opened { functions: functions.clone(), idle: Vec::new() });
        Ok(Self { number, seat: Some(seat), functions })
    }

    /// The stream, as candle has it.
    pub(super) fn device(&self) -> &CudaDevice {
        &self.seat().device
    }

    /// cuBLASLt.
    pub(super) fn products(&self) -> &Products {
        &self.seat().products
    }

    /// cuDNN, if it is there.
    pub(super) fn convolutions(&self) -> &Convolutions {
        &self.seat().convolutions
    }

    fn seat(&self) -> &Seat {
        self.seat.as_ref().expect("given back only when this is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = open.get_mut(&self.number) {
            opened.idle.extend(self.seat.take());
        }
    }
}

impl Seat {
    fn new(number: usize) -> Result<Self> {
        // A stream of its own: candle's `new` takes that of the calling thread, which is another one when an executor
        // moves to another thread.
        let device = CudaDevice::new_with_stream(number).map_err(|e| {
            let reason = first_line(&e);
            candle_core::Error::Msg(format!(
                "no CUDA device {number}: {reason}; nvidia-smi lists those there are"
            ))
        })?;
        // SAFETY: all work on this stream's memory goes down this stream. Before anything is allocated: cudarc gives
        // every slice of before two events, records them with every use, and a graph must not wait for them.
        unsafe { device.disable_event_tracking() };
        let (major, _) = capability(&device)?;
        // What NVIDIA advises (cuBLAS, cublasSetWorkspace): 32 MB from Hopper on, 4 MB before.
        let bytes = if major >= 9 { 32 << 20 } else { 4 << 20 };
        let stream = device.cuda_stream();
        // SAFETY: cuBLAS writes there before it reads.
        let workspace = unsafe { stream.alloc::<u8>(bytes) }.told()?;
        let at = workspace.device_ptr(&stream).0 as *mut std::ffi::c_void;
        let blas = device.cublas_handle();
        // SAFETY: the memory lives as long as the handle, beside it in the seat.
        unsafe { sys::cublasSetWorkspace_v2(*blas.handle(), at, bytes) }.result().told()?;
        let (products, convolutions) = (Products::new()?, Convolutions::new(&stream)?);
        Ok(Self { device, products, convolutions, _workspace: workspace })
    }
}

fn context(device: &CudaDevice) -> Arc<CudaContext> {
    device.cuda_stream().context().clone()
}

/// Compute capability: major and minor.
///
/// # Errors
/// A device that fails.
pub(super) fn capability(device: &CudaDevice) -> Result<(i32, i32)> {
    context(device).compute_capability().told()
}

fn load(device: &CudaDevice, number: usize) -> Result<Functions> {
    let (context, mut functions) = (context(device), Functions::new());
    for (module, image, names) in MODULES {
        let loaded = context.load_module(Ptx::from_binary(image.to_vec()));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(e) => bail!("{}", unfit(&e, module, number, capability(device)?)),
        };
        for name in *names {
            functions.insert(*name, loaded.load_function(name).told()?);
        }
    }
    Ok(functions)
}

/// Why kernels cannot be loaded, and what to do.
fn unfit(error: &DriverError, module: &str, number: usize, (major, minor): (i32, i32)) -> String {
    let list: Vec<String> = GENERATIONS.iter().map(|g| format!("{}.{}", g / 10, g % 10)).collect();
    let why = named(error);
    let what = if error.0 == CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION {
        "the driver is older than the nvcc of this build: update it, or build with nvcc of the version that nvidia-smi \
         calls CUDA Version"
    } else if GENERATIONS.first().is_some_and(|g| (10 * major + minor) < *g as i32) {
        "the device is older than all of them: leave out --device"
    } else if error.0 == CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
        || error.0 == CUresult::CUDA_ERROR_INVALID_PTX
    {
        "update the driver, or build with a newer nvcc, which knows the device"
    } else if is_full(error) {
        "other processes have its memory: nvidia-smi lists them"
    } else {
        "it does not come from the device's generation: nvidia-smi says whether the device and its driver are well"
    };
    format!(
        "the kernels of this build hold machine code for generations {}, and PTX of the first for newer ones; device \
         {number} is of {major}.{minor} and does not take {module}: {why}. {}{}",
        list.join(", "),
        what[..1].to_uppercase(),
        &what[1..]
    )
}

/// Whether there is a CUDA device of this number that runs our kernels.
pub fn is_there(number: usize) -> bool {
    Lease::new(number).is_ok()
}

/// What `CRUMB_CUDA` asks for, words with commas between: `exact`, buffers of just the size that is asked for, filled
/// with NaN each time, so that compute-sanitizer, or a guard page, sees what reads or writes beyond; `no-graph`, steps
/// launched kernel by kernel; `few-patches`, convolutions picture by picture. For looking for faults: all are slower. The
/// first two change no byte of a result; the last adds up gradients of weights picture by picture, in another order.
pub(super) fn asked(word: &str) -> bool {
    static ASKED: OnceLock<String> = OnceLock::new();
    let asked = ASKED.get_or_init(|| std::env::var("CRUMB_CUDA").unwrap_or_default());
    asked.split(',').any(|w| w == word)
}
