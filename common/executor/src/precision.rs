//! What the products of a network are made of.

use anyhow::{Error, Result, bail};
use std::fmt;
use std::str::FromStr;

/// In what numbers factors are multiplied; sums are f32 in any case, and so is whatever is no product of matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to 8 binary digits before: bfloat16.
    Bf16,
    /// Cut to 11 binary digits by the multiplier itself: what tensor cores of GPUs make of f32. CUDA alone has it.
    Tf32,
}

impl Precision {
    /// Whether this is the default, which headers leave out.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Tf32 => "tf32",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "tf32" => Ok(Self::Tf32),
            _ => bail!("no precision {name:?}: expected f32, bf16 or tf32"),
        }
    }
}
