//! Cutting work into pieces. Sums are cut by shapes alone; what the number of threads may decide is which thread makes
//! which whole results.

mod pieces;
#[cfg(feature = "threads")]
mod team;

use prelude::*;
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// Cutting into pieces.
pub(crate) mod prelude {
    pub(crate) use super::pieces::{Cut, IntoPieces, Pieces};
}

thread_local! {
    /// Whether this thread does its tasks itself.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with all its tasks on this thread.
pub(crate) fn alone<R>(f: impl FnOnce() -> R) -> R {
    /// Sets it back, also with a panic.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _back = Back(ALONE.replace(true));
    f()
}

/// Runs `f`, whose tasks are short and many, with threads that wait for them without sleeping.
#[cfg(feature = "threads")]
pub fn together<R>(f: impl FnOnce() -> R) -> R {
    if threads() == 1 || ALONE.get() { alone(f) } else { team::lead(f) }
}

/// Runs `f`.
#[cfg(not(feature = "threads"))]
pub fn together<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Runs `f` on one of the threads that share the work. From any other thread every hand-over of work waits for one of
/// these to wake and then for itself to be woken: answers to two pictures of 64 px took a quarter longer.
#[cfg(feature = "threads")]
pub(crate) fn within<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    if threads() == 1 { alone(f) } else { rayon::scope(|_| f()) }
}

/// Runs `f`.
#[cfg(not(feature = "threads"))]
pub(crate) fn within<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Threads that share the work.
pub(crate) fn threads() -> usize {
    #[cfg(feature = "threads")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "threads"))]
    1
}

/// Calls `task` with every number below `count`, on whichever threads share the work.
fn tasks(count: usize, task: &(dyn Fn(usize) + Sync)) {
    #[cfg(feature = "threads")]
    if count > 1 && !ALONE.get() {
        if team::leads() {
            team::run(count, task);
        } else {
            rayon::iter::ParallelIterator::for_each(
                rayon::iter::IntoParallelIterator::into_par_iter(0..count),
                task,
            );
        }
        return;
    }
    for i in 0..count {
        task(i);
    }
}

/// Floats per task of elementwise work, and in a block of rows: 64 KiB, so that a block of input and
/// one of output stay in L2.
pub(crate) const BLOCK: usize = 16 * 1024;

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

/// Pictures cut into bands of rows.
#[derive(Clone, Copy)]
pub(crate) struct Bands {
    rows: usize,
    band: usize,
}

impl Bands {
    /// Of pictures of `rows` rows, at most `band` of them in one, one at least.
    pub(crate) fn new(rows: usize, band: usize) -> Self {
        Self { rows, band: band.clamp(1, rows.max(1)) }
    }

    /// Floats of the bands of `pictures`, of rows of `row` floats.
    pub(crate) fn lengths(self, pictures: usize, row: usize) -> impl Iterator<Item = usize> {
        (0..pictures * self.of_a_picture()).map(move |i| self.place(i).1.len() * row)
    }

    /// Picture and rows of band `i`.
    pub(crate) fn place(self, i: usize) -> (usize, Range<usize>) {
        let first = i % self.of_a_picture() * self.band;
        (i / self.of_a_picture(), first..(first + self.band).min(self.rows))
    }

    fn of_a_picture(self) -> usize {
        self.rows.div_ceil(self.band)
    }
}

/// [`fill`] with pieces of `block`, the last one shorter.
pub(crate) fn fill_blocks(out: &mut [f32], block: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    out.par_chunks_mut(block.max(1)).enumerate().for_each(|(i, piece)| body(i, piece));
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

/// [`with_scratch`] from the start of a cache line on: a vector that lies in two takes twice as long.
pub(crate) fn with_aligned<R>(n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    with_scratch(n + LINE / size_of::<f32>(), |buffer| {
        let skipped = buffer.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>());
        f(&mut buffer[skipped..skipped + n])
    })
}

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// A result that tasks write to in places of their own.
pub(crate) struct Shared(pub(crate) *mut f32);
// SAFETY: every task writes other elements; where they are written it is said why.
unsafe impl Sync for Shared {}
