//! A range of the channels.

use super::{Run, Site};
use candle_core::{Result, Tensor};
use graph::op::Split;

impl Run for Split {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].narrow(3, self.start, self.end - self.start)
    }
}
