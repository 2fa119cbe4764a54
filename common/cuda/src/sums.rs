//! Sums in an order that shapes alone decide: parts, each one thread's, and then the parts.

use crate::launch::{Arg, Ptr, args};
use crate::values::Engine;
use candle_core::Result;

/// Fewest rows of a part of a sum, and most parts.
const ROWS: usize = 32;
const PARTS: usize = 256;

/// Threads of a block where each has a channel.
pub(super) const CHANNELS: usize = 32;

/// Blocks over channels.
pub(super) fn blocks(channels: usize) -> u32 {
    channels.div_ceil(CHANNELS) as u32
}

/// Rows of a part, and parts, of a sum over `rows`.
pub(super) fn parts(rows: usize) -> (usize, usize) {
    let chunk = rows.div_ceil(PARTS).max(ROWS);
    (chunk, rows.div_ceil(chunk).max(1))
}

impl Engine {
    /// A kernel with a thread for each of `c` channels and each part of `rows`; its first arguments are the
    /// rows, those of a part, and c.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn columns(
        &self,
        name: &'static str,
        [rows, c]: [usize; 2],
        args: &[Arg],
    ) -> Result<()> {
        let (chunk, chunks) = parts(rows);
        let sizes = [Arg::L(rows as u64), Arg::L(chunk as u64), c.into()];
        let all = [&sizes[..], args].concat();
        self.kernels.grid(name, [blocks(c), chunks as u32, 1], CHANNELS as u32, &all)
    }

    /// `out[j] = Σ x[row · c + j]`, `j < c`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn column_sums(&mut self, [rows, c]: [usize; 2], x: Ptr, out: Ptr) -> Result<()> {
        let (_, chunks) = parts(rows);
        let partials = self.memory.take(chunks * c)?;
        self.columns("column_partials", [rows, c], args![x, partials.at])?;
        self.sum(c, chunks, c, partials.at, out)?;
        self.memory.give(partials);
        Ok(())
    }

    /// `out[i] = Σ parts[k · stride + i]`, `i < n`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn sum(
        &self,
        n: usize,
        parts: usize,
        stride: usize,
        from: Ptr,
        out: Ptr,
    ) -> Result<()> {
        let stride = Arg::L(stride as u64);
        self.kernels.each("sum_partials", n, &[parts.into(), stride, from.into(), out.into()])
    }
}
