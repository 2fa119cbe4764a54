//! safetensors of every type that stands for real numbers.

use crate::values::{Bundle, F8Kind, Scalar, Tensor};
use anyhow::{Result, anyhow, bail};
use safetensors::{Dtype, SafeTensors};

fn scalar(dtype: Dtype) -> Result<Scalar> {
    let f8 = |mantissa, bias, kind| Scalar::F8 { mantissa, bias, kind };
    Ok(match dtype {
        Dtype::BOOL => Scalar::Bool,
        Dtype::U8 => Scalar::U8,
        Dtype::I8 => Scalar::I8,
        Dtype::I16 => Scalar::I16,
        Dtype::U16 => Scalar::U16,
        Dtype::I32 => Scalar::I32,
        Dtype::U32 => Scalar::U32,
        Dtype::I64 => Scalar::I64,
        Dtype::U64 => Scalar::U64,
        Dtype::F16 => Scalar::F16,
        Dtype::BF16 => Scalar::Bf16,
        Dtype::F32 => Scalar::F32,
        Dtype::F64 => Scalar::F64,
        Dtype::F8_E5M2 => f8(2, 15, F8Kind::Ieee),
        Dtype::F8_E4M3 => f8(3, 7, F8Kind::Finite),
        Dtype::F8_E5M2FNUZ => f8(2, 16, F8Kind::Unsigned0),
        Dtype::F8_E4M3FNUZ => f8(3, 8, F8Kind::Unsigned0),
        Dtype::F8_E8M0 => Scalar::E8m0,
        other => {
            bail!("tensors of type {other:?} (complex, or several to a byte) are not supported")
        }
    })
}

/// All tensors, in the order of their data.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| anyhow!("damaged safetensors: {e}"))?;
    let mut tensors = file.tensors();
    tensors.sort_by_key(|(name, t)| (t.data().as_ptr() as usize, name.clone()));
    let read = |(name, t): (String, safetensors::tensor::TensorView)| {
        let values = scalar(t.dtype())?.decode(t.data(), true);
        Ok((name, Tensor::new(t.shape().to_vec(), values)?))
    };
    tensors.into_iter().map(read).collect()
}
