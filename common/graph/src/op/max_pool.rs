//! The largest value in each window; padding never wins, and of equals the first in row order does.

use super::{Operation, Result, Walk, Window, Words};

/// Max pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool(pub Window);

impl MaxPool {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        Ok(Self(words.window()?))
    }
}

impl Operation for MaxPool {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        self.0.check(true)?;
        Ok(channels[0])
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        self.0.over(sizes[0])
    }

    fn takes_affine(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        format!("max{}", self.0)
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0].to_vec()
    }
}
