//! The mean of each window. Padding counts as zeros, what lies beyond it does not count (PyTorch's
//! `AvgPool2d` with its defaults).

use super::{Margin, Operation, Result, Walk, Window, Words, ensure};

/// Average pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPool(pub Window);

impl AvgPool {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        Ok(Self(words.window()?))
    }
}

impl Operation for AvgPool {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        self.0.check(true)?;
        // TensorFlow's mean is one of the pixels inside, PyTorch's counts the margin.
        ensure!(
            self.0.margin != Margin::Same,
            "an average pool has no margin of the kind \"same\""
        );
        Ok(channels[0])
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        self.0.over(sizes[0])
    }

    fn text(&self) -> String {
        format!("avg{}", self.0)
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0].to_vec()
    }
}
