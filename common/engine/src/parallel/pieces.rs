//! Slices cut into pieces, several slices side by side, a piece of each per task. The names are rayon's; who runs the
//! tasks is decided by [`super::tasks`].

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;

/// Pieces by number.
///
/// # Safety
/// Different numbers give pieces that may be used from different threads at the same time.
pub(crate) unsafe trait Pieces: Sized + Sync {
    /// A piece.
    type Item;

    /// How many there are.
    fn count(&self) -> usize;

    /// Piece `i`.
    ///
    /// # Safety
    /// `i` is below [`Pieces::count`], and each is asked for once.
    unsafe fn piece(&self, i: usize) -> Self::Item;

    /// Pairs of pieces, as many as both have.
    fn zip<B: Pieces>(self, other: B) -> Zip<Self, B> {
        Zip(self, other)
    }

    /// Pieces with their numbers.
    fn enumerate(self) -> Enumerate<Self> {
        Enumerate(self)
    }

    /// Calls `f` with every piece, on whichever threads share the work.
    fn for_each(self, f: impl Fn(Self::Item) + Sync) {
        // SAFETY: every number below the count is given once.
        super::tasks(self.count(), &|i| f(unsafe { self.piece(i) }));
    }

    /// Calls `f` with every piece, one after the other.
    fn in_order(self, mut f: impl FnMut(Self::Item)) {
        for i in 0..self.count() {
            // SAFETY: as above.
            f(unsafe { self.piece(i) });
        }
    }
}

/// Of a slice.
pub(crate) struct Chunks<'a, T>(&'a [T], usize);

// SAFETY: shared slices may be read from anywhere.
unsafe impl<'a, T: Sync> Pieces for Chunks<'a, T> {
    type Item = &'a [T];

    fn count(&self) -> usize {
        self.0.len().div_ceil(self.1)
    }

    unsafe fn piece(&self, i: usize) -> &'a [T] {
        &self.0[i * self.1..((i + 1) * self.1).min(self.0.len())]
    }
}

/// Of a slice that is written to.
pub(crate) struct ChunksMut<'a, T> {
    first: *mut T,
    len: usize,
    size: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out pieces that do not overlap, each once.
unsafe impl<T: Send> Sync for ChunksMut<'_, T> {}

// SAFETY: pieces do not overlap.
unsafe impl<'a, T: Send> Pieces for ChunksMut<'a, T> {
    type Item = &'a mut [T];

    fn count(&self) -> usize {
        self.len.div_ceil(self.size)
    }

    unsafe fn piece(&self, i: usize) -> &'a mut [T] {
        let start = i * self.size;
        let n = self.size.min(self.len - start);
        // SAFETY: start + n ≤ len; no other number gives any of these.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), n) }
    }
}

/// See [`Pieces::zip`].
pub(crate) struct Zip<A, B>(A, B);

// SAFETY: as its parts.
unsafe impl<A: Pieces, B: Pieces> Pieces for Zip<A, B> {
    type Item = (A::Item, B::Item);

    fn count(&self) -> usize {
        self.0.count().min(self.1.count())
    }

    unsafe fn piece(&self, i: usize) -> Self::Item {
        // SAFETY: as for this one.
        unsafe { (self.0.piece(i), self.1.piece(i)) }
    }
}

/// See [`Pieces::enumerate`].
pub(crate) struct Enumerate<A>(A);

// SAFETY: as its part.
unsafe impl<A: Pieces> Pieces for Enumerate<A> {
    type Item = (usize, A::Item);

    fn count(&self) -> usize {
        self.0.count()
    }

    unsafe fn piece(&self, i: usize) -> Self::Item {
        // SAFETY: as for this one.
        (i, unsafe { self.0.piece(i) })
    }
}

/// Numbers.
pub(crate) struct Numbers(Range<usize>);

// SAFETY: numbers may be used anywhere.
unsafe impl Pieces for Numbers {
    type Item = usize;

    fn count(&self) -> usize {
        self.0.len()
    }

    unsafe fn piece(&self, i: usize) -> usize {
        self.0.start + i
    }
}

/// What a vector holds, each handed out once.
pub(crate) struct Items<T>(Vec<UnsafeCell<Option<T>>>);

// SAFETY: each item is handed out once, to one thread.
unsafe impl<T: Send> Sync for Items<T> {}

// SAFETY: as above.
unsafe impl<T: Send> Pieces for Items<T> {
    type Item = T;

    fn count(&self) -> usize {
        self.0.len()
    }

    unsafe fn piece(&self, i: usize) -> T {
        // SAFETY: nobody else asks for this one.
        let item = unsafe { (*self.0[i].get()).take() };
        item.expect("a piece is asked for once")
    }
}

/// Cuts slices into pieces of `n`, the last one shorter.
pub(crate) trait Cut<T> {
    fn par_chunks(&self, n: usize) -> Chunks<'_, T>;
    fn par_chunks_mut(&mut self, n: usize) -> ChunksMut<'_, T>;
}

impl<T> Cut<T> for [T] {
    fn par_chunks(&self, n: usize) -> Chunks<'_, T> {
        assert!(n > 0, "pieces of nothing");
        Chunks(self, n)
    }

    fn par_chunks_mut(&mut self, n: usize) -> ChunksMut<'_, T> {
        assert!(n > 0, "pieces of nothing");
        ChunksMut { first: self.as_mut_ptr(), len: self.len(), size: n, slice: PhantomData }
    }
}

/// Into pieces.
pub(crate) trait IntoPieces {
    type Pieces: Pieces;
    fn into_par_iter(self) -> Self::Pieces;
}

impl<T: Send> IntoPieces for Vec<T> {
    type Pieces = Items<T>;

    fn into_par_iter(self) -> Items<T> {
        Items(self.into_iter().map(|v| UnsafeCell::new(Some(v))).collect())
    }
}

impl IntoPieces for Range<usize> {
    type Pieces = Numbers;

    fn into_par_iter(self) -> Numbers {
        Numbers(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{alone, together};
    use super::*;

    /// Three slices side by side and a vector.
    fn sums() -> Vec<u32> {
        let (mut y, x) = (vec![0u32; 103], (0..103).collect::<Vec<u32>>());
        let items: Vec<u32> = (0..11).map(|i| 1000 * i).collect();
        let pieces = y.par_chunks_mut(10).zip(x.par_chunks(10)).zip(items.into_par_iter());
        pieces.enumerate().for_each(|(i, ((y, x), item))| {
            for (y, x) in y.iter_mut().zip(x) {
                *y += x + item + 100_000 * i as u32;
            }
        });
        y
    }

    fn expected() -> Vec<u32> {
        (0..103).map(|i| i + 101_000 * (i / 10)).collect()
    }

    /// By rayon, by this thread, and by teams, of which several threads want to lead one.
    #[test]
    fn every_piece_is_seen_once() {
        assert_eq!(sums(), expected());
        assert_eq!(alone(sums), expected());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..200).for_each(|_| assert_eq!(together(sums), expected())));
            }
        });
        assert_eq!(together(|| alone(sums)), expected());
    }

    /// A task that panics is not lost, and does no harm to the next job.
    #[test]
    fn a_panic_is_the_callers() {
        let bad = |i| assert!(i != 7 && i != 3, "planted");
        for _ in 0..20 {
            let job = || together(|| (0..11).into_par_iter().for_each(bad));
            assert!(std::panic::catch_unwind(job).is_err());
            assert_eq!(together(sums), expected());
        }
    }
}
