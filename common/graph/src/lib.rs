//! Networks as data: what they are made of, how large they are, what belongs together in them.
//!
//! Nothing here computes with activations or touches files, and nothing outside the standard library
//! is used: everything else in the house stands on this crate.
//!
//! | module | what it is |
//! |---|---|
//! | [`mod@array`] | a dense f32 tensor outside any framework |
//! | [`rng`] | randomness as a function of (seed, purpose, index) |
//! | [`op`] | the operations, one file each |
//! | [`limits`] | how large a network may be |
//! | [`network`] | [`Graph`]: operations in an order in which they can run |
//! | [`text`] | graphs as text, as artifacts store them |
//! | [`families`] | known architectures, each a table of widths |
//! | [`init`] | fresh weights |
//! | [`channels`] | channels that must go together, and networks without them |
//! | [`fold`] | batch norm folded into the convolution before it, and back |
//! | `head` | last layers that are one linear map, joined, and back |
//! | [`rewrite`] | a node rewritten as two of lower rank |
//! | [`grid`] | the values that quantized weights may have |
//! | [`layout`] | all parameters in one flat buffer |
//! | [`geometry`] | a window moved over pictures: sizes |
//! | [`schedule`] | a graph as fused operations with the lifetimes of their results |

// A new operation or activation is to be asked about, not to be taken for another.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod array;
pub mod channels;
mod error;
pub mod families;
pub mod fold;
pub mod geometry;
pub mod grid;
mod head;
pub mod init;
pub mod layout;
pub mod limits;
pub mod network;
pub mod op;
pub mod rewrite;
pub mod rng;
pub mod schedule;
pub mod text;

pub use array::Array;
pub use error::{Error, Result};
pub use geometry::Geometry;
pub use layout::{Layout, Slot};
pub use network::{Builder, Graph, Node, Shape, Weights};
pub use op::{Bounds, Margin, Op, Parameter, Role, Window};
