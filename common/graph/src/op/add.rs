//! The sum of two inputs of the same shape: where a residual block ends.

use super::{Operation, Result, Walk, Words, ensure, meets};
use std::ops::RangeInclusive;

/// Sum of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Add;

impl Add {
    pub(super) fn parse(_: &str, _: &mut Words) -> Result<Self> {
        Ok(Self)
    }
}

impl Operation for Add {
    fn inputs(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        meets(channels[0], channels[1])?;
        Ok(channels[0])
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        ensure!(sizes[0] == sizes[1], "sum of pictures of {:?} and {:?}", sizes[0], sizes[1]);
        Ok(sizes[0])
    }

    fn clamps(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        "add".to_owned()
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        walk.pair(inputs)
    }
}
