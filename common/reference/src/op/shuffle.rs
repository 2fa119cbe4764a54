//! Channels of several groups in turns.

use super::{Run, Site};
use candle_core::{Result, Tensor};
use graph::op::Shuffle;

impl Run for Shuffle {
    fn run(&self, _: &mut Site, inputs: &[Tensor]) -> Result<Tensor> {
        let (b, h, w, c) = inputs[0].dims4()?;
        let groups = inputs[0].reshape((b, h, w, self.groups, c / self.groups))?;
        groups.transpose(3, 4)?.contiguous()?.reshape((b, h, w, c))
    }
}
