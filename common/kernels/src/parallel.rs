//! Cutting work into blocks that depend on shapes alone, never on the number of threads.

use rayon::prelude::*;
use std::cell::RefCell;

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
    with_scratch(blocks * width, |partials| {
        partials.par_chunks_mut(width.max(1)).enumerate().for_each(|(i, partial)| {
            partial.fill(0.0);
            let start = i * rows_per_block;
            body(start..(start + rows_per_block).min(rows), partial);
        });
        add_up(partials, width)
    })
}

/// The sum of `partials`, `width` floats each, in their order.
pub(crate) fn add_up(partials: &[f32], width: usize) -> Vec<f64> {
    let mut total = vec![0.0f64; width];
    for partial in partials.chunks_exact(width.max(1)) {
        for (t, p) in total.iter_mut().zip(partial) {
            *t += f64::from(*p);
        }
    }
    total
}

/// Calls `body(piece, values)` on some thread for consecutive pieces of `out` of the given lengths,
/// which hold whatever they held before.
pub(crate) fn fill(
    out: &mut [f32],
    lengths: impl Iterator<Item = usize>,
    body: impl Fn(usize, &mut [f32]) + Sync,
) {
    let mut rest = out;
    let mut pieces = Vec::new();
    for n in lengths {
        let (piece, tail) = rest.split_at_mut(n);
        pieces.push(piece);
        rest = tail;
    }
    pieces.into_par_iter().enumerate().for_each(|(i, piece)| body(i, piece));
}

/// [`fill`] with pieces of `block`, the last one shorter.
pub(crate) fn fill_blocks(out: &mut [f32], block: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut(block.max(1)).enumerate().for_each(|(i, piece)| body(i, piece));
}

/// A vector of `total` values from [`fill_blocks`]; `body` finds zeros.
pub(crate) fn collect_blocks(
    total: usize,
    block: usize,
    body: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; total];
    fill_blocks(&mut out, block, body);
    out
}

thread_local! {
    /// Buffers this thread has used before.
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `n` floats of any value, from a buffer that this thread keeps.
pub(crate) fn with_scratch<R>(n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out, not borrowed: while `f` waits for other threads, this one may start on other work.
    let mut buffer = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    let result = f(&mut buffer[..n]);
    SCRATCH.with_borrow_mut(|free| free.push(buffer));
    result
}
