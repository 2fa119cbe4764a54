//! The channels of several inputs, one behind the other (DenseNet, SqueezeNet, ShuffleNet).

use super::{LIMIT, Operation, Result, Walk, Words, ensure};
use std::ops::RangeInclusive;

/// Most inputs: more than any network in use has.
const MOST: usize = 256;

/// All channels of the first input, then all of the second, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat;

impl Concat {
    pub(super) fn parse(_: &str, _: &mut Words) -> Result<Self> {
        Ok(Self)
    }
}

impl Operation for Concat {
    fn inputs(&self) -> RangeInclusive<usize> {
        2..=MOST
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        let sum = channels.iter().sum();
        ensure!(sum <= LIMIT, "{sum} channels are more than {LIMIT}");
        Ok(sum)
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        let other = sizes.iter().find(|s| **s != sizes[0]);
        ensure!(other.is_none(), "concat of pictures of {:?} and {other:?}", sizes[0]);
        Ok(sizes[0])
    }

    fn text(&self) -> String {
        "concat".to_owned()
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs.concat()
    }
}
