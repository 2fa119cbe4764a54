//! Functions of each value alone. Those that clamp to an interval are fused with what stands before
//! them: their gradient follows from their result. It is zero at both bounds, as in PyTorch.

use super::{Operation, Result, Walk, Words};
use crate::error::bail;

/// An interval that values are clamped to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lower end.
    pub lo: f32,
    /// Upper end.
    pub hi: f32,
}

impl Bounds {
    /// max(x, 0).
    pub const RELU: Self = Self { lo: 0.0, hi: f32::INFINITY };

    /// min(max(x, 0), 6).
    pub const RELU6: Self = Self { lo: 0.0, hi: 6.0 };

    /// No clamp.
    pub const NONE: Self = Self { lo: f32::NEG_INFINITY, hi: f32::INFINITY };

    /// `v` clamped.
    #[inline(always)]
    pub fn clamp(self, v: f32) -> f32 {
        v.max(self.lo).min(self.hi)
    }

    /// Whether the gradient of a clamped result `y` passes.
    #[inline(always)]
    pub fn passes(self, y: f32) -> bool {
        (y > self.lo) & (y < self.hi)
    }
}

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, "Searching for MobileNetV3", section 5.2).
    Hardswish,
    /// x / (1 + e⁻ˣ), also called swish (Ramachandran et al. 2017, "Searching for activation functions").
    Silu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, section 5.2).
    Hardsigmoid,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Relu, Self::Relu6, Self::Hardswish, Self::Silu, Self::Sigmoid, Self::Hardsigmoid];

    /// What it is called in a graph.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Hardswish => "hardswish",
            Self::Silu => "silu",
            Self::Sigmoid => "sigmoid",
            Self::Hardsigmoid => "hardsigmoid",
        }
    }

    pub(super) fn parse(verb: &str, _: &mut Words) -> Result<Self> {
        match Self::ALL.into_iter().find(|a| a.name() == verb) {
            Some(found) => Ok(found),
            None => bail!("unknown activation {verb:?}"),
        }
    }

    /// The interval it clamps to, if that is all it does.
    pub fn bounds(self) -> Option<Bounds> {
        match self {
            Self::Relu => Some(Bounds::RELU),
            Self::Relu6 => Some(Bounds::RELU6),
            Self::Hardswish | Self::Silu | Self::Sigmoid | Self::Hardsigmoid => None,
        }
    }
}

impl Operation for Activation {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        Ok(channels[0])
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0].to_vec()
    }
}
