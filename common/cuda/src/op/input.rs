//! The picture: it is fed or rendered before a pass begins.

use super::{Mode, Run, Site};
use crate::launch::Ptr;
use crate::memory::Buffer;
use crate::values::Engine;
use candle_core::Result;
use graph::op::Input;

impl Run for Input {
    fn forward(&self, _: &mut Engine, _: &Site, _: Mode) -> Result<()> {
        unreachable!("a pass begins behind the picture")
    }

    fn backward(&self, _: &mut Engine, _: &Site, _: Buffer, _: Ptr) -> Result<()> {
        unreachable!("the picture has no gradient")
    }
}
