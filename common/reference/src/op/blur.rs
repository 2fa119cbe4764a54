//! A fixed low-pass filter: for each tap, the rows and then the columns that it reads.

use super::{Run, Site};
use candle_core::{Result, Tensor};
use graph::op::Blur;

impl Run for Blur {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        let rows = along(&inputs[0], *self, 1)?;
        along(&rows, *self, 2)
    }
}

/// `x` `[b, h, w, c]` filtered along dimension `dim`.
fn along(x: &Tensor, blur: Blur, dim: usize) -> Result<Tensor> {
    let n = x.dim(dim)?;
    let x = x.contiguous()?;
    let mut sum: Option<Tensor> = None;
    for (k, share) in blur.taps.shares().enumerate() {
        let places = (0..blur.output(n)).map(|at| blur.source(at, k, n) as u32);
        let places = Tensor::new(places.collect::<Vec<u32>>(), x.device())?;
        let part = (x.index_select(&places, dim)? * f64::from(share))?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    Ok(sum.expect("a blur has taps"))
}
