//! What candle's tensors do for each operation, one file per operation. candle's autograd goes back; where its own
//! operation is wrong or very slow (candle-core 0.11.1), the file has a custom one with a gradient of its own.

// A new operation or activation is to be asked about, not to be taken for another.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod activation;
mod add;
pub mod avg_pool;
pub mod batch_norm;
mod blur;
mod concat;
pub mod conv;
pub mod global_avg_pool;
mod input;
mod linear;
pub mod max_pool;
mod mul;
mod scale_shift;
mod shuffle;
mod split;

use candle_core::{Result, Tensor, bail};
use graph::{Node, Op};
use std::collections::BTreeMap;

/// Parameters by name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// How batch norm normalizes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistics {
    /// By those of the batch.
    Batch,
    /// By stored ones.
    Stored,
}

/// Mean and unbiased variance of a batch, `[c]` each.
pub(crate) type BatchStats = [Tensor; 2];

/// An operation, in tensors.
pub(crate) trait Run {
    /// What it makes of `inputs`, `[b, h, w, c]` each, at the node of `site`.
    ///
    /// # Errors
    /// What candle says.
    fn run(&self, site: &mut Site, inputs: &[Tensor]) -> Result<Tensor>;
}

/// Where an operation stands, and what belongs to it.
pub(crate) struct Site<'a> {
    pub(crate) node: &'a Node,
    pub(crate) parameters: &'a Tensors,
    /// `[b, size, size, 3]`
    pub(crate) pictures: &'a Tensor,
    pub(crate) statistics: Statistics,
    /// Statistics of the batch that were found so far, by the node's name.
    pub(crate) found: &'a mut BTreeMap<String, BatchStats>,
}

impl<'a> Site<'a> {
    /// The parameter of the node whose name ends in `end`.
    pub(crate) fn parameter(&self, end: &str) -> Result<&'a Tensor> {
        let name = format!("{}.{end}", self.node.name);
        match self.parameters.get(&name) {
            Some(t) => Ok(t),
            None => bail!("tensor {name} is missing"),
        }
    }
}

/// Writes down [`run`] from the list of operations.
macro_rules! runs {
    ($($(#[$doc:meta])* $name:ident: $($verb:literal)|+,)*) => {
        /// What stands for `op` here.
        pub(crate) fn run(op: &Op) -> &dyn Run {
            match op {
                $(Op::$name(op) => op,)*
            }
        }
    };
}

graph::operations!(runs);
