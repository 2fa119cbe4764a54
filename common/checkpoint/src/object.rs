//! What a pickle can hold here: plain data, arrays, and the names of known classes and functions.

use crate::values::Scalar;
use std::ops::Range;

/// Position of an object in a pickle's list of objects.
pub type Id = usize;

/// What a pickle can hold here.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// None.
    None,
    /// True or False.
    Bool(bool),
    /// A whole number that fits 64 bits.
    Int(i64),
    /// A larger one, as its little-endian two's complement.
    Long(Vec<u8>),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes: a range of the file.
    Bytes(Range<usize>),
    /// Bytes that were stored as text.
    OwnBytes(Vec<u8>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A dict, in order.
    Dict(Vec<(Id, Id)>),
    /// A known class or function.
    Global(Global),
    /// A class or function that is not known, or what it would have made: its name, and nothing else.
    Foreign(String),
    /// A persistent id: PyTorch's reference to a storage.
    Persistent(Id),
    /// What a known function returned.
    Made(Made),
}

/// A known class or function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Global {
    /// `collections.OrderedDict`, `defaultdict` and `Counter`, `builtins.dict`.
    Dict,
    /// `torch.Size`, `builtins.tuple`.
    Tuple,
    /// `numpy.dtype`.
    Dtype,
    /// `numpy.ndarray`, as an argument only.
    NdArray,
    /// `numpy.core.multiarray._reconstruct`: an array still to be filled by BUILD.
    Reconstruct,
    /// `numpy.core.multiarray.scalar`.
    NumpyScalar,
    /// `numpy.core.numeric._frombuffer` (protocol 5).
    FromBuffer,
    /// `_codecs.encode`: how protocol 2 spells bytes.
    Encode,
    /// `builtins.bytes` without arguments: how protocol 2 spells empty bytes.
    Bytes,
    /// `torch._utils._rebuild_tensor(_v2)`.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: of a type that has no storage class of its own.
    RebuildTyped,
    /// `torch.storage.UntypedStorage`.
    UntypedStorage,
    /// `torch.float8_e4m3fn` and its like.
    Type(StorageType),
    /// `torch._utils._rebuild_parameter`, and the one of a parameter with attributes.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a tensor with attributes, or of a class of its own.
    RebuildFromType,
    /// `torch.FloatStorage` and its like.
    Storage(StorageType),
}

/// The element type of a torch storage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StorageType(pub(super) Scalar);

/// What a known function returned.
#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    /// A numpy dtype.
    Dtype(Box<Dtype>),
    /// A numpy array or scalar.
    Array(Box<NumpyArray>),
    /// A torch tensor: a view of a storage.
    TensorRef(Box<TensorRef>),
}

/// A numpy dtype: `f4`, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Dtype {
    pub(super) code: String,
    pub(super) little: bool,
}

/// Where the bytes of an array are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    File(Range<usize>),
    Own(Vec<u8>),
    /// An object array's elements.
    Objects(Vec<Id>),
}

/// A numpy array.
#[derive(Clone, Debug, PartialEq)]
pub struct NumpyArray {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) fortran: bool,
    pub(super) raw: Raw,
}

/// A torch tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorRef {
    pub(super) key: String,
    pub(super) storage: StorageType,
    /// Values in the storage.
    pub(super) length: usize,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
    /// Whether its values are those of the storage with the other sign: `x.conj().imag`.
    pub(super) is_negated: bool,
}
