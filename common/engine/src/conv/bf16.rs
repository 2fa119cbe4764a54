//! Matrix products of bf16 with sums in f32: a register kernel that multiplies two pairs of numbers at a time, twice
//! as many per instruction as in f32 ([`super::kernel`]).
//!
//! Both factors hold pairs of neighbours along the inner dimension ([`pairs`]). A step of a sum takes such a pair of
//! either factor as VDPBF16PS does (Intel, Software Developer's Manual, volume 2): the second product is added to
//! the sum, then the first, each by a fused multiply-add that rounds to nearest even and takes and leaves zeros for
//! subnormal numbers. Where there is no such instruction the same steps are made one by one, with the same bits (but
//! for what a NaN carries). AMX has products of bf16 as well; they add up in another order and are not used.
//!
//! Sums run over the inner dimension in its order, whatever the grouping of rows, as those of [`super::kernel`].

mod pairs;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
use super::kernel::Places;
use super::kernel::{Finish, PANEL, ROWS, groups};
use crate::simd::dispatch;
#[cfg(target_arch = "x86_64")]
use crate::simd::multiplies_bf16;
use pairs::unpair;
pub(super) use pairs::{
    aligned, aligned_mut, by_columns, by_rows, pack, packed, packed_floats, with_pairs,
};

/// Rows of a left factor: pair `i` of row `r` at `values[starts[r] + i * col]`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [u32],
    /// At most [`ROWS`].
    pub(super) count: usize,
    pub(super) starts: [usize; ROWS],
    pub(super) col: usize,
}

/// A left factor: pair `i` of row `r` at `values[r * row + i * col]`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [u32],
    pub(super) rows: usize,
    /// Of a row.
    pub(super) pairs: usize,
    pub(super) row: usize,
    pub(super) col: usize,
}

/// `out = finish(a · b)` for `b` `[.., columns]` in panels ([`pack`]), where rows of `out` lie `stride` floats apart.
pub(super) fn multiply(
    out: &mut [f32],
    (stride, columns): (usize, usize),
    a: Left,
    panels: &[u32],
    finish: Finish,
) {
    assert_eq!(panels.len(), packed(2 * a.pairs, columns), "inner dimensions");
    for p in 0..columns.div_ceil(PANEL) {
        let (first, width) = (p * PANEL, PANEL.min(columns - p * PANEL));
        let finish = finish.columns(first..first + width);
        let panel = &panels[p * a.pairs * PANEL..][..a.pairs * PANEL];
        for group in groups(a.rows, ROWS) {
            let starts = std::array::from_fn(|r| (group.start + r).min(group.end - 1) * a.row);
            let rows = Rows { values: a.values, count: group.len(), starts, col: a.col };
            let out = &mut out[group.start * stride + first..];
            product(rows, (panel, width), finish, out, stride);
        }
    }
}

/// `out[r, c] = finish(Σ rows[r, i] · panel[i, c])` over all pairs `i` of a panel `[pairs, 32]`, of which the first
/// `width` columns count; rows of `out` lie `stride` floats apart.
pub(super) fn product(
    rows: Rows,
    (panel, width): (&[u32], usize),
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    assert!((1..=ROWS).contains(&rows.count) && (1..=PANEL).contains(&width), "a tile");
    assert_eq!(panel.len() % PANEL, 0, "whole lines");
    let n = panel.len() / PANEL;
    if n > 0 {
        let start = rows.starts[..rows.count].iter().max().expect("a row");
        assert!(start + (n - 1) * rows.col < rows.values.len(), "the rows' end");
    }
    assert!((rows.count - 1) * stride + width <= out.len(), "sums beyond their place");
    if let Finish::Store { bias: Some(bias), .. } = finish {
        assert_eq!(bias.len(), width, "a summand per column");
    }
    #[cfg(target_arch = "x86_64")]
    if multiplies_bf16() {
        macro_rules! by_count {
            ($($count:literal)*) => {
                match rows.count {
                    // SAFETY: the CPU has the instruction, and the assertions above keep every access in its slice.
                    $($count if width > 16 => unsafe {
                        by_instruction::<$count, 2>(rows, (panel, width), finish, out, stride);
                    },
                    // SAFETY: as above.
                    $count => unsafe { by_instruction::<$count, 1>(rows, (panel, width), finish, out, stride) },)*
                    count => unreachable!("{count} rows"),
                }
            };
        }
        return by_count!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
    emulated(rows, (panel, width), finish, out, stride);
}

/// [`product`] with all sums in registers.
///
/// # Safety
/// What [`product`] asserts, `R = rows.count`, and the width that [`Places::of`] asks for.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(clippy::needless_range_loop)] // what is reached by numbers known here stays in registers
unsafe fn by_instruction<const R: usize, const H: usize>(
    rows: Rows,
    (panel, width): (&[u32], usize),
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    };
    // SAFETY: the caller has compared lengths; panels are whole. Vectors of bf16 and of integers have one size.
    unsafe {
        let places = Places::<R, H>::of(out, stride, width);
        let pointers: [*const u32; R] =
            std::array::from_fn(|r| rows.values.as_ptr().add(rows.starts[r]));
        let mut sums = places.begin(finish);
        for i in 0..panel.len() / PANEL {
            let at = panel.as_ptr().add(i * PANEL);
            let w: [__m512bh; H] = std::array::from_fn(|h| {
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(at.add(16 * h).cast()))
            });
            for r in 0..R {
                let v = _mm512_set1_epi32(*pointers[r].add(i * rows.col) as i32);
                for h in 0..H {
                    let v = std::mem::transmute::<__m512i, __m512bh>(v);
                    sums[r][h] = _mm512_dpbf16_ps(sums[r][h], v, w[h]);
                }
            }
        }
        places.end(sums, finish);
    }
}

dispatch! {
    /// [`product`] without the instruction for it.
    fn emulated(rows: Rows, panel: (&[u32], usize), finish: Finish, out: &mut [f32], stride: usize)
        = emulated_body
}

#[inline(always)]
fn emulated_body<const FMA: bool>(
    rows: Rows,
    (panel, width): (&[u32], usize),
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    const C: usize = 16;
    for r in 0..rows.count {
        for c in (0..width).step_by(C) {
            let m = C.min(width - c);
            let mut sums = [0.0f32; C];
            if let Finish::Add = finish {
                sums[..m].copy_from_slice(&out[r * stride + c..][..m]);
            }
            sums = sums.map(normal);
            for (i, line) in panel.chunks_exact(PANEL).enumerate() {
                let v = unpair(rows.values[rows.starts[r] + i * rows.col]).map(normal);
                let mut w = [0; C];
                w.copy_from_slice(&line[c..c + C]);
                for (sum, w) in sums.iter_mut().zip(w) {
                    let w = unpair(w).map(normal);
                    *sum = step::<FMA>(v[0], w[0], step::<FMA>(v[1], w[1], *sum));
                }
            }
            for (j, v) in sums.iter_mut().enumerate().take(m) {
                *v = finish.of(*v, c + j);
            }
            out[r * stride + c..][..m].copy_from_slice(&sums[..m]);
        }
    }
}

/// `v`, or the zero of its sign for a subnormal number.
#[inline(always)]
fn normal(v: f32) -> f32 {
    if v.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(v) } else { v }
}

/// `a · b + c` of bf16 `a` and `b`, rounded once; zero where that, rounded to 24 bits, is below the smallest normal number.
///
/// Numbers close below that one round to it as f32, which have less than 24 bits there; so the comparison is made with
/// terms 2⁶⁴ times as large. Where one of these leaves the range, `a · b` or `c` was 2⁻⁶² at least: only both together
/// could make a small sum, then they are multiples of 2⁻⁸⁵, and so is the sum: zero, or large enough.
#[inline(always)]
fn step<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    const SCALE: f32 = (1u128 << 64) as f32;
    const SMALLEST: f32 = f32::MIN_POSITIVE * SCALE;
    if !(FMA || cfg!(target_arch = "aarch64")) {
        return step_in_f64(a, b, c);
    }
    let sum = a.mul_add(b, c);
    let small = a.mul_add(b * SCALE, c * SCALE).abs() < SMALLEST;
    if small { 0.0f32.copysign(sum) } else { sum }
}

/// [`step`] without fused multiplication: the product is exact, the sum is rounded to odd, so that rounding it once more
/// gives what rounding the exact one gives (Boldo & Melquiond 2008, "Emulation of a FMA and correctly rounded sums").
#[inline(always)]
fn step_in_f64(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the sum lacks, exactly (Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B).
    let part = sum - product;
    let lack = (product - (sum - part)) + (c - part);
    let bits = sum.to_bits();
    let odd = if (lack > 0.0) == (sum > 0.0) { bits | 1 } else { bits.wrapping_sub(!bits & 1) };
    let sum = if lack.abs() > 0.0 { f64::from_bits(odd) } else { sum };
    // A number from here on has a normal number as its nearest of 24 bits, half of the way counting as even.
    const SMALLEST: f64 = f32::MIN_POSITIVE as f64 * (1.0 - 1.0 / (1u64 << 25) as f64);
    if sum.abs() < SMALLEST { 0.0f32.copysign(sum as f32) } else { sum as f32 }
}
