//! The mean over the picture: `[h, w, c]` → `[1, 1, c]`.

use super::{Operation, Result, Walk, Words};

/// Mean over height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPool;

impl GlobalAvgPool {
    pub(super) fn parse(_: &str, _: &mut Words) -> Result<Self> {
        Ok(Self)
    }
}

impl Operation for GlobalAvgPool {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        Ok(channels[0])
    }

    fn size(&self, _: &[[usize; 2]]) -> Result<[usize; 2]> {
        Ok([1, 1])
    }

    fn text(&self) -> String {
        "gap".to_owned()
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0].to_vec()
    }
}
