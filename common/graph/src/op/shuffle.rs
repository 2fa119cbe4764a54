//! Channel shuffle (Zhang et al. 2018, "ShuffleNet", section 3.1): with g groups of n channels,
//! output channel `j · g + k` is input channel `k · n + j`.

use super::{Operation, Result, Walk, Words, ensure, in_range};
use crate::error::bail;

/// The first channel of every group, then the second of every group, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Groups; they divide the channels.
    pub groups: usize,
}

impl Shuffle {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        match words.groups()? {
            Some(groups) => Ok(Self { groups }),
            None => bail!("expected groups gN"),
        }
    }

    /// The input channel that output channel `c` of `channels` is.
    pub fn source(&self, c: usize, channels: usize) -> usize {
        c % self.groups * (channels / self.groups) + c / self.groups
    }
}

impl Operation for Shuffle {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        let (n, groups) = (channels[0], self.groups);
        in_range(groups)?;
        ensure!(n.is_multiple_of(groups), "{groups} groups do not divide {n} channels");
        Ok(n)
    }

    fn text(&self) -> String {
        format!("shuffle g{}", self.groups)
    }

    /// Groups stay equally wide, and the order of what is left stays a shuffle, only if the channels
    /// with the same place in every group go together.
    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        let n = inputs[0].len();
        walk.tie(inputs[0], self.groups);
        (0..n).map(|c| inputs[0][self.source(c, n)]).collect()
    }
}
