//! Windows moved over pictures as kernels take them: with multipliers for every division, and by fours where channels
//! allow it; the twin of `slide.cuh`.

use crate::launch::{Arg, BLOCK, Kernels, Ptr, argument};
use candle_core::Result;
use graph::{Geometry, Window};

/// Most values of a result: kernels count in 31 bits.
pub(super) const MOST: usize = i32::MAX as usize;

/// Division by `d` as a multiplication: `n / d = (2 · n · m >> 32) >> s` for all n < 2³¹ (Granlund & Montgomery 1994,
/// "Division by invariant integers using multiplication", theorem 4.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Divisor {
    d: u32,
    m: u32,
    s: u32,
}

impl Divisor {
    /// `1 ≤ d < 2³¹`.
    pub(super) fn new(d: usize) -> Self {
        assert!((1..=MOST).contains(&d), "no size of a layer: {d}");
        let s = (d as u64).next_power_of_two().trailing_zeros();
        // At most 2³²: 2^s < 2 d, so 2^(31 + s) / d < 2³².
        let m = (1u64 << (31 + s)).div_ceil(d as u64);
        Self { d: d as u32, m: u32::try_from(m).expect("2^s is below 2 d"), s }
    }
}

/// A window moved over pictures; its fields are explained in `slide.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slide {
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    c: u32,
    k: u32,
    stride: u32,
    pad: u32,
    kind: u32,
    lanes: u32,
    by_c: Divisor,
    by_w: Divisor,
    by_h: Divisor,
    by_ow: Divisor,
    by_oh: Divisor,
    by_k: Divisor,
    by_stride: Divisor,
}

argument!(Divisor, Slide);

impl Slide {
    /// `g` over its input channels, by fours where they and all of `buffers` can be read so.
    pub(super) fn new(g: &Geometry, buffers: &[Ptr]) -> Self {
        let (Window { kernel, stride, .. }, [above, left]) = (g.window, g.before());
        assert_eq!(above, left, "a network's pictures are square");
        let (from, to) = ([g.height, g.width], [g.out_height(), g.out_width()]);
        Self::over(from, to, g.input, [kernel, stride, left], lanes(g.input, buffers))
    }

    /// Windows of `[kernel, stride, margin before a side]` at `to` positions over pictures of `from`, both
    /// `[height, width]`, of `c` channels, `lanes` a thread.
    pub(super) fn over(
        from: [usize; 2],
        to: [usize; 2],
        c: usize,
        window: [usize; 3],
        lanes: usize,
    ) -> Self {
        let [k, stride, pad] = window.map(|n| n as u32);
        let ([h, w], [oh, ow]) = (from.map(|n| n as u32), to.map(|n| n as u32));
        let kind = match (k, stride) {
            (3, 1) => 1,
            (3, 2) => 2,
            (2, 2) => 3,
            _ => 0,
        };
        let [by_h, by_w] = from.map(Divisor::new);
        let [by_oh, by_ow] = to.map(Divisor::new);
        let [by_c, by_k, by_stride] = [c / lanes, window[0], window[1]].map(Divisor::new);
        let (c, lanes) = (c as u32, lanes as u32);
        Self {
            h,
            w,
            oh,
            ow,
            c,
            k,
            stride,
            pad,
            kind,
            lanes,
            by_c,
            by_w,
            by_h,
            by_ow,
            by_oh,
            by_k,
            by_stride,
        }
    }

    /// The windows of one pixel that make the gradient of what these, of stride 1, read, of their results' gradients:
    /// taps mirrored, margins turned round (below none where they are wider than the window, which wraps as in kernels).
    pub(super) fn back(&self) -> Self {
        assert_eq!(self.stride, 1, "a stride leaves gaps on the way back");
        let Self { h, w, oh, ow, by_h, by_w, by_oh, by_ow, .. } = *self;
        let pad = (self.k - 1).wrapping_sub(self.pad);
        let (from, to) = ((oh, ow, by_oh, by_ow), (h, w, by_h, by_w));
        let ((h, w, by_h, by_w), (oh, ow, by_oh, by_ow)) = (from, to);
        Self { h, w, oh, ow, pad, by_h, by_w, by_oh, by_ow, ..*self }
    }

    /// The same with a channel a thread.
    pub(super) fn narrow(&self) -> Self {
        Self { lanes: 1, by_c: Divisor::new(self.c as usize), ..*self }
    }

    /// Channels of a thread.
    pub(super) fn lanes(&self) -> usize {
        self.lanes as usize
    }
}

/// Channels of a thread, 4 or 1, for rows of `c` at `buffers`.
pub(super) fn lanes(c: usize, buffers: &[Ptr]) -> usize {
    let fits = c.is_multiple_of(4) && buffers.iter().all(|p| p.0.is_multiple_of(16));
    if fits { 4 } else { 1 }
}

impl Kernels {
    /// A kernel with a thread for each four of `n` values, which begin at multiples of 16 bytes; its first argument is n.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn fours(&self, name: &'static str, n: usize, args: &[Arg]) -> Result<()> {
        assert!(n <= MOST, "{n} values: a pass begins with a batch that fits");
        let all: Vec<Arg> = std::iter::once(Arg::from(n)).chain(args.iter().copied()).collect();
        self.grid(name, [n.div_ceil(4 * BLOCK) as u32, 1, 1], BLOCK as u32, &all)
    }

    /// A kernel with a thread for each of `n`, which count in 32 bits; its first argument is n.
    ///
    /// # Errors
    /// A device that fails.
    pub(super) fn spread(&self, name: &'static str, n: usize, args: &[Arg]) -> Result<()> {
        assert!(n <= MOST, "{n} values: a pass begins with a batch that fits");
        let all: Vec<Arg> = std::iter::once(Arg::from(n)).chain(args.iter().copied()).collect();
        self.grid(name, [n.div_ceil(BLOCK) as u32, 1, 1], BLOCK as u32, &all)
    }
}

#[cfg(test)]
mod tests {
    use super::{Divisor, MOST};

    /// As `divide` in slide.cuh.
    fn divide(n: u32, by: Divisor) -> u32 {
        ((u64::from(n + n) * u64::from(by.m)) >> 32) as u32 >> by.s
    }

    #[test]
    fn multiplying_divides() {
        let most = MOST as u32;
        let small = 1..=3000u32;
        let near_powers = (1..31u32).flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1]);
        let mut large = 1u32;
        let scattered = (0..2000).map(move |_| {
            large = large.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (large >> 1).max(1)
        });
        for d in small.chain(near_powers).chain(scattered).chain([most]) {
            let by = Divisor::new(d as usize);
            // Where quotients change is where an inexact multiplier shows first: at multiples, the last above all.
            let last = most / d;
            let multiples =
                (0..200).chain(last.saturating_sub(200)..=last).chain((1..64).map(|k| last / k));
            for q in multiples {
                let n = u64::from(q) * u64::from(d);
                for n in [n.saturating_sub(1), n, n + 1, n + u64::from(d) - 1] {
                    let n = n.min(u64::from(most)) as u32;
                    assert_eq!(divide(n, by), n / d, "{n} / {d}");
                }
            }
        }
    }
}
