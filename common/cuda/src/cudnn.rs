//! Convolutions of all channels by cuDNN, with the feature `cudnn`: no patches are written or read, which is most of what
//! a step moves.
//!
//! Its legacy API, which names algorithms, as three of them are deterministic and read NHWC and KRSC (NVIDIA's API
//! reference, cudnnConvolutionFwdAlgo_t and its two sisters): the implicit product with indices made beforehand, and
//! numbers 1 of either gradient. Where cuDNN has none of these for a shape, or addresses are not on 16 bytes as its
//! kernels may ask, products of patches take over. No GPU has run this.

#![allow(unsafe_code)] // cuDNN, here alone

use crate::address::Ptr;
use crate::call::{Call, Way};
use crate::failure::blamed;
use candle_core::cuda_backend::cudarc::cudnn::{result, sys};
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::{Error, Result};
use executor::Precision;
use graph::{Geometry, Window};
use result::CudnnError;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, PoisonError};

const FORWARD: sys::cudnnConvolutionFwdAlgo_t =
    sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
const INPUT: sys::cudnnConvolutionBwdDataAlgo_t =
    sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
const WEIGHT: sys::cudnnConvolutionBwdFilterAlgo_t =
    sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;

/// Most bytes that an algorithm may ask for besides; more than that is what patches would take.
const WORKSPACE: usize = 256 << 20;

/// The first version whose answers have the numbers that cudarc knows: major · 10000 + minor · 100 + patch.
const OLDEST: usize = 90_000;

/// Batch, height, width, channels, output channels, kernel, stride, margin; whether factors are cut to tf32.
type Key = ([usize; 8], bool);

/// Descriptions of a convolution, and bytes that its ways ask for besides; None where cuDNN does not have one.
struct Convolution {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    workspaces: [Option<usize>; 3],
}

/// cuDNN on a device, and the convolutions it has described.
pub(super) struct Convolutions {
    handle: sys::cudnnHandle_t,
    described: Mutex<HashMap<Key, Convolution>>,
}

// SAFETY: whoever uses the handle or a description holds the lock, and none belongs to a thread.
unsafe impl Send for Convolutions {}
// SAFETY: as above.
unsafe impl Sync for Convolutions {}

impl Drop for Convolutions {
    fn drop(&mut self) {
        let described = self.described.get_mut().map(std::mem::take).unwrap_or_default();
        // SAFETY: made by the functions that these belong to, destroyed once. What they answer is of no use here.
        unsafe {
            for Convolution { x, y, weight, conv, .. } in described.into_values() {
                let _ = result::destroy_tensor_descriptor(x);
                let _ = result::destroy_tensor_descriptor(y);
                let _ = result::destroy_filter_descriptor(weight);
                let _ = result::destroy_convolution_descriptor(conv);
            }
            let _ = result::destroy_handle(self.handle);
        }
    }
}

fn failed(CudnnError(status): CudnnError) -> Error {
    Error::Msg(format!("cuDNN: {status:?}"))
}

/// Whether cuDNN answers that it has no such thing, in any of its words for that.
///
/// Asked for what a convolution needs, version 9 says of some combinations that are described as they should be that a
/// parameter is bad: 2000 and the numbers behind it are no better than 3000's there. What is below, a library that is
/// not whole, and above, one that fails, are errors.
fn is_unanswered(CudnnError(status): CudnnError) -> bool {
    (2000..4000).contains(&(status as u32))
}

/// The same of a convolution that it said it had: a parameter that is bad is ours.
fn is_missing(CudnnError(status): CudnnError) -> bool {
    // 3000 and the numbers behind it, by kinds of what is missing (cuDNN 9, cudnnStatus_t).
    (3000..4000).contains(&(status as u32))
}

impl Convolution {
    fn new(handle: sys::cudnnHandle_t, key: &Key) -> Result<Self> {
        let ([batch, height, width, input, output, kernel, stride, margin], is_tf32) = *key;
        let side = |n: usize| (n + 2 * margin - kernel) / stride + 1;
        let ints = |n: [usize; 4]| n.map(|n| n as c_int);
        let [x, y] = [[batch, input, height, width], [batch, output, side(height), side(width)]]
            .map(|shape| tensor(ints(shape)));
        let (x, y) = (x?, y?);
        let weight = result::create_filter_descriptor().map_err(failed)?;
        let conv = result::create_convolution_descriptor().map_err(failed)?;
        let [kernels, window] = [[output, input, kernel, kernel], [margin, stride, 0, 0]].map(ints);
        let float = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        // Unless told not to, cuDNN cuts factors to tf32 by itself where a GPU has that.
        let math = if is_tf32 {
            sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
        } else {
            sys::cudnnMathType_t::CUDNN_FMA_MATH
        };
        // SAFETY: descriptions that were made above.
        unsafe {
            let order = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
            result::set_filter4d_descriptor(weight, float, order, kernels).map_err(failed)?;
            let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            let [pad, step, ..] = window;
            result::set_convolution2d_descriptor(conv, pad, pad, step, step, 1, 1, mode, float)
                .map_err(failed)?;
            result::set_convolution_math_type(conv, math).map_err(failed)?;
        }
        let mut convolution = Self { x, y, weight, conv, workspaces: [None; 3] };
        convolution.ask(handle)?;
        Ok(convolution)
    }

    /// Asks what each way needs.
    fn ask(&mut self, handle: sys::cudnnHandle_t) -> Result<()> {
        let Self { x, y, weight, conv, .. } = *self;
        // SAFETY: descriptions that are complete.
        let sizes = unsafe {
            [
                result::get_convolution_forward_workspace_size(handle, x, weight, conv, y, FORWARD),
                result::get_convolution_backward_data_workspace_size(
                    handle, weight, y, conv, x, INPUT,
                ),
                result::get_convolution_backward_filter_workspace_size(
                    handle, x, y, conv, weight, WEIGHT,
                ),
            ]
        };
        for (workspace, size) in self.workspaces.iter_mut().zip(sizes) {
            *workspace = match size {
                Ok(size) => (size <= WORKSPACE).then_some(size),
                Err(e) if is_unanswered(e) => None,
                Err(e) => return Err(failed(e)),
            };
        }
        Ok(())
    }

    fn run(
        &self,
        handle: sys::cudnnHandle_t,
        way: Way,
        [a, b, c]: [Ptr; 3],
        (room, bytes): (*mut c_void, usize),
    ) -> std::result::Result<(), CudnnError> {
        let Self { x, y, weight, conv, .. } = *self;
        let (one, zero) = (1.0f32, 0.0f32);
        let (one, zero) = ((&raw const one).cast(), (&raw const zero).cast());
        let [a, b, c] = [a, b, c].map(|Ptr(at)| at as *mut c_void);
        // SAFETY: buffers of the sizes that the descriptions have, as for launches.
        unsafe {
            match way {
                Way::Forward => result::convolution_forward(
                    handle, one, x, a, weight, b, conv, FORWARD, room, bytes, zero, y, c,
                ),
                Way::Input => result::convolution_backward_data(
                    handle, one, weight, b, y, a, conv, INPUT, room, bytes, zero, x, c,
                ),
                Way::Weight => result::convolution_backward_filter(
                    handle, one, x, a, y, b, conv, WEIGHT, room, bytes, zero, weight, c,
                ),
            }
        }
    }
}

/// A description of floats `[n, c, h, w]` that lie as `[n, h, w, c]`.
fn tensor(shape: [c_int; 4]) -> Result<sys::cudnnTensorDescriptor_t> {
    let tensor = result::create_tensor_descriptor().map_err(failed)?;
    let (order, float) =
        (sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
    // SAFETY: made above.
    unsafe { result::set_tensor4d_descriptor(tensor, order, float, shape) }.map_err(failed)?;
    Ok(tensor)
}

/// What cuDNN knows a convolution by; None where it has no such window, or does not count so far.
fn key(g: &Geometry, precision: Precision) -> Option<Key> {
    let (Window { kernel, stride, .. }, [margin, left]) = (g.window, g.before());
    // Its margin is as wide behind as before.
    let positions = |n: usize| Some((n + 2 * margin).checked_sub(kernel)? / stride + 1);
    let found = [positions(g.height)?, positions(g.width)?];
    let fits = margin == left && found == [g.out_height(), g.out_width()];
    let most = (g.batch * g.floats()).max(g.rows() * g.output);
    let sizes = [g.batch, g.height, g.width, g.input, g.output, kernel, stride, margin];
    // Results of bf16 would be bf16.
    let is_float = precision != Precision::Bf16;
    (fits && is_float && c_int::try_from(most).is_ok())
        .then_some((sizes, precision == Precision::Tf32))
}

impl Convolutions {
    /// cuDNN, its work on `stream`.
    ///
    /// # Errors
    /// A library that does not fit the driver or the device.
    pub(super) fn new(stream: &CudaStream) -> Result<Self> {
        let version = result::get_version();
        if version < OLDEST {
            candle_core::bail!(
                "cuDNN {version} is older than 9.0, whose answers have other numbers: install cuDNN 9, or build without \
                 the feature cudnn"
            )
        }
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: both are there.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed)?;
        Ok(Self { handle, described: Mutex::new(HashMap::new()) })
    }

    /// Bytes that `call` asks for besides; None where cuDNN does not do it, or a product does it as it stands.
    ///
    /// # Errors
    /// A library that fails.
    pub(super) fn workspace(&self, call: &Call) -> Result<Option<usize>> {
        let Call { g, precision, way, at } = call;
        if g.window == Window::POINT || at.iter().any(|at| at.alignment() < 16) {
            return Ok(None);
        }
        let Some(key) = key(g, *precision) else { return Ok(None) };
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let convolution = match described.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Convolution::new(self.handle, &key)?),
        };
        Ok(convolution.workspaces[*way as usize])
    }

    /// Queues `call`, for which there is a way, with what it asks for at `room`; false where cuDNN finds only now that it
    /// has none, and then never again says that it had.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn run(&self, call: &Call, stream: &CudaStream, room: *mut c_void) -> Result<bool> {
        let Call { g, precision, way, at } = call;
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        let convolution = key(g, *precision).and_then(|key| described.get_mut(&key));
        let convolution = convolution.expect("whoever runs it has asked for its workspace");
        let bytes = convolution.workspaces[*way as usize].unwrap_or(0);
        match convolution.run(self.handle, *way, *at, (room, bytes)) {
            Ok(()) => Ok(true),
            Err(e) if is_missing(e) => {
                convolution.workspaces[*way as usize] = None;
                Ok(false)
            }
            Err(e) => Err(blamed(stream, failed(e))),
        }
    }
}
