//! The course tutorial's own files: encode8 and encode16, written byte for byte as its Python does,
//! and read.
//!
//! Both are pickles (protocol 3) of a dict of NumPy objects: encode16 holds f16 arrays, encode8
//! `(min, max, codes)` with `code = round((v − min) / (max − min) · 255)` and
//! `v = code / 255 · (max − min) + min`, in f64, half to even. Values without dimension are f64 scalars
//! in both. Bytes equal those of Python 3.7 with the NumPy of 2020, which wrote a dtype's flags as the
//! numbers 0 and 1. The pickle itself is read like any other.

use crate::values::{Tensor, Values};
use crate::writer::Writer;
use anyhow::{Context, Result, bail};
use graph::Array;
use half::f16;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Eight bits between the least and the largest value of a tensor.
    Encode8,
    /// Half precision.
    Encode16,
}

impl Encoding {
    /// The largest error that rounding makes of `values`: half a level, and what f32 loses.
    pub fn error(self, values: &[f32]) -> f64 {
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(most.max(-least));
        match self {
            Self::Encode8 => f64::from(most - least) / 255.0 / 2.0 + largest * 1e-6,
            Self::Encode16 => largest / 2048.0 + f64::from(f16::MIN_POSITIVE_SUBNORMAL),
        }
    }
}

/// The tensor that encode8 stored as `min`, `max` and `codes`.
pub(crate) fn decode8(min: f64, max: f64, codes: &Tensor) -> Result<Tensor> {
    let decode = |q: f64| q / 255.0 * (max - min) + min;
    let values = codes.values.to_f64().into_iter().map(decode).collect();
    Tensor::new(codes.shape.clone(), Values::F64(values))
}

/// The file that the tutorial's `encode8` or `encode16` writes.
///
/// # Errors
/// More entries than Python puts into one batch, or tensors without values.
pub fn encode(entries: &[(String, Array)], encoding: Encoding) -> Result<Vec<u8>> {
    if entries.is_empty() || entries.len() > 1000 {
        bail!("{} tensors: expected 1 to 1000", entries.len());
    }
    let mut w = Writer::default();
    w.out.extend([0x80, 3, b'}']);
    w.memoize();
    // Python writes a dict of one entry without a mark.
    if entries.len() > 1 {
        w.out.push(b'(');
    }
    for (name, array) in entries {
        w.text(name);
        w.memoize();
        if array.shape.is_empty() {
            w.scalar(array.values.first().copied().map(f64::from).context("no value")?);
            continue;
        }
        match encoding {
            Encoding::Encode16 => {
                let halves = array.values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
                w.array(&array.shape, "f2", &halves.collect::<Vec<u8>>())?;
            }
            Encoding::Encode8 => w.encode8(array).with_context(|| format!("tensor {name}"))?,
        }
    }
    w.out.extend([if entries.len() > 1 { b'u' } else { b's' }, b'.']);
    Ok(w.out)
}

impl Writer {
    fn dtype(&mut self, code: &str) {
        let order = if code == "u1" { "|" } else { "<" };
        let key = format!("dtype {code}");
        let known = self.shared.contains_key(&key);
        self.shared(&key, |w| {
            w.global("numpy", "dtype");
            w.text(code);
            w.memoize();
            w.out.extend([b'K', 0, b'K', 1]);
            w.tuple(3);
            w.reduce();
        });
        if known {
            return;
        }
        // The state of a new dtype: version, byte order, no fields, sizes that are not set.
        self.out.extend([b'(', b'K', 3]);
        self.shared(order, |w| w.text(order));
        self.out.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0");
        self.tuple(8);
        self.out.push(b'b');
    }

    fn scalar(&mut self, v: f64) {
        self.global("numpy.core.multiarray", "scalar");
        self.dtype("f8");
        self.out.extend([b'C', 8]);
        self.out.extend(v.to_le_bytes());
        self.memoize();
        self.tuple(2);
        self.reduce();
        self.memoize();
    }

    fn array(&mut self, shape: &[usize], code: &str, data: &[u8]) -> Result<()> {
        self.global("numpy.core.multiarray", "_reconstruct");
        self.global("numpy", "ndarray");
        self.out.extend([b'K', 0]);
        self.tuple(1);
        self.shared("bytes b", |w| w.out.extend([b'C', 1, b'b']));
        self.tuple(3);
        self.reduce();
        self.memoize();
        self.out.extend([b'(', b'K', 1]);
        if shape.len() > 3 {
            self.out.push(b'(');
        }
        for d in shape {
            self.int(*d)?;
        }
        self.tuple(shape.len());
        self.dtype(code);
        self.out.push(0x89);
        self.bytes(data)?;
        self.memoize();
        self.tuple(5);
        self.out.push(b'b');
        Ok(())
    }

    fn encode8(&mut self, array: &Array) -> Result<()> {
        let values = || array.values.iter().map(|v| f64::from(*v));
        let (min, max) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        self.scalar(min);
        self.scalar(max);
        let code = |v: f64| ((v - min) / (max - min) * 255.0).round_ties_even() as u8;
        self.array(&array.shape, "u1", &values().map(code).collect::<Vec<u8>>())?;
        self.tuple(3);
        Ok(())
    }
}
