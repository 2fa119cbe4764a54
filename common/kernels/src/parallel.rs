//! Cutting work into blocks that depend on shapes alone, never on the number of threads.

use rayon::prelude::*;

/// Floats in a block of rows: 64 KiB, so that a block of input and one of output stay in L2.
const BLOCK: usize = 16 * 1024;

/// Rows of `channels` floats in one block.
pub fn block_rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).max(1)
}

/// Sums over blocks of rows: `body(block, partial)` fills a zeroed partial sum of `width` floats
/// for each block of `rows`; the partials are added in block order, in f64.
pub fn sum_blocks(
    rows: usize,
    rows_per_block: usize,
    width: usize,
    body: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync,
) -> Vec<f64> {
    let blocks = rows.div_ceil(rows_per_block);
    let mut partials = vec![0.0f32; blocks * width];
    partials.par_chunks_mut(width.max(1)).enumerate().for_each(|(i, partial)| {
        let start = i * rows_per_block;
        body(start..(start + rows_per_block).min(rows), partial);
    });
    let mut total = vec![0.0f64; width];
    for partial in partials.chunks_exact(width.max(1)) {
        for (t, p) in total.iter_mut().zip(partial) {
            *t += f64::from(*p);
        }
    }
    total
}

/// A pointer that may cross threads. Whoever uses it writes disjoint ranges.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut(*mut f32);
// SAFETY: only a capability to form slices; `slice` states the obligation.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    pub(crate) fn new(s: &mut [f32]) -> Self {
        Self(s.as_mut_ptr())
    }

    /// # Safety
    /// `at..at + len` lies inside the slice this was made from, which outlives the result, and no
    /// other live slice overlaps it.
    pub(crate) unsafe fn slice<'a>(self, at: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}
