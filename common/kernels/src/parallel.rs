//! Cutting work into blocks that depend on shapes alone, never on the number of threads.

use rayon::prelude::*;

/// Floats in a block of rows: 64 KiB, so that a block of input and one of output stay in L2.
const BLOCK: usize = 16 * 1024;

/// Rows of `channels` floats in one block.
pub fn block_rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).max(1)
}

/// Keeps candle from starting threads of its own, unless the user asked for them.
///
/// candle adds gradients up on a pool of threads that spin while they wait (candle-core 0.11.1,
/// `utils.rs`, `BarrierPool`); next to the threads that run the kernels here they only take cores
/// away: a third of the processor time of a training step on two cores.
///
/// # Safety
/// To be called first thing in `main`, before any other thread exists.
pub unsafe fn one_candle_thread() {
    const NAME: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: the caller's promise: no other thread can be reading the environment.
        unsafe { std::env::set_var(NAME, "1") };
    }
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

/// A vector made of pieces of the given lengths, each filled by `body(piece, values)` on some thread.
///
/// `values` start as zeros, written by the thread that works on them: a vector zeroed as a whole
/// would be written once more, by one thread, and be out of cache when it is needed.
pub(crate) fn collect(
    lengths: impl Iterator<Item = usize>,
    body: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let lengths: Vec<usize> = lengths.collect();
    let total = lengths.iter().sum();
    let mut out: Vec<f32> = Vec::with_capacity(total);
    let mut rest = &mut out.spare_capacity_mut()[..total];
    let mut pieces = Vec::with_capacity(lengths.len());
    for n in lengths {
        let (piece, tail) = rest.split_at_mut(n);
        pieces.push(piece);
        rest = tail;
    }
    pieces.into_par_iter().enumerate().for_each(|(i, piece)| {
        for v in piece.iter_mut() {
            v.write(0.0);
        }
        // SAFETY: every value of the piece was written just above.
        body(i, unsafe { piece.assume_init_mut() });
    });
    // SAFETY: the pieces cover `total` values, all written.
    unsafe { out.set_len(total) };
    out
}

/// [`collect`] with `total` values in pieces of `block`, the last one shorter.
pub(crate) fn collect_blocks(
    total: usize,
    block: usize,
    body: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let block = block.max(1);
    collect((0..total).step_by(block).map(|start| block.min(total - start)), body)
}
