//! The picture: RGB, `[h, w, 3]`. Always the first node, and only there.

use super::{Operation, Result, Walk, Words, ensure};
use std::ops::RangeInclusive;

/// The picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// 3: red, green, blue.
    pub channels: usize,
}

impl Input {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        Ok(Self { channels: words.number()? })
    }
}

impl Operation for Input {
    fn inputs(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn channels(&self, _: &[usize]) -> Result<usize> {
        ensure!(self.channels == 3, "pictures have 3 channels, not {}", self.channels);
        Ok(3)
    }

    fn text(&self) -> String {
        format!("input {}", self.channels)
    }

    fn ids(&self, _: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        let ids = walk.fresh(self.channels);
        walk.fix(&ids);
        ids
    }
}
