//! How large a network may be.
//!
//! A graph is text, and anyone may have written it: in two thousand bytes a concatenation can be repeated
//! until its results need terabytes. Sizes are therefore multiplied without wrapping, and what is beyond
//! these limits is refused before memory is asked for. They are far above networks in use (ResNet-34 on
//! pictures of 4096 px has results of 2²⁸ numbers, VGG-16 2²⁷ parameters), and the same on every machine.

use crate::error::{Error, Result};
use std::fmt::Display;

/// Most numbers in one result of one picture, and in all parameters together: 1 GiB, so that bytes of a
/// buffer can be counted in 32 bits with a sign, as WebAssembly must.
pub const MAX_FLOATS: u64 = 1 << 28;

/// Most numbers in all results of one picture that are stored, as training stores them: 8 GiB.
pub const MAX_RESULTS: u64 = 1 << 31;

/// Most multiplications for one picture: a quarter of an hour at 20 billion a second.
pub const MAX_MULTIPLICATIONS: u64 = 1 << 44;

/// The product of `sizes`, if it is at most [`MAX_FLOATS`].
///
/// # Errors
/// A larger one, which is `what`.
pub(crate) fn floats(sizes: &[usize], what: impl Display) -> Result<usize> {
    let product = sizes.iter().try_fold(1u64, |product, n| product.checked_mul(*n as u64));
    let fitting = product.filter(|n| *n <= MAX_FLOATS).and_then(|n| usize::try_from(n).ok());
    fitting.ok_or_else(|| {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        Error::new(format!("{what} of {} numbers, at most {MAX_FLOATS} fit", sizes.join(" × ")))
    })
}
