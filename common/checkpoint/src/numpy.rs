//! NumPy arrays: in pickles, in `.npy` and `.npz`.

use crate::Archive;
use crate::course;
use crate::dicts::{self, Found};
use crate::object::{Dtype, Id, Made, NumpyArray, Object, Raw, TensorRef};
use crate::pickle::Pickle;
use crate::values::{Bundle, Scalar, Tensor, Values};
use anyhow::{Context, Result, bail, ensure};

/// The array type of a dtype code such as `f4` or `<i8`.
fn scalar(dtype: &Dtype) -> Result<Scalar> {
    Ok(match dtype.code.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => Scalar::F16,
        "f4" => Scalar::F32,
        "f8" => Scalar::F64,
        "b1" | "?" => Scalar::Bool,
        "i1" => Scalar::I8,
        "u1" => Scalar::U8,
        "i2" => Scalar::I16,
        "u2" => Scalar::U16,
        "i4" => Scalar::I32,
        "u4" => Scalar::U32,
        "i8" => Scalar::I64,
        "u8" => Scalar::U64,
        other => bail!("arrays of dtype {other:?} are not supported"),
    })
}

/// Row-major values from column-major ones.
fn from_fortran(values: &Values, shape: &[usize]) -> Values {
    let mut strides = Vec::new();
    let mut step = 1;
    for d in shape {
        strides.push(step);
        step *= d;
    }
    values.gather(&places(shape, &strides, 0))
}

/// Positions of a strided view's values, row-major. The caller bounds their number.
pub(super) fn places(shape: &[usize], strides: &[usize], offset: usize) -> Vec<usize> {
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut places = vec![offset];
    for (d, s) in shape.iter().zip(strides) {
        places = places.iter().flat_map(|p| (0..*d).map(move |i| p + i * s)).collect();
    }
    places
}

fn array(bytes: &[u8], a: &NumpyArray) -> Result<Tensor> {
    let kind = scalar(&a.dtype)?;
    let n =
        a.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).context("a shape too large")?;
    ensure!(
        n.checked_mul(kind.width()) == Some(bytes.len()),
        "shape {:?} of {} needs other than {} bytes",
        a.shape,
        a.dtype.code,
        bytes.len()
    );
    let values = kind.decode(bytes, a.dtype.little);
    let values = if a.fortran { from_fortran(&values, &a.shape) } else { values };
    Tensor::new(a.shape.clone(), values)
}

impl Pickle<'_> {
    /// The tensors of a dict, by name; bare numbers too.
    pub(super) fn entries(
        &self,
        entries: &[(Id, Id)],
        budget: &mut usize,
        view: &dyn Fn(&TensorRef) -> Result<Tensor>,
    ) -> Result<Bundle> {
        let mut bundle = Vec::new();
        for (key, value) in entries {
            let Object::Text(name) = &self.objects[*key] else { continue };
            let Some(tensor) =
                self.tensor(*value, view).with_context(|| format!("tensor {name:?}"))?
            else {
                continue;
            };
            *budget = budget
                .checked_sub(tensor.values.len())
                .with_context(|| format!("{name}: more values than the file can hold"))?;
            bundle.push((name.clone(), tensor));
        }
        Ok(bundle)
    }

    /// Whether a value is a tensor in one of the forms there are; bare numbers are not counted.
    pub(super) fn is_tensor(&self, id: Id) -> bool {
        match &self.objects[id] {
            Object::Made(Made::TensorRef(_)) => true,
            Object::Made(Made::Array(a)) => !matches!(a.raw, Raw::Objects(_)),
            Object::Tuple(items) => items.len() == 3 && self.is_tensor(items[2]),
            _ => false,
        }
    }

    /// A value as a tensor, where it is one.
    fn tensor(
        &self,
        id: Id,
        view: &dyn Fn(&TensorRef) -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        Ok(Some(match &self.objects[id] {
            Object::Made(Made::TensorRef(v)) => view(v)?,
            Object::Made(Made::Array(a)) => match &a.raw {
                Raw::File(r) => array(&self.file[r.clone()], a)?,
                Raw::Own(b) => array(b, a)?,
                Raw::Objects(_) => return Ok(None),
            },
            Object::Int(v) => Tensor::new(Vec::new(), Values::I64(vec![*v]))?,
            Object::Float(v) => Tensor::new(Vec::new(), Values::F64(vec![*v]))?,
            Object::Tuple(items) if items.len() == 3 => return self.encode8(items, view),
            _ => return Ok(None),
        }))
    }

    /// `(min, max, codes)`, as the course's encode8 stores a tensor.
    fn encode8(
        &self,
        items: &[Id],
        view: &dyn Fn(&TensorRef) -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        let number = |id: Id| -> Option<f64> {
            match &self.objects[id] {
                Object::Float(v) => Some(*v),
                Object::Made(Made::Array(a)) if a.shape.is_empty() => {
                    self.tensor(id, view).ok()??.values.to_f64().first().copied()
                }
                _ => None,
            }
        };
        let (Some(min), Some(max)) = (number(items[0]), number(items[1])) else { return Ok(None) };
        let Object::Made(Made::Array(codes)) = &self.objects[items[2]] else { return Ok(None) };
        ensure!(scalar(&codes.dtype)? == Scalar::U8, "8-bit codes of dtype {}", codes.dtype.code);
        let Some(codes) = self.tensor(items[2], view)? else { return Ok(None) };
        Ok(Some(course::decode8(min, max, &codes)?))
    }
}

/// The arrays of a `.npz`: plain ones by name, or the dict that one of them holds as an object.
pub(super) fn npz(
    archive: &mut Archive,
    names: &[String],
    file: usize,
    part: Option<&str>,
) -> Result<Found> {
    let mut all = Found::default();
    for entry in names {
        let bytes = archive.entry(entry)?;
        let name = entry.strip_suffix(".npy");
        let name = name.with_context(|| format!("entry {entry:?} among .npy files is none"))?;
        // Deflate shrinks at most 1032-fold.
        let limit = file.saturating_mul(1032).min(bytes.len());
        let found = npy(&bytes, name, limit).with_context(|| format!("entry {entry:?}"))?;
        all.tensors.extend(found.tensors);
        all.notes.extend(found.notes);
    }
    all.tensors = dicts::under(all.tensors, part)?;
    Ok(all)
}

/// One `.npy` file: magic, version, a header that is a Python dict literal, data.
fn npy(bytes: &[u8], name: &str, limit: usize) -> Result<Found> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").context("not a .npy file")?;
    let wide = *rest.first().context("no version")? >= 2;
    let (start, n) = if wide {
        let n = rest.get(2..6).context("no header length")?;
        (6, u32::from_le_bytes([n[0], n[1], n[2], n[3]]) as usize)
    } else {
        let n = rest.get(2..4).context("no header length")?;
        (4, usize::from(u16::from_le_bytes([n[0], n[1]])))
    };
    let header = rest.get(start..).and_then(|r| r.get(..n)).context("a header beyond the file")?;
    let header = std::str::from_utf8(header)?;
    let data = &rest[start + n..];
    let descr = between(header, "'descr':", ",")?.trim().trim_matches('\'').to_owned();
    let fortran = between(header, "'fortran_order':", ",")?.trim() == "True";
    let shape = between(header, "'shape':", ")")?.trim().trim_start_matches('(');
    if descr.contains('O') {
        let (pickle, _) = Pickle::load(data, 0)?;
        return pickle.found(limit, None);
    }
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .map(|d| d.parse().with_context(|| format!("a size of {d:?}")))
        .collect::<Result<_>>()?;
    let little = !descr.starts_with('>');
    let dtype = Dtype { code: descr, little };
    let raw = Raw::Own(Vec::new());
    let tensor = array(data, &NumpyArray { dtype, shape, fortran, raw })?;
    Ok(Found { tensors: vec![(name.to_owned(), tensor)], ..Found::default() })
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Result<&'a str> {
    let (_, rest) = text.split_once(from).with_context(|| format!("no {from} in {text:?}"))?;
    let (value, _) = rest.split_once(to).with_context(|| format!("no end of {from}"))?;
    Ok(value)
}
