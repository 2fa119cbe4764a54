//! Rounding to a grid as a custom operation; see `executor::rounding`.

use crate::tensors::{floats, tensor_like, with_floats};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use executor::rounding::Rounding;

/// Latents `[rows, …]` and the logarithms to base 2 of their scales, `[rows]` or `[1]` → weights on the
/// grid.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Bits that bound the integers.
    pub bits: u8,
}

const NAME: &str = "rounding";

impl CustomOp2 for Round {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        lu: &Layout,
        log_scales: &CpuStorage,
        ls: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut w = floats(u, lu, NAME)?.to_vec();
        Rounding::new(self.bits, floats(log_scales, ls, NAME)?).round(&mut w);
        Ok((CpuStorage::F32(w), lu.shape().clone()))
    }

    fn bwd(
        &self,
        u: &Tensor,
        log_scales: &Tensor,
        _w: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (du, ds) = with_floats(&[u, log_scales, grad], NAME, |s| {
            let (mut du, mut ds) = (s[2].to_vec(), vec![0.0; s[1].len()]);
            Rounding::new(self.bits, s[1]).gradients(s[0], &mut du, &mut ds);
            (du, ds)
        })?;
        Ok((Some(tensor_like(du, u)?), Some(tensor_like(ds, log_scales)?)))
    }
}
