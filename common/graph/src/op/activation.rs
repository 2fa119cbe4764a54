//! Functions of each value alone. Those here clamp to an interval; the gradient is zero at both
//! bounds, as in PyTorch.

use super::{Operation, Result, Walk, Words};

/// An interval that values are clamped to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Lower end.
    pub lo: f32,
    /// Upper end.
    pub hi: f32,
}

impl Bounds {
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
}

impl Activation {
    pub(super) fn parse(verb: &str, _: &mut Words) -> Result<Self> {
        Ok(if verb == "relu" { Self::Relu } else { Self::Relu6 })
    }

    /// The interval it clamps to.
    pub fn bounds(self) -> Bounds {
        let hi = if self == Self::Relu { f32::INFINITY } else { 6.0 };
        Bounds { lo: 0.0, hi }
    }
}

impl Operation for Activation {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        Ok(channels[0])
    }

    fn text(&self) -> String {
        (if *self == Self::Relu { "relu" } else { "relu6" }).to_owned()
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0].to_vec()
    }
}
