//! The operations a network is made of. One file per operation says everything about it that is not
//! arithmetic: parameters, output shape, text, which channels belong together, multiplications.
//!
//! To add one: its file here and its line in `operations!`; its file in `engine/src/op`, in `reference/src/op`
//! and, with its kernels, in `cuda/src/op`; its line in `infer/src/onnx/mod.rs` and in `bench/src/traffic.rs`; its
//! row in FORMAT.md. Nothing else in the programs lists operations.

mod activation;
mod add;
mod avg_pool;
mod batch_norm;
mod blur;
mod concat;
mod conv;
mod decimal;
mod global_avg_pool;
mod input;
mod linear;
mod max_pool;
mod mul;
mod scale_shift;
mod shuffle;
mod split;
mod walk;
mod window;
mod words;

pub use activation::{Activation, Bounds};
pub use add::Add;
pub use avg_pool::AvgPool;
pub use batch_norm::BatchNorm;
pub use blur::{Blur, Taps};
pub use concat::Concat;
pub use conv::Conv;
pub use global_avg_pool::GlobalAvgPool;
pub use input::Input;
pub use linear::Linear;
pub use max_pool::MaxPool;
pub use mul::Mul;
pub use scale_shift::ScaleShift;
pub use shuffle::Shuffle;
pub use split::Split;
pub use walk::{Axis, Walk};
pub use window::{Margin, Window};
pub(crate) use words::Words;

use crate::error::{Result, ensure};
use std::ops::RangeInclusive;

/// Largest number in a graph; keeps arithmetic on untrusted graphs from overflowing.
pub(crate) const LIMIT: usize = 1 << 20;

/// What a parameter is to its operation. Weight decay, grids, folding and pruning ask this, never the
/// shape or the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Multiplies activations of several channels: the bulk of a network, the only role that decays.
    Weight,
    /// Added to each output channel.
    Bias,
    /// γ of a batch norm: multiplies one channel.
    Gamma,
    /// β of a batch norm: added to one channel.
    Beta,
    /// Multiplies one channel, without a batch norm.
    Scale,
    /// Added to one channel, without a batch norm.
    Shift,
    /// Running mean of a channel; not trained.
    Mean,
    /// Running variance of a channel; not trained.
    Variance,
}

impl Role {
    /// Whether gradients change it; the others are statistics of the pictures.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance)
    }
}

/// A tensor that an operation has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key in a PyTorch state dict: the node's name, a dot, the end.
    pub name: String,
    /// Its shape, in PyTorch's layout.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
}

impl Parameter {
    /// A tensor called `end`, without the node's name.
    fn new(end: &str, shape: impl Into<Vec<usize>>, role: Role) -> Self {
        Self { name: end.to_owned(), shape: shape.into(), role }
    }
}

/// How many channels an input had and has.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Before.
    pub before: usize,
    /// Now.
    pub after: usize,
}

/// What every operation can say about itself. Channels are counted, sizes are [height, width] in
/// pixels.
pub trait Operation {
    /// How many nodes it reads.
    fn inputs(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// Its parameters, `weight` before `bias` before statistics; names without the node's.
    fn parameters(&self) -> Vec<Parameter> {
        Vec::new()
    }

    /// Output channels for inputs of `channels`.
    ///
    /// # Errors
    /// Inputs whose channels do not fit, sizes out of range.
    fn channels(&self, channels: &[usize]) -> Result<usize>;

    /// Output size for inputs of `sizes`, of which there is one at least.
    ///
    /// # Errors
    /// Inputs that do not fit.
    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        Ok(sizes[0])
    }

    /// Its text without name and inputs.
    fn text(&self) -> String;

    /// Ids of its output channels for those of its inputs; tells `walk` which tensors carry them.
    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize>;

    /// Adapts to inputs and an output of which only the channels marked true are left.
    fn keep(&mut self, inputs: &[&[bool]], output: &[bool]) {
        let _ = (inputs, output);
    }

    /// Adapts to parameters of the shapes that `shape(end)` gives, the first two dimensions, and to a
    /// first input whose channels, `before`, are now `after`.
    ///
    /// # Errors
    /// A parameter that is missing or has no dimension.
    fn resize(&mut self, shape: &dyn Fn(&str) -> Result<[usize; 2]>, input: Change) -> Result<()> {
        let _ = (shape, input);
        Ok(())
    }

    /// As a convolution, if it is one.
    fn as_conv(&self) -> Option<Conv> {
        None
    }

    /// Whether its result can be clamped as it is made: an activation behind it that clamps is fused with it.
    fn clamps(&self) -> bool {
        false
    }

    /// Whether it is a factor and a summand per channel, which readers can do for themselves.
    fn is_affine(&self) -> bool {
        false
    }

    /// Whether it can do the factor and the summand per channel before it for itself.
    fn takes_affine(&self) -> bool {
        false
    }

    /// Multiplications per picture for an output of `size`.
    fn multiplications(&self, size: [usize; 2]) -> u64 {
        let _ = size;
        0
    }
}

/// Calls the macro `each` with every operation, `each! { /// doc Name: "verb" | "verb", … }`: the one list there is.
/// [`Op`] is written down from it, and every executor finds its own file of an operation by it.
#[macro_export]
macro_rules! operations {
    ($each:ident) => {
        $each! {
            /// The picture.
            Input: "input",
            /// Convolution.
            Conv: "conv",
            /// Fully connected layer.
            Linear: "linear",
            /// Batch norm.
            BatchNorm: "bn",
            /// A factor and a summand per channel.
            ScaleShift: "scale",
            /// A function of each value alone.
            Activation: "relu" | "relu6" | "hardswish" | "silu" | "sigmoid" | "hardsigmoid",
            /// Largest value in each window.
            MaxPool: "max",
            /// Mean of each window.
            AvgPool: "avg",
            /// Mean over the picture.
            GlobalAvgPool: "gap",
            /// A fixed low-pass filter.
            Blur: "blur",
            /// Sum of two inputs.
            Add: "add",
            /// Product of two inputs.
            Mul: "mul",
            /// Channels of several inputs, one behind the other.
            Concat: "concat",
            /// A range of the channels.
            Split: "split",
            /// Channels of several groups in turns.
            Shuffle: "shuffle",
        }
    };
}

/// Writes down [`Op`] and the reader of its text.
macro_rules! define {
    ($($(#[$doc:meta])* $name:ident: $($verb:literal)|+,)*) => {
        /// An operation, with its settings.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        /// The first word of every operation's text.
        pub const VERBS: &[&str] = &[$($($verb),+),*];

        impl Op {
            /// What it says about itself.
            pub fn about(&self) -> &dyn Operation {
                match self {
                    $(Self::$name(op) => op,)*
                }
            }

            pub(crate) fn about_mut(&mut self) -> &mut dyn Operation {
                match self {
                    $(Self::$name(op) => op,)*
                }
            }

            /// The operation that `verb` and the words behind it mean; None for an unknown one.
            pub(crate) fn parse(verb: &str, words: &mut Words) -> Option<Result<Self>> {
                match verb {
                    $($($verb)|+ => Some($name::parse(verb, words).map(Self::$name)),)*
                    _ => None,
                }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*
    };
}

crate::operations!(define);

impl Op {
    /// As a convolution, if it is one; a linear layer is.
    pub fn as_conv(&self) -> Option<Conv> {
        self.about().as_conv()
    }
}

/// Checks a number of channels or groups.
fn in_range(n: usize) -> Result<()> {
    ensure!((1..=LIMIT).contains(&n), "{n} is not in 1..={LIMIT}");
    Ok(())
}

/// Checks that an input has the channels that are expected.
fn meets(expected: usize, found: usize) -> Result<()> {
    ensure!(expected == found, "expects {expected} channels, its input has {found}");
    Ok(())
}

/// How many are left.
fn kept(channels: &[bool]) -> usize {
    channels.iter().filter(|k| **k).count()
}
