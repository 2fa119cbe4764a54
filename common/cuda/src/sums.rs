//! Sums in an order that shapes alone decide: parts, each a block's, and then the parts; the twin of `sums.cuh`.

use crate::launch::{Arg, Ptr, args, argument};
use crate::slide::{Divisor, lanes};
use crate::values::Engine;
use candle_core::Result;
use graph::Bounds;

/// Threads of a block, of depthwise kernels, too.
pub(super) const THREADS: usize = 256;

/// Blocks that a large sum is cut into: about eight for each of an H100's 132 multiprocessors. What a GPU has is not asked,
/// so that all cut alike.
const BLOCKS: usize = 1024;

/// Fewest rows of a thread.
const LEAST: usize = 4;

/// Results of a block of kernels that add up parts.
const RESULTS: usize = 8;

/// How rows of channels are cut into blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    rows: u32,
    chunk: u32,
    c: u32,
    log: u32,
    lanes: u32,
}

/// What the parts of a layer's statistics are of; see `op/batch_norm.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    tiles: u32,
    chunk: u32,
    width: u32,
    by_line: Divisor,
}

/// Logarithm of how many neighbouring threads have neighbouring columns of `c` channels, `lanes` a thread, and blocks
/// over all columns.
pub(super) fn columns(c: usize, lanes: usize) -> (u32, usize) {
    let columns = c / lanes;
    let log = columns.next_power_of_two().trailing_zeros().min(5);
    (log, columns.div_ceil(1 << log))
}

/// Rows of a block, of `rows` that its 256 threads take `1 << log` a row, where there are `wide` blocks beside it.
pub(super) fn chunk(rows: usize, log: u32, wide: usize) -> usize {
    let together = THREADS >> log;
    let high = (BLOCKS / wide).max(1);
    rows.div_ceil(together * high).max(LEAST) * together
}

argument!(Cut, Parts);

impl Cut {
    /// `rows` of `c` channels in `buffers`.
    pub(super) fn new([rows, c]: [usize; 2], buffers: &[Ptr]) -> Self {
        let lanes = lanes(c, buffers);
        let (log, wide) = columns(c, lanes);
        Self::every(chunk(rows, log, wide), [rows, c], lanes)
    }

    /// `chunk` rows each, of `rows` of `c` channels, `lanes` a thread.
    pub(super) fn every(chunk: usize, [rows, c]: [usize; 2], lanes: usize) -> Self {
        let (log, _) = columns(c, lanes);
        let [rows, chunk, c, lanes] = [rows, chunk, c, lanes].map(|n| n as u32);
        Self { rows, chunk, c, log, lanes }
    }

    /// Blocks over channels, and parts of the rows.
    pub(super) fn grid(&self) -> [usize; 2] {
        let (_, wide) = columns(self.c as usize, self.lanes as usize);
        [wide, self.rows.div_ceil(self.chunk).max(1) as usize]
    }

    /// The parts of statistics over these rows.
    pub(super) fn parts(&self) -> Parts {
        Parts::new(self.rows as usize, self.chunk as usize, 1)
    }
}

impl Parts {
    /// Parts of `chunk` tiles each, of `tiles`, of lines of `width` values, four a tile.
    pub(super) fn new(tiles: usize, chunk: usize, width: usize) -> Self {
        let by_line = Divisor::new(width.div_ceil(4));
        let [tiles, chunk, width] = [tiles, chunk, width].map(|n| n as u32);
        Self { tiles, chunk, width, by_line }
    }
}

impl Engine {
    /// A kernel of blocks over channels and parts of rows, `deep` times; its first argument is how they are cut.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn columns(
        &self,
        name: &'static str,
        cut: Cut,
        deep: usize,
        args: &[Arg],
    ) -> Result<()> {
        let [wide, high] = cut.grid();
        let all = [&[Arg::from(cut)], args].concat();
        self.kernels.grid(name, [wide, high, deep].map(|n| n as u32), THREADS as u32, &all)
    }

    /// A kernel that adds up `parts` of `n` results, which are its first arguments.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn combine(
        &self,
        name: &'static str,
        n: usize,
        parts: usize,
        args: &[Arg],
    ) -> Result<()> {
        let all = [&[Arg::from(n), parts.into()], args].concat();
        self.kernels.grid(name, [n.div_ceil(RESULTS) as u32, 1, 1], THREADS as u32, &all)
    }

    /// `out[j] = Σ grad[row · c + j]`, `j < c`, of the gradient where the result y is inside its bounds, which is what
    /// becomes of the gradient.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn masked_sums(
        &mut self,
        [rows, c]: [usize; 2],
        (y, bounds): (Ptr, Bounds),
        grad: Ptr,
        out: Ptr,
    ) -> Result<()> {
        let cut = Cut::new([rows, c], &[y, grad]);
        let [_, parts] = cut.grid();
        let partials = self.memory.take(parts * c)?;
        if bounds == Bounds::NONE {
            self.columns("column_partials", cut, 1, args![grad, 1.0f32, partials.at])?;
        } else {
            let all = args![y, bounds.lo, bounds.hi, grad, partials.at];
            self.columns("masked_partials", cut, 1, all)?;
        }
        self.sum(c, parts, c, partials.at, out)?;
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
        self.combine("sum_partials", n, parts, args![stride, from, out])
    }

    /// `out[i, j]` = Σ over the rows of picture i of `x[·, j]`, or of `x[·, j] · y[·, j]`, times `factor` where there is
    /// no y; `x` `[pictures, rows, c]`.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn picture_sums(
        &self,
        [pictures, rows, c]: [usize; 3],
        [x, y, out]: [Ptr; 3],
        factor: f32,
    ) -> Result<()> {
        // A picture is a part; grids are no higher.
        const MOST: usize = 65535;
        for first in (0..pictures).step_by(MOST) {
            let n = MOST.min(pictures - first);
            let [a, b] = [x, y].map(|p| p.at(first * rows * c));
            let to = out.at(first * c);
            let cut = Cut::every(rows, [n * rows, c], lanes(c, &[a, b]));
            if y == Ptr::NULL {
                self.columns("column_partials", cut, 1, args![a, factor, to])?;
            } else {
                self.columns("product_partials", cut, 1, args![a, b, to])?;
            }
        }
        Ok(())
    }
}
