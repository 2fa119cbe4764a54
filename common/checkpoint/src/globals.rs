//! The names a pickle may use, and what they mean here. None of them runs anything.

use crate::object::{Dtype, Global, Id, Made, NumpyArray, Object, Raw, StorageType, TensorRef};
use crate::values::{F8Kind, Scalar};
use anyhow::{Context, Result, bail, ensure};

impl Global {
    /// A name that is allowed.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        let multiarray = ["numpy.core.multiarray", "numpy._core.multiarray"].contains(&module);
        let numeric = ["numpy.core.numeric", "numpy._core.numeric"].contains(&module);
        let builtins = ["builtins", "__builtin__"].contains(&module);
        Some(match name {
            "OrderedDict" | "defaultdict" | "Counter" if module == "collections" => Self::Dict,
            "dict" if builtins => Self::Dict,
            "tuple" if builtins => Self::Tuple,
            "bytes" if builtins => Self::Bytes,
            "Size" if module == "torch" => Self::Tuple,
            "dtype" if module == "numpy" => Self::Dtype,
            "ndarray" if module == "numpy" => Self::NdArray,
            "_reconstruct" if multiarray => Self::Reconstruct,
            "scalar" if multiarray => Self::NumpyScalar,
            "_frombuffer" if numeric => Self::FromBuffer,
            "encode" if module == "_codecs" => Self::Encode,
            "_rebuild_tensor" | "_rebuild_tensor_v2" if module == "torch._utils" => {
                Self::RebuildTensor
            }
            "_rebuild_tensor_v3" if module == "torch._utils" => Self::RebuildTyped,
            "UntypedStorage" if module == "torch.storage" => Self::UntypedStorage,
            "_rebuild_parameter" | "_rebuild_parameter_with_state" if module == "torch._utils" => {
                Self::RebuildParameter
            }
            "_rebuild_from_type_v2" if module == "torch._tensor" => Self::RebuildFromType,
            _ if module == "torch" => {
                if let Some(scalar) = torch_type(name) {
                    return Some(Self::Type(StorageType(scalar)));
                }
                let scalar = match name.strip_suffix("Storage")? {
                    "Float" => Scalar::F32,
                    "Double" => Scalar::F64,
                    "Half" => Scalar::F16,
                    "BFloat16" => Scalar::Bf16,
                    "Char" => Scalar::I8,
                    "Byte" => Scalar::U8,
                    "Short" => Scalar::I16,
                    "Int" => Scalar::I32,
                    "Long" => Scalar::I64,
                    "Bool" => Scalar::Bool,
                    _ => return None,
                };
                Self::Storage(StorageType(scalar))
            }
            _ => return None,
        })
    }
}

/// A type of torch's that its newer files name.
fn torch_type(name: &str) -> Option<Scalar> {
    let f8 = |mantissa, bias, kind| Scalar::F8 { mantissa, bias, kind };
    Some(match name {
        "uint16" => Scalar::U16,
        "uint32" => Scalar::U32,
        "uint64" => Scalar::U64,
        "float8_e5m2" => f8(2, 15, F8Kind::Ieee),
        "float8_e4m3fn" => f8(3, 7, F8Kind::Finite),
        "float8_e5m2fnuz" => f8(2, 16, F8Kind::Unsigned0),
        "float8_e4m3fnuz" => f8(3, 8, F8Kind::Unsigned0),
        "float8_e8m0fnu" => Scalar::E8m0,
        _ => return None,
    })
}

/// Whether a name is one that no file of weights holds but to harm whoever runs it. Nothing is run here;
/// such a file is refused all the same.
pub(super) fn is_hostile(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or_default();
    let builtins = ["builtins", "__builtin__"].contains(&module);
    let runs = ["eval", "exec", "compile", "open", "__import__", "getattr", "setattr", "delattr"];
    let systems = [
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "runpy",
        "importlib",
        "shutil",
        "socket",
        "ctypes",
        "pty",
        "commands",
        "pickle",
        "code",
        "webbrowser",
        "operator",
        "functools",
    ];
    systems.contains(&package) || builtins && runs.contains(&name)
}

/// Objects seen as what a call expects.
struct Reader<'a> {
    objects: &'a [Object],
    file: &'a [u8],
}

impl<'a> Reader<'a> {
    fn items(&self, id: Id) -> Result<&'a [Id]> {
        match &self.objects[id] {
            Object::Tuple(v) | Object::List(v) => Ok(v),
            _ => bail!("expected a tuple"),
        }
    }

    fn text(&self, id: Id) -> Result<&'a str> {
        match &self.objects[id] {
            Object::Text(t) => Ok(t),
            Object::Bytes(r) => Ok(std::str::from_utf8(&self.file[r.clone()])?),
            _ => bail!("expected text"),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match &self.objects[id] {
            Object::Int(v) => usize::try_from(*v).with_context(|| format!("a size of {v}")),
            _ => bail!("expected a number"),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        ensure!(items.len() <= 64, "{} dimensions", items.len());
        items.iter().map(|i| self.size(*i)).collect()
    }

    fn truth(&self, id: Id) -> bool {
        !matches!(self.objects[id], Object::None | Object::Bool(false) | Object::Int(0))
    }

    fn dtype(&self, id: Id) -> Result<Dtype> {
        match &self.objects[id] {
            Object::Made(Made::Dtype(d)) => Ok((**d).clone()),
            _ => bail!("expected a dtype"),
        }
    }

    fn raw(&self, id: Id) -> Result<Raw> {
        Ok(match &self.objects[id] {
            Object::Bytes(r) => Raw::File(r.clone()),
            Object::OwnBytes(b) => Raw::Own(b.clone()),
            // Python 2 stored bytes as text of code points below 256.
            Object::Text(t) => Raw::Own(latin1(t)?),
            Object::List(v) => Raw::Objects(v.clone()),
            _ => bail!("expected bytes"),
        })
    }
}

fn latin1(text: &str) -> Result<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).context("text that is no bytes")).collect()
}

/// Bytes a made object holds of its own.
pub(super) fn cost(object: &Object) -> usize {
    match object {
        Object::OwnBytes(b) => b.len(),
        Object::Tuple(v) => 8 * v.len(),
        Object::Dict(v) => 16 * v.len(),
        Object::Made(Made::Array(a)) => {
            a.shape.len() * 8
                + a.dtype.code.len()
                + match &a.raw {
                    Raw::File(_) => 0,
                    Raw::Own(b) => b.len(),
                    Raw::Objects(v) => 8 * v.len(),
                }
        }
        Object::Made(Made::TensorRef(v)) => v.key.len() + 8 * (v.size.len() + v.stride.len()),
        Object::Made(Made::Dtype(d)) => d.code.len(),
        _ => 0,
    }
}

/// What `function(*arguments)` returns.
pub(super) fn call(objects: &[Object], file: &[u8], function: Id, arguments: Id) -> Result<Object> {
    let r = Reader { objects, file };
    let function = match &objects[function] {
        Object::Global(function) => *function,
        Object::Foreign(name) => return Ok(Object::Foreign(name.clone())),
        _ => bail!("a call of no function"),
    };
    let args = r.items(arguments)?;
    let arg = |i: usize| args.get(i).copied().with_context(|| format!("no argument {i}"));
    Ok(match function {
        Global::Dict => dict(&r, args)?,
        Global::Tuple => Object::Tuple(match args {
            [] => Vec::new(),
            _ => r.items(arg(0)?)?.to_vec(),
        }),
        Global::Dtype => Object::Made(Made::Dtype(Box::new(Dtype {
            code: r.text(arg(0)?)?.to_owned(),
            little: true,
        }))),
        Global::Reconstruct => Object::Made(Made::Array(Box::new(NumpyArray {
            dtype: Dtype { code: "u1".to_owned(), little: true },
            shape: vec![0],
            fortran: false,
            raw: Raw::Own(Vec::new()),
        }))),
        Global::NumpyScalar => Object::Made(Made::Array(Box::new(NumpyArray {
            dtype: r.dtype(arg(0)?)?,
            shape: Vec::new(),
            fortran: false,
            raw: r.raw(arg(1)?)?,
        }))),
        Global::FromBuffer => Object::Made(Made::Array(Box::new(NumpyArray {
            dtype: r.dtype(arg(1)?)?,
            shape: r.sizes(arg(2)?)?,
            fortran: r.text(arg(3)?)? == "F",
            raw: r.raw(arg(0)?)?,
        }))),
        Global::Encode => Object::OwnBytes(latin1(r.text(arg(0)?)?)?),
        Global::Bytes => {
            ensure!(args.is_empty(), "bytes with arguments");
            Object::OwnBytes(Vec::new())
        }
        Global::RebuildTensor => Object::Made(Made::TensorRef(Box::new(view(&r, args, 6)?))),
        Global::RebuildTyped => Object::Made(Made::TensorRef(Box::new(view(&r, args, 7)?))),
        Global::RebuildFromType => match &objects[arg(0)?] {
            Object::Global(
                Global::RebuildTensor | Global::RebuildTyped | Global::RebuildParameter,
            ) => return call(objects, file, arg(0)?, arg(2)?),
            Object::Foreign(name) => Object::Foreign(name.clone()),
            _ => bail!("a tensor made by no function that makes tensors"),
        },
        Global::RebuildParameter => match &objects[arg(0)?] {
            Object::Made(Made::TensorRef(v)) => Object::Made(Made::TensorRef(v.clone())),
            _ => bail!("a parameter without tensor"),
        },
        Global::NdArray | Global::Storage(_) | Global::UntypedStorage | Global::Type(_) => {
            bail!("a class that is never called in data")
        }
    })
}

/// What a dict's class makes of its arguments.
fn dict(r: &Reader, args: &[Id]) -> Result<Object> {
    let pairs = match args {
        [] => &[],
        [one] => match &r.objects[*one] {
            // Of a Counter; what a defaultdict calls for a new key.
            Object::Dict(entries) => return Ok(Object::Dict(entries.clone())),
            Object::Foreign(_) | Object::Global(_) | Object::None => &[],
            _ => r.items(*one)?,
        },
        _ => bail!("a dict of {} arguments", args.len()),
    };
    let pair = |p: &Id| match r.items(*p)? {
        [k, v] => Ok((*k, *v)),
        _ => bail!("a dict entry that is no pair"),
    };
    Ok(Object::Dict(pairs.iter().map(pair).collect::<Result<_>>()?))
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)`; in version 3 a type
/// stands before the metadata, which are the argument of that number if there are any.
fn view(r: &Reader, args: &[Id], metadata: usize) -> Result<TensorRef> {
    let [storage, offset, size, stride, ..] = args else { bail!("too few arguments") };
    let Object::Persistent(id) = r.objects[*storage] else { bail!("a tensor without storage") };
    let [tag, kind, key, _location, length, rest @ ..] = r.items(id)? else {
        bail!("a storage of too few words")
    };
    ensure!(r.text(*tag)? == "storage", "a persistent id that is no storage");
    // An untyped storage counts bytes, and the type is the seventh argument.
    let (kind, unit) = match (&r.objects[*kind], args.get(6).map(|id| &r.objects[*id])) {
        (Object::Global(Global::Storage(kind)), _) => (*kind, 1),
        (Object::Global(Global::UntypedStorage), Some(Object::Global(Global::Type(kind)))) => {
            (*kind, kind.0.width())
        }
        (Object::Global(Global::UntypedStorage), Some(Object::Foreign(name)))
        | (Object::Foreign(name), _) => bail!("tensors of type {name} are not supported"),
        _ => bail!("a storage of unknown type"),
    };
    let whole = rest.iter().all(|id| r.objects[*id] == Object::None);
    ensure!(whole, "a storage that is a view of another");
    let (size, stride) = (r.sizes(*size)?, r.sizes(*stride)?);
    ensure!(size.len() == stride.len(), "{} sizes, {} strides", size.len(), stride.len());
    let is_negated = match args.get(metadata).map(|id| &r.objects[*id]) {
        Some(Object::Dict(entries)) => {
            let is_neg = |k: &Id| matches!(&r.objects[*k], Object::Text(t) if t == "neg");
            entries.iter().any(|(k, v)| is_neg(k) && r.truth(*v))
        }
        _ => false,
    };
    Ok(TensorRef {
        key: r.text(*key)?.to_owned(),
        storage: kind,
        length: r.size(*length)? / unit,
        offset: r.size(*offset)?,
        size,
        stride,
        is_negated,
    })
}

/// What `target.__setstate__(state)` does.
pub(super) fn build(objects: &mut [Object], file: &[u8], target: Id, state: Id) -> Result<()> {
    let r = Reader { objects, file };
    let new = match &objects[target] {
        // A state dict's `_metadata`; what belongs to an object that is not known.
        Object::Dict(_) | Object::Foreign(_) => return Ok(()),
        Object::Made(Made::Dtype(d)) => {
            let order = r.items(state)?.get(1).context("a dtype without byte order")?;
            let little = r.text(*order)? != ">";
            Made::Dtype(Box::new(Dtype { code: d.code.clone(), little }))
        }
        Object::Made(Made::Array(_)) => {
            let [_version, shape, dtype, fortran, data] = r.items(state)? else {
                bail!("an array's state of unknown form")
            };
            Made::Array(Box::new(NumpyArray {
                dtype: r.dtype(*dtype)?,
                shape: r.sizes(*shape)?,
                fortran: r.truth(*fortran),
                raw: r.raw(*data)?,
            }))
        }
        _ => bail!("a state for what has none"),
    };
    objects[target] = Object::Made(new);
    Ok(())
}
