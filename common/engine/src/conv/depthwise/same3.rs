//! 3×3, stride 1, padding 1: nearly every depthwise layer in use. Nine taps stay in registers; pixels side by side
//! share the columns they see. Each sum goes tap by tap in row order, beginning with the bias.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::simd::{dispatch, for_channels, load, mul_add, store};
use graph::Bounds;
use std::ops::Range;

/// Floats of the input rows that all channels of a band see before the next: 16 KiB, half of L1.
const BAND: usize = 4 * 1024;

/// Rows of the result of one picture `x` `[h, w, c]` with taps `[9, c]` → `y` `[rows, w, c]`, plus bias, clamped.
pub(super) fn same3(
    x: &[f32],
    taps: &[f32],
    finish: (&[f32], Bounds),
    y: &mut [f32],
    [h, w]: [usize; 2],
    rows: Range<usize>,
) {
    let c = finish.0.len();
    assert!(x.len() == h * w * c && y.len() == rows.len() * w * c && taps.len() == 9 * c, "shapes");
    assert!(rows.end <= h, "rows of the picture");
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: the CPU has AVX-512, and lengths were compared.
        return unsafe { avx512(x, taps, finish, y, [h, w], rows) };
    }
    any_set(x, taps, finish, y, [h, w], rows);
}

dispatch! {
    fn any_set(
        x: &[f32], taps: &[f32], finish: (&[f32], Bounds), y: &mut [f32], size: [usize; 2],
        rows: Range<usize>,
    ) = any_set_body
}

#[inline(always)]
fn any_set_body<const FMA: bool>(
    x: &[f32],
    taps: &[f32],
    (bias, bounds): (&[f32], Bounds),
    y: &mut [f32],
    [h, w]: [usize; 2],
    rows: Range<usize>,
) {
    let c = bias.len();
    let band = (BAND / (w * c)).max(1);
    for start in rows.clone().step_by(band) {
        let band = start..(start + band).min(rows.end);
        for_channels!(c, |c0, N| {
            let mut k = [[0.0f32; N]; 9];
            for (t, k) in k.iter_mut().enumerate() {
                *k = load(taps, t * c + c0);
            }
            let b = load::<N>(bias, c0);
            for oy in band.clone() {
                let lines = oy.saturating_sub(1)..(oy + 2).min(h);
                // Two pixels share two of their three columns.
                for ox in (0..w).step_by(2) {
                    let (mut p, mut q) = (b, b);
                    for iy in lines.clone() {
                        let t = (iy + 1 - oy) * 3;
                        let at = |ix: usize| load::<N>(x, (iy * w + ix) * c + c0);
                        let zero = [0.0; N];
                        let v = [
                            if ox > 0 { at(ox - 1) } else { zero },
                            at(ox),
                            if ox + 1 < w { at(ox + 1) } else { zero },
                            if ox + 2 < w { at(ox + 2) } else { zero },
                        ];
                        for j in 0..3 {
                            for i in 0..N {
                                p[i] = mul_add::<FMA>(v[j][i], k[t + j][i], p[i]);
                                q[i] = mul_add::<FMA>(v[j + 1][i], k[t + j][i], q[i]);
                            }
                        }
                    }
                    if bounds != Bounds::NONE {
                        (p, q) = (p.map(|v| bounds.clamp(v)), q.map(|v| bounds.clamp(v)));
                    }
                    let to = ((oy - rows.start) * w + ox) * c + c0;
                    store(y, to, p);
                    if ox + 1 < w {
                        store(y, to + c, q);
                    }
                }
            }
        });
    }
}

/// Pixels at a time: with their six columns and nine taps 19 registers of 32.
#[cfg(target_arch = "x86_64")]
const RUN: usize = 4;

/// # Safety
/// What [`same3`] asserts.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(
    x: &[f32],
    taps: &[f32],
    (bias, bounds): (&[f32], Bounds),
    y: &mut [f32],
    [h, w]: [usize; 2],
    rows: Range<usize>,
) {
    use std::arch::x86_64::_mm512_maskz_loadu_ps;
    let c = bias.len();
    let band = (BAND / (w * c)).max(1);
    for start in rows.clone().step_by(band) {
        for c0 in (0..c).step_by(16) {
            let mask = ((1u32 << (c - c0).min(16)) - 1) as u16;
            // SAFETY: channels beyond the last are masked; rows are of the picture.
            unsafe {
                let at = |s: &[f32], i: usize| _mm512_maskz_loadu_ps(mask, s.as_ptr().add(i + c0));
                let k = std::array::from_fn(|t| at(taps, t * c));
                let b = at(bias, 0);
                for oy in start..(start + band).min(rows.end) {
                    let lines = oy.saturating_sub(1)..(oy + 2).min(h);
                    let first = lines.start + 1 - oy;
                    let x = x.as_ptr().add(lines.start * w * c + c0);
                    let y = y.as_mut_ptr().add((oy - rows.start) * w * c + c0);
                    let line = Line { x, y, w, c, mask, first, lines: lines.len(), k, b, bounds };
                    let mut ox = 0;
                    while ox < w {
                        match w - ox {
                            _ if ox > 0 && ox + RUN < w => line.run::<RUN, false>(ox),
                            1 => line.run::<1, true>(ox),
                            2 => line.run::<2, true>(ox),
                            3 => line.run::<3, true>(ox),
                            _ => line.run::<RUN, true>(ox),
                        }
                        ox += RUN;
                    }
                }
            }
        }
    }
}

/// A line of the result, sixteen channels.
#[cfg(target_arch = "x86_64")]
struct Line {
    /// Of the first input line it sees.
    x: *const f32,
    y: *mut f32,
    w: usize,
    c: usize,
    mask: u16,
    /// The kernel row that falls on that line.
    first: usize,
    /// Input lines it sees.
    lines: usize,
    k: [std::arch::x86_64::__m512; 9],
    b: std::arch::x86_64::__m512,
    bounds: Bounds,
}

#[cfg(target_arch = "x86_64")]
impl Line {
    /// `N` pixels from `ox` on; without `EDGE`, with a pixel before and one behind.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(clippy::needless_range_loop)] // what is reached by numbers known here stays in registers
    unsafe fn run<const N: usize, const EDGE: bool>(&self, ox: usize) {
        use std::arch::x86_64::{
            _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps,
            _mm512_min_ps, _mm512_set1_ps, _mm512_setzero_ps,
        };
        let mut sums = [self.b; N];
        // SAFETY: pixels ox..ox + N are of the line, and those beside them where they are read.
        unsafe {
            for l in 0..self.lines {
                let k = &self.k[3 * (self.first + l)..][..3];
                let line = self.x.add(l * self.w * self.c);
                let mut v = [_mm512_setzero_ps(); 6];
                for j in 0..N + 2 {
                    // Column ox + j − 1.
                    if !EDGE || (ox + j > 0 && ox + j <= self.w) {
                        let at = line.wrapping_add((ox + j).wrapping_sub(1).wrapping_mul(self.c));
                        v[j] = _mm512_maskz_loadu_ps(self.mask, at);
                    }
                }
                for j in 0..3 {
                    for q in 0..N {
                        sums[q] = _mm512_fmadd_ps(v[q + j], k[j], sums[q]);
                    }
                }
            }
            let (lo, hi) = (_mm512_set1_ps(self.bounds.lo), _mm512_set1_ps(self.bounds.hi));
            for q in 0..N {
                if self.bounds != Bounds::NONE {
                    sums[q] = _mm512_min_ps(_mm512_max_ps(sums[q], lo), hi);
                }
                _mm512_mask_storeu_ps(self.y.add((ox + q) * self.c), self.mask, sums[q]);
            }
        }
    }
}
