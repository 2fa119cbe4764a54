//! Tensors as other programs store them.

use anyhow::{Result, ensure};
use graph::Array;

/// Tensors by name, in the order of the file.
pub type Bundle = Vec<(String, Tensor)>;

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first; empty for a single value.
    pub shape: Vec<usize>,
    /// As many as the product of the sizes.
    pub values: Values,
}

/// The values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Stored as f32, or as something narrower that f32 holds exactly.
    F32(Vec<f32>),
    /// Stored or computed as f64.
    F64(Vec<f64>),
    /// Whole numbers of any width.
    I64(Vec<i64>),
}

impl Tensor {
    /// A tensor of the given shape.
    ///
    /// # Errors
    /// When the number of values is not the product of the sizes.
    pub fn new(shape: Vec<usize>, values: Values) -> Result<Self> {
        let n = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        ensure!(n == Some(values.len()), "shape {shape:?} does not hold {} values", values.len());
        Ok(Self { shape, values })
    }

    /// The values as f32.
    ///
    /// # Errors
    /// Only an inconsistent tensor.
    pub fn to_array(&self) -> Result<Array> {
        let values = match &self.values {
            Values::F32(v) => v.clone(),
            Values::F64(v) => v.iter().map(|x| *x as f32).collect(),
            Values::I64(v) => v.iter().map(|x| *x as f32).collect(),
        };
        Ok(Array::new(self.shape.clone(), values)?)
    }
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as f64, exact but for whole numbers beyond 2⁵³.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::F64(v) => v.clone(),
            Self::I64(v) => v.iter().map(|x| *x as f64).collect(),
        }
    }

    /// The other sign for each.
    pub(super) fn negate(&mut self) {
        match self {
            Self::F32(v) => v.iter_mut().for_each(|x| *x = -*x),
            Self::F64(v) => v.iter_mut().for_each(|x| *x = -*x),
            Self::I64(v) => v.iter_mut().for_each(|x| *x = x.wrapping_neg()),
        }
    }

    /// Values at `places`.
    pub(super) fn gather(&self, places: &[usize]) -> Self {
        match self {
            Self::F32(v) => Self::F32(places.iter().map(|i| v[*i]).collect()),
            Self::F64(v) => Self::F64(places.iter().map(|i| v[*i]).collect()),
            Self::I64(v) => Self::I64(places.iter().map(|i| v[*i]).collect()),
        }
    }
}

/// How one value lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    F16,
    Bf16,
    F32,
    F64,
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    /// 8-bit float: exponent bits, mantissa bits, exponent bias, whether ∞ and several NaNs exist
    /// (else one NaN: all ones, or 0x80 where zero has no sign).
    F8 {
        mantissa: u8,
        bias: u8,
        kind: F8Kind,
    },
    /// A power of two: 2^(byte − 127).
    E8m0,
}

/// Which bytes of an 8-bit float are special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum F8Kind {
    /// As IEEE 754.
    Ieee,
    /// No infinities; NaN is 0x7f and 0xff.
    Finite,
    /// No infinities, no negative zero; NaN is 0x80.
    Unsigned0,
}

impl Scalar {
    pub(super) fn width(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 | Self::F8 { .. } | Self::E8m0 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Decode `bytes`; a remainder shorter than a value is ignored.
    pub(super) fn decode(self, bytes: &[u8], little: bool) -> Values {
        fn each<const N: usize, T>(bytes: &[u8], little: bool, f: impl Fn([u8; N]) -> T) -> Vec<T> {
            let order = |mut b: [u8; N]| {
                if !little {
                    b.reverse();
                }
                b
            };
            bytes.as_chunks::<N>().0.iter().map(|b| f(order(*b))).collect()
        }
        let (b, l) = (bytes, little);
        match self {
            Self::F16 => Values::F32(each(b, l, |v| half::f16::from_le_bytes(v).to_f32())),
            Self::Bf16 => Values::F32(each(b, l, |v| half::bf16::from_le_bytes(v).to_f32())),
            Self::F32 => Values::F32(each(b, l, f32::from_le_bytes)),
            Self::F64 => Values::F64(each(b, l, f64::from_le_bytes)),
            Self::Bool => Values::I64(each(b, l, |[v]: [u8; 1]| i64::from(v != 0))),
            Self::I8 => Values::I64(each(b, l, |v| i64::from(i8::from_le_bytes(v)))),
            Self::U8 => Values::I64(each(b, l, |[v]: [u8; 1]| i64::from(v))),
            Self::I16 => Values::I64(each(b, l, |v| i64::from(i16::from_le_bytes(v)))),
            Self::U16 => Values::I64(each(b, l, |v| i64::from(u16::from_le_bytes(v)))),
            Self::I32 => Values::I64(each(b, l, |v| i64::from(i32::from_le_bytes(v)))),
            Self::U32 => Values::I64(each(b, l, |v| i64::from(u32::from_le_bytes(v)))),
            Self::I64 => Values::I64(each(b, l, i64::from_le_bytes)),
            // Beyond 2⁶³ only f64 comes close.
            Self::U64 => Values::F64(each(b, l, |v| u64::from_le_bytes(v) as f64)),
            Self::F8 { mantissa, bias, kind } => {
                Values::F32(each(b, l, |[v]: [u8; 1]| float8(v, mantissa, bias, kind)))
            }
            Self::E8m0 => Values::F32(each(b, l, |[v]: [u8; 1]| {
                if v == 255 { f32::NAN } else { 2f32.powi(i32::from(v) - 127) }
            })),
        }
    }
}

/// An 8-bit float (OCP 8-bit floating point specification; "FNUZ": Noune et al. 2022).
fn float8(byte: u8, mantissa_bits: u8, bias: u8, kind: F8Kind) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let rest = byte & 0x7f;
    let exponent = i32::from(rest >> mantissa_bits);
    let top = 0x7f >> mantissa_bits;
    let mantissa = i32::from(rest & ((1 << mantissa_bits) - 1));
    match kind {
        F8Kind::Ieee if exponent == top => {
            return if mantissa == 0 { sign * f32::INFINITY } else { f32::NAN };
        }
        F8Kind::Finite if rest == 0x7f => return f32::NAN,
        F8Kind::Unsigned0 if byte == 0x80 => return f32::NAN,
        _ => {}
    }
    let unit = 2f32.powi(-i32::from(mantissa_bits));
    let fraction = mantissa as f32 * unit;
    if exponent == 0 {
        return sign * fraction * 2f32.powi(1 - i32::from(bias));
    }
    sign * (1.0 + fraction) * 2f32.powi(exponent - i32::from(bias))
}
