//! Products and convolutions by NVIDIA's libraries, with room for what they ask for besides.

use crate::call::Call;
use crate::device::capability;
use crate::launch::{Kernels, Ptr, args};
use crate::memory::Buffer;
use crate::product::Product;
use crate::slide::{Divisor, lanes};
use crate::values::Engine;
use candle_core::Result;
use executor::Precision;

impl Kernels {
    /// Adds a bias, unless that is null, to `n` values in rows of `c` at `y`, and clamps them.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn clamp(
        &self,
        n: usize,
        c: usize,
        bias: Ptr,
        [lo, hi]: [f32; 2],
        y: Ptr,
    ) -> Result<()> {
        let lanes = lanes(c, &[y]);
        let all = args![lanes, Divisor::new(c / lanes), bias, lo, hi, y];
        self.spread("bias_clamp", n / lanes, all)
    }

    /// Whether the device multiplies numbers of `precision`.
    ///
    /// # Errors
    /// One that does not; one that fails.
    pub(crate) fn multiplies(&self, precision: Precision) -> Result<()> {
        let (major, minor) = capability(&self.device)?;
        if major < 8 && !precision.is_f32() {
            candle_core::bail!(
                "--precision {precision}: this GPU, of compute capability {major}.{minor}, has no such products; those \
                 from 8.0 on have, which NVIDIA calls Ampere"
            )
        }
        Ok(())
    }
}

impl Engine {
    /// `product`, by cuBLASLt, or cuBLAS where that has no way.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn product(&mut self, product: &Product) -> Result<()> {
        let kernels = self.kernels.clone();
        kernels.count(1);
        if let Some(bytes) = kernels.products().workspace(product)? {
            let room = self.room(bytes)?;
            let at = room.as_ref().map_or(Ptr::NULL, |r| r.at);
            kernels.products().run(product, &kernels.stream, at)?;
            room.into_iter().for_each(|r| self.memory.give(r));
            return Ok(());
        }
        product.by_cublas(&kernels.device)?;
        let (after, [m, n, _]) = (product.after, product.shape);
        if after.bias == Ptr::NULL && !after.clamps {
            return Ok(());
        }
        let lo = if after.clamps { 0.0 } else { f32::NEG_INFINITY };
        kernels.clamp(m * n, n, after.bias, [lo, f32::INFINITY], product.c)
    }

    /// `call` by cuDNN; false where that has no way.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn convolve(&mut self, call: &Call) -> Result<bool> {
        let kernels = self.kernels.clone();
        let Some(bytes) = kernels.convolutions().workspace(call)? else { return Ok(false) };
        let room = self.room(bytes)?;
        let at = room.as_ref().map_or(std::ptr::null_mut(), |r| r.at.0 as *mut _);
        let is_done = kernels.convolutions().run(call, &kernels.stream, at)?;
        kernels.count(usize::from(is_done));
        room.into_iter().for_each(|r| self.memory.give(r));
        Ok(is_done)
    }

    /// So many bytes.
    fn room(&mut self, bytes: usize) -> Result<Option<Buffer>> {
        (bytes > 0).then(|| self.memory.take(bytes.div_ceil(4))).transpose()
    }
}
