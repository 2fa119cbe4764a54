//! Batch norm (Ioffe & Szegedy 2015): `y = γ · (x − mean) / √(variance + ε) + β` per channel, with the
//! statistics of the batch in training and stored ones afterwards.

use super::{Change, Operation, Parameter, Result, Role, Walk, Words, kept, meets};

/// ε of every batch norm: PyTorch's default.
pub const EPSILON: f32 = 1e-5;

/// Batch norm; γ `weight`, β `bias`, `running_mean`, `running_var`, all `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNorm {
    /// Channels.
    pub channels: usize,
}

impl BatchNorm {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        Ok(Self { channels: words.number()? })
    }
}

impl Operation for BatchNorm {
    fn parameters(&self) -> Vec<Parameter> {
        let c = [self.channels];
        vec![
            Parameter::new("weight", c, Role::Scale),
            Parameter::new("bias", c, Role::Shift),
            Parameter::new("running_mean", c, Role::Mean),
            Parameter::new("running_var", c, Role::Variance),
        ]
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        meets(self.channels, channels[0])?;
        Ok(self.channels)
    }

    fn text(&self) -> String {
        format!("bn {}", self.channels)
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        walk.scaled();
        for end in ["weight", "bias", "running_mean", "running_var"] {
            walk.carry(end, 0, inputs[0]);
        }
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
