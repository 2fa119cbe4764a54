//! A range of the channels: what `x.chunk(2, dim=1)` and `x.split(…)` give one branch of.

use super::{Change, Operation, Result, Walk, Words, ensure, kept};

/// Channels `start..end` of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// First channel.
    pub start: usize,
    /// One beyond the last.
    pub end: usize,
}

impl Split {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        let (start, end) = words.range()?;
        Ok(Self { start, end })
    }
}

impl Operation for Split {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        let Self { start, end } = *self;
        let n = channels[0];
        ensure!(start < end && end <= n, "no channels {start}..{end} of {n}");
        Ok(end - start)
    }

    fn text(&self) -> String {
        format!("split {}..{}", self.start, self.end)
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0][self.start..self.end].to_vec()
    }

    fn keep(&mut self, inputs: &[&[bool]], _: &[bool]) {
        let before = kept(&inputs[0][..self.start]);
        *self = Self { start: before, end: before + kept(&inputs[0][self.start..self.end]) };
    }

    /// The same share of the channels: halves stay halves.
    fn resize(
        &mut self,
        _: &dyn Fn(&str) -> Result<[usize; 2]>,
        Change { before, after }: Change,
    ) -> Result<()> {
        for end in [&mut self.start, &mut self.end] {
            let shared = *end * after;
            ensure!(
                shared.is_multiple_of(before),
                "{end} of {before} channels is no share of {after}"
            );
            *end = shared / before;
        }
        Ok(())
    }
}
