//! Products of matrices, by cuBLASLt, with what can be done to a result before it is stored.
//!
//! cuBLASLt, not cuBLAS: it adds a bias and clamps in the product's own kernel, and takes its workspace from us, so that
//! a step that is captured as a graph holds no memory that is not ours. Which of its algorithms makes a product is asked
//! once for a shape and kept; the answer depends on the device and on nothing that was measured. None of those that are
//! asked for adds up in the result itself: the same inputs give the same bytes. Where there is none, cuBLAS makes the
//! product, which has its ways for addresses of any alignment, and a kernel of ours the rest.

#![allow(unsafe_code)] // products, here alone

use crate::address::Ptr;
use crate::failure::{Told, blamed};
use candle_core::cuda_backend::cudarc::cublas;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::{CudaDevice, Error, Result};
use executor::Precision;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// Most bytes an algorithm may ask for besides: NVIDIA's own for GPUs of the Hopper generation (cuBLAS documentation,
/// cublasSetWorkspace), which have room for it.
const WORKSPACE: usize = 32 << 20;

/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: where a sum is cut among blocks its parts lie in the workspace and are added in
/// a second kernel, in order.
const IN_ORDER: u32 = 2;

/// A row-major matrix: where it is, whether it is read turned round.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) at: Ptr,
    pub(super) turned: bool,
}

/// What is done to the sums of a product.
#[derive(Clone, Copy)]
pub(super) struct After {
    /// Added: one number a column; none if null.
    pub(super) bias: Ptr,
    /// Whether what is below 0 becomes 0.
    pub(super) clamps: bool,
    /// Whether they are added to what is there.
    pub(super) adds: bool,
}

impl After {
    /// Nothing.
    pub(super) const NOTHING: Self = Self { bias: Ptr::NULL, clamps: false, adds: false };
}

/// `c = a · b`, and what comes after, `a` `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, all row-major.
#[derive(Clone, Copy)]
pub(super) struct Product {
    /// Of bf16 `a` and `b` lie as such; sums and `c` are f32 in any case.
    pub(super) precision: Precision,
    /// `a` and `b`.
    pub(super) factors: [Matrix; 2],
    pub(super) c: Ptr,
    /// m, n, k.
    pub(super) shape: [usize; 3],
    pub(super) after: After,
}

/// What an algorithm is chosen by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// m, n, k.
    shape: [usize; 3],
    /// Of a and b.
    turned: [bool; 2],
    factors: sys::cudaDataType,
    compute: sys::cublasComputeType_t,
    epilogue: sys::cublasLtEpilogue_t,
    adds: bool,
    /// Of the addresses of a, b and c, bytes up to 256. A bias lies where its layer's weights end, often on 4 bytes, and
    /// what promises its alignment is that of the result: c's is the lesser of both.
    alignments: [u32; 3],
}

/// What cuBLASLt made, which is destroyed with this.
macro_rules! owned {
    ($($name:ident: $made:ty, $destroy:path);* $(;)?) => { $(
        struct $name($made);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made by the function that this belongs to, destroyed once. What it answers is of no use here.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    )* };
}

owned! {
    Handle: sys::cublasLtHandle_t, result::destroy_handle;
    Description: sys::cublasLtMatmulDesc_t, result::destroy_matmul_desc;
    Layout: sys::cublasLtMatrixLayout_t, result::destroy_matrix_layout;
    Wishes: sys::cublasLtMatmulPreference_t, result::destroy_matmul_pref;
}

/// An algorithm for products of a shape, with what describes them.
struct Plan {
    desc: Description,
    /// Of the column-major product: bᵀ, aᵀ, cᵀ.
    layouts: [Layout; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    /// Bytes.
    workspace: usize,
}

/// cuBLASLt on a device, and the algorithms that were chosen.
pub(super) struct Products {
    /// Go before the handle.
    plans: Mutex<HashMap<Key, Option<Plan>>>,
    handle: Handle,
}

// SAFETY: handles and descriptions belong to no thread (cuBLASLt is thread safe), and plans are behind a lock.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

fn failed(e: result::CublasError) -> Error {
    Error::Msg(format!("cuBLASLt: {:?}", e.0))
}

/// How factors lie in memory, as f32 or bf16, and how they are multiplied, as f32 or cut to tf32, in the words of a library.
fn types<T, C>(precision: Precision, [f32, bf16]: [T; 2], [whole, cut]: [C; 2]) -> (T, C) {
    match precision {
        Precision::F32 => (f32, whole),
        Precision::Tf32 => (f32, cut),
        Precision::Bf16 => (bf16, whole),
    }
}

fn turn(turned: bool) -> i32 {
    use cublas::sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
    (if turned { CUBLAS_OP_T } else { CUBLAS_OP_N }) as i32
}

impl Plan {
    /// The one for `key`; none where cuBLASLt has no algorithm.
    fn new(handle: sys::cublasLtHandle_t, key: &Key, bias: Ptr) -> Result<Option<Self>> {
        let Key { shape: [m, n, k], turned: [a, b], factors, compute, epilogue, .. } = *key;
        let [m, n, k] = [m, n, k].map(|n| n as u64);
        let stored = |rows: u64, columns: u64, turned: bool, of: sys::cudaDataType| {
            let [rows, columns] = if turned { [columns, rows] } else { [rows, columns] };
            result::create_matrix_layout(of, rows, columns, rows as i64).map(Layout).map_err(failed)
        };
        let f32 = sys::cudaDataType::CUDA_R_32F;
        // cuBLASLt is column-major: it sees the transposed of all three, cᵀ = bᵀ · aᵀ.
        let layouts =
            [stored(n, k, b, factors)?, stored(k, m, a, factors)?, stored(n, m, false, f32)?];
        let desc = result::create_matmul_desc(compute, f32).map(Description).map_err(failed)?;
        let algorithm = sys::cublasLtMatmulAlgo_t { data: [0; 8] };
        let mut plan = Self { desc, layouts, algorithm, workspace: 0 };
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, turn(b))?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, turn(a))?;
        plan.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
        if bias != Ptr::NULL {
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.0)?;
        }
        let found = plan.choose(handle, key)?;
        Ok(found.then_some(plan))
    }

    /// Sets one of what describes a product.
    fn set<T>(&self, attribute: Attribute, value: T) -> Result<()> {
        let (at, size) = ((&raw const value).cast::<c_void>(), size_of::<T>());
        // SAFETY: a description that was made, and a value of the type that the attribute has.
        unsafe { result::set_matmul_desc_attribute(self.desc.0, attribute, at, size) }
            .map_err(failed)
    }

    /// Asks for an algorithm; whether there is one.
    fn choose(&mut self, handle: sys::cublasLtHandle_t, key: &Key) -> Result<bool> {
        let wishes = result::create_matmul_pref().map(Wishes).map_err(failed)?;
        let preference = wishes.0;
        let [a, b, c] = key.alignments;
        let numbers = [
            (Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, IN_ORDER),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ];
        let most = (Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE);
        let [left, right, to] = self.layouts.each_ref().map(|l| l.0);
        // SAFETY: what was made above, and values of the types that the attributes have.
        let found = unsafe {
            let at = (&raw const most.1).cast::<c_void>();
            let size = size_of::<usize>();
            result::set_matmul_pref_attribute(preference, most.0, at, size).map_err(failed)?;
            for (attribute, number) in numbers {
                let at = (&raw const number).cast::<c_void>();
                result::set_matmul_pref_attribute(preference, attribute, at, size_of::<u32>())
                    .map_err(failed)?;
            }
            result::get_matmul_algo_heuristic(handle, self.desc.0, left, right, to, to, preference)
        };
        match found {
            Ok(found) => {
                (self.algorithm, self.workspace) = (found.algo, found.workspaceSize);
                Ok(true)
            }
            Err(result::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)) => Ok(false),
            Err(e) => Err(failed(e)),
        }
    }
}

fn pointer(Ptr(at): Ptr) -> *const c_void {
    at as *const c_void
}

impl Product {
    fn key(&self) -> Key {
        use sys::{cublasComputeType_t as C, cublasLtEpilogue_t as E};
        let Self { precision, factors: [a, b], c, shape, after } = *self;
        let (factors, compute) = types(
            precision,
            [sys::cudaDataType::CUDA_R_32F, sys::cudaDataType::CUDA_R_16BF],
            [C::CUBLAS_COMPUTE_32F, C::CUBLAS_COMPUTE_32F_FAST_TF32],
        );
        let epilogue = match (after.bias == Ptr::NULL, after.clamps) {
            (true, false) => E::CUBLASLT_EPILOGUE_DEFAULT,
            (true, true) => E::CUBLASLT_EPILOGUE_RELU,
            (false, false) => E::CUBLASLT_EPILOGUE_BIAS,
            (false, true) => E::CUBLASLT_EPILOGUE_RELU_BIAS,
        };
        // Null is aligned to anything.
        let to = c.alignment().min(after.bias.alignment());
        let alignments = [a.at.alignment(), b.at.alignment(), to];
        let turned = [a.turned, b.turned];
        Key { shape, turned, factors, compute, epilogue, adds: after.adds, alignments }
    }

    /// By cuBLAS, without what comes after but adding up.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn by_cublas(&self, device: &CudaDevice) -> Result<()> {
        use cublas::sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        use cublas::sys::{cublasComputeType_t as Compute, cudaDataType_t as Type};
        let Self { precision, factors: [a, b], c, shape: [m, n, k], after } = *self;
        let blas = device.cublas_handle();
        let turn = |m: Matrix| if m.turned { CUBLAS_OP_T } else { CUBLAS_OP_N };
        // More would be another shape, not an error of cuBLAS's.
        let int = |n: usize| i32::try_from(n).expect("a product's sides fit 31 bits");
        let row = |m: Matrix, straight: usize, turned: usize| {
            int(if m.turned { turned } else { straight })
        };
        let (factors, compute) = types(
            precision,
            [Type::CUDA_R_32F, Type::CUDA_R_16BF],
            [Compute::CUBLAS_COMPUTE_32F, Compute::CUBLAS_COMPUTE_32F_FAST_TF32],
        );
        let (one, keep) = (1.0f32, if after.adds { 1.0f32 } else { 0.0 });
        // SAFETY: as for `Products::run`.
        unsafe {
            cublas::result::gemm_strided_batched_ex(
                *blas.handle(),
                turn(b),
                turn(a),
                int(n),
                int(m),
                int(k),
                (&raw const one).cast(),
                pointer(b.at),
                factors,
                row(b, n, k),
                0,
                pointer(a.at),
                factors,
                row(a, k, m),
                0,
                (&raw const keep).cast(),
                pointer(c).cast_mut(),
                Type::CUDA_R_32F,
                int(n),
                0,
                1,
                compute,
                cublas::sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .told()
        .map_err(|e| blamed(&device.cuda_stream(), e))
    }
}

impl Products {
    /// Without any algorithm yet.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn new() -> Result<Self> {
        let handle = result::create_handle().map(Handle).map_err(failed)?;
        Ok(Self { plans: Mutex::default(), handle })
    }

    /// Bytes that `product` asks for besides; None where cuBLASLt has no algorithm for it.
    ///
    /// # Errors
    /// A library that fails.
    pub(super) fn workspace(&self, product: &Product) -> Result<Option<usize>> {
        let key = product.key();
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Plan::new(self.handle.0, &key, product.after.bias)?)
            }
        };
        Ok(plan.as_ref().map(|plan| plan.workspace))
    }

    /// Queues `product`, for which there is an algorithm, with what it asks for at `room`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn run(&self, product: &Product, stream: &CudaStream, room: Ptr) -> Result<()> {
        let Product { factors: [a, b], c, after, .. } = *product;
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plans.get(&product.key()).and_then(Option::as_ref);
        let plan = plan.expect("whoever runs it has asked for its workspace");
        if after.bias != Ptr::NULL {
            // Layers of one shape share a plan.
            plan.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, after.bias.0)?;
        }
        let (one, keep) = (1.0f32, if after.adds { 1.0f32 } else { 0.0 });
        let [left, right, to] = plan.layouts.each_ref().map(|l| l.0);
        // SAFETY: matrices of the shapes that the plan has, as the caller promises; as for launches.
        unsafe {
            result::matmul(
                self.handle.0,
                plan.desc.0,
                (&raw const one).cast(),
                (&raw const keep).cast(),
                pointer(b.at),
                left,
                pointer(a.at),
                right,
                pointer(c),
                to,
                pointer(c).cast_mut(),
                to,
                &raw const plan.algorithm,
                pointer(room).cast_mut(),
                plan.workspace,
                stream.cu_stream().cast(),
            )
        }
        .map_err(|e| blamed(stream, failed(e)))
    }
}
