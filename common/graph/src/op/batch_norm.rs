//! Batch norm (Ioffe & Szegedy 2015): `y = γ · (x − mean) / √(variance + ε) + β` per channel, with the
//! statistics of the batch in training and stored ones afterwards.
//!
//! No state dict holds ε, and it is not the same everywhere: PyTorch's default is 1e-5, Keras's 1e-3. In a
//! graph's text it is a word, `bn 32 eps1e-3`, left out where it is PyTorch's.

use super::{
    Change, Operation, Parameter, Result, Role, Walk, Words, decimal, ensure, kept, meets,
};

/// ε where nothing says another. Nobody but the reader and the writer of a graph's text knows it: whoever
/// computes asks the batch norm for its own.
const DEFAULT: f32 = 1e-5;

/// Batch norm; γ `weight`, β `bias`, `running_mean`, `running_var`, all `[channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Channels.
    pub channels: usize,
    /// ε: added to the variance; 10⁻¹² to 1.
    pub epsilon: f32,
}

impl BatchNorm {
    /// Every ε that there can be: 10⁻¹² to 1.
    pub const RANGE: std::ops::RangeInclusive<f32> = 1e-12..=1.0;

    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        Ok(Self { channels: words.number()?, epsilon: words.epsilon()?.unwrap_or(DEFAULT) })
    }

    /// With PyTorch's ε, 1e-5.
    pub const fn new(channels: usize) -> Self {
        Self { channels, epsilon: DEFAULT }
    }
}

impl Operation for BatchNorm {
    fn parameters(&self) -> Vec<Parameter> {
        let c = [self.channels];
        vec![
            Parameter::new("weight", c, Role::Gamma),
            Parameter::new("bias", c, Role::Beta),
            Parameter::new("running_mean", c, Role::Mean),
            Parameter::new("running_var", c, Role::Variance),
        ]
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        let Self { channels: own, epsilon } = *self;
        meets(own, channels[0])?;
        ensure!(
            Self::RANGE.contains(&epsilon),
            "the epsilon of a batch norm is not from 1e-12 to 1"
        );
        Ok(own)
    }

    fn clamps(&self) -> bool {
        true
    }

    fn is_affine(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        let Self { channels, epsilon } = self;
        // The shortest digits that are read back as the same number.
        let own = if *epsilon == DEFAULT {
            String::new()
        } else {
            format!(" eps{}", decimal::write(*epsilon))
        };
        format!("bn {channels}{own}")
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
