//! Products of matrices, by cuBLAS.

#![allow(unsafe_code)] // products, here alone

use crate::failure::Told;
use crate::launch::{Kernels, Ptr};
use candle_core::Result;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};

/// A row-major matrix: where it is, whether it is read turned round.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub(super) at: Ptr,
    pub(super) turned: bool,
}

impl Kernels {
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
        self.count(1);
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
        .told()
    }
}
