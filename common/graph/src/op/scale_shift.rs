//! A factor and a summand per channel: `y = weight · x + bias`. What folding makes of a batch norm
//! that no convolution can take in.

use super::{Change, Operation, Parameter, Result, Role, Walk, Words, kept, meets};

/// `y = weight · x + bias` per channel, both `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleShift {
    /// Channels.
    pub channels: usize,
}

impl ScaleShift {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        Ok(Self { channels: words.number()? })
    }
}

impl Operation for ScaleShift {
    fn parameters(&self) -> Vec<Parameter> {
        let c = [self.channels];
        vec![Parameter::new("weight", c, Role::Scale), Parameter::new("bias", c, Role::Shift)]
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        meets(self.channels, channels[0])?;
        Ok(self.channels)
    }

    fn clamps(&self) -> bool {
        true
    }

    fn is_affine(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        format!("scale {}", self.channels)
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        walk.scaled();
        walk.carry("weight", 0, inputs[0]);
        walk.carry("bias", 0, inputs[0]);
        inputs[0].to_vec()
    }

    fn keep(&mut self, _: &[&[bool]], output: &[bool]) {
        self.channels = kept(output);
    }

    fn resize(&mut self, shape: &dyn Fn(&str) -> Result<[usize; 2]>, _: Change) -> Result<()> {
        self.channels = shape("weight")?[0];
        Ok(())
    }
}
