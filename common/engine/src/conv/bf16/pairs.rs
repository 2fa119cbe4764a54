//! f32 → pairs of bf16: two neighbours along the inner dimension of a product in a u32, the first in its lower half.
//!
//! An odd inner dimension ends with a zero. Numbers are rounded as VCVTNEPS2BF16 rounds them (Intel, Software
//! Developer's Manual, volume 2): to the nearest, of two the even one; subnormal ones become zeros, NaN stays NaN.

use super::super::gemm::Matrix;
use super::super::kernel::PANEL;
use crate::parallel::{LINE, with_aligned};
use crate::simd::dispatch;
#[cfg(target_arch = "x86_64")]
use crate::simd::multiplies_bf16;

/// The bf16 nearest to `v` in the upper half, zeros below: an f32 of the same value.
#[inline(always)]
pub(super) fn round(v: f32) -> u32 {
    let bits = v.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    let finite = if magnitude < 0x0080_0000 { bits & 0x8000_0000 } else { nearest };
    (if magnitude > 0x7f80_0000 { bits | 0x0040_0000 } else { finite }) & 0xffff_0000
}

/// The two numbers of a pair.
#[inline(always)]
pub(super) fn unpair(pair: u32) -> [f32; 2] {
    [pair << 16, pair & 0xffff_0000].map(f32::from_bits)
}

#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    round(first) >> 16 | round(second)
}

/// Runs `f` with room for `n` pairs of any values, from the start of a cache line on.
pub(in super::super) fn with_pairs<R>(n: usize, f: impl FnOnce(&mut [u32]) -> R) -> R {
    with_aligned(n, |floats| f(aligned_mut(floats)))
}

/// `floats` as pairs, from the start of a cache line on.
pub(in super::super) fn aligned(floats: &[f32]) -> &[u32] {
    let floats = &floats[skipped(floats)..];
    // SAFETY: f32 and u32 have one size and one alignment, and any bits are a number of either.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), floats.len()) }
}

/// [`aligned`], to be written.
pub(in super::super) fn aligned_mut(floats: &mut [f32]) -> &mut [u32] {
    let start = skipped(floats);
    let floats = &mut floats[start..];
    // SAFETY: as above, and the floats are borrowed for as long as the pairs are.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), floats.len()) }
}

fn skipped(floats: &[f32]) -> usize {
    floats.as_ptr().align_offset(LINE).min(floats.len().min(LINE / 4))
}

/// Rows of `n` numbers → rows of `n / 2` pairs of neighbours, rounded up.
pub(in super::super) fn by_columns(x: &[f32], n: usize, pairs: &mut [u32]) {
    let rows = x.len() / n.max(1);
    assert_eq!((x.len(), pairs.len()), (rows * n, rows * n.div_ceil(2)), "rows of {n}");
    // Rows without a last zero are one row.
    let n = if n.is_multiple_of(2) { x.len() } else { n };
    #[cfg(target_arch = "x86_64")]
    if multiplies_bf16() {
        for (x, pairs) in x.chunks_exact(n.max(1)).zip(pairs.chunks_exact_mut(n.div_ceil(2).max(1)))
        {
            // SAFETY: the CPU has these instructions, and there is a pair for every two numbers.
            unsafe { row_by_instruction(x, pairs) };
        }
        return;
    }
    rows_by_rounding(x, n, pairs);
}

dispatch! {
    /// [`by_columns`] without an instruction for it.
    fn rows_by_rounding(x: &[f32], n: usize, pairs: &mut [u32]) = rows_by_rounding_body
}

#[inline(always)]
fn rows_by_rounding_body<const FMA: bool>(x: &[f32], n: usize, pairs: &mut [u32]) {
    for (x, pairs) in x.chunks_exact(n.max(1)).zip(pairs.chunks_exact_mut(n.div_ceil(2).max(1))) {
        let (whole, rest) = x.as_chunks::<2>();
        for (to, [a, b]) in pairs.iter_mut().zip(whole) {
            *to = pair(*a, *b);
        }
        if let ([v], Some(to)) = (rest, pairs.last_mut()) {
            *to = pair(*v, 0.0);
        }
    }
}

/// # Safety
/// A CPU with AVX512-BF16; as many pairs as `x` has.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn row_by_instruction(x: &[f32], pairs: &mut [u32]) {
    use std::arch::x86_64::{
        __m256bh, __m256i, __m512bh, __m512i, _mm256_mask_storeu_epi16, _mm512_cvtne2ps_pbh,
        _mm512_cvtneps_pbh, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_storeu_si512,
    };
    let (mut at, to) = (0, pairs.as_mut_ptr());
    // SAFETY: loads stay in `x`, stores in its pairs; what is beyond the last number is masked and reads as zero. Vectors
    // of bf16 and of integers have one size.
    unsafe {
        while at + 32 <= x.len() {
            let from = x.as_ptr().add(at);
            let rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(16)), _mm512_loadu_ps(from));
            let rounded = std::mem::transmute::<__m512bh, __m512i>(rounded);
            _mm512_storeu_si512(to.add(at / 2).cast(), rounded);
            at += 32;
        }
        while at < x.len() {
            let n = (x.len() - at).min(16);
            let mask = ((1u32 << n) - 1) as u16;
            let rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x.as_ptr().add(at)));
            let rounded = std::mem::transmute::<__m256bh, __m256i>(rounded);
            let stored = ((1u32 << n.next_multiple_of(2)) - 1) as u16;
            _mm256_mask_storeu_epi16(to.add(at / 2).cast(), stored, rounded);
            at += n;
        }
    }
}

/// Rows of `n` numbers → `rows / 2` lines, rounded up, of pairs of numbers below each other: of the columns
/// `first..first + width`, line `j` at `pairs[j * step..]`.
pub(in super::super) fn by_rows(
    x: &[f32],
    n: usize,
    (first, width): (usize, usize),
    pairs: &mut [u32],
    step: usize,
) {
    assert!(first + width <= n && width <= step, "columns of {n}");
    #[cfg(target_arch = "x86_64")]
    if multiplies_bf16() {
        let lines = x.len() / n.max(1);
        assert!(lines == 0 || (lines.div_ceil(2) - 1) * step + width <= pairs.len(), "lines");
        // SAFETY: the CPU has these instructions, and lengths are compared above.
        return unsafe { lines_by_instruction(x, n, (first, width), pairs, step) };
    }
    lines_by_rounding(x, n, (first, width), pairs, step);
}

dispatch! {
    /// [`by_rows`] without an instruction for it.
    fn lines_by_rounding(
        x: &[f32], n: usize, columns: (usize, usize), pairs: &mut [u32], step: usize,
    ) = lines_by_rounding_body
}

#[inline(always)]
fn lines_by_rounding_body<const FMA: bool>(
    x: &[f32],
    n: usize,
    (first, width): (usize, usize),
    pairs: &mut [u32],
    step: usize,
) {
    for (two, line) in x.chunks(2 * n.max(1)).zip(pairs.chunks_mut(step.max(1))) {
        let (a, b) = (&two[first..first + width], two.get(n + first..n + first + width));
        for (c, to) in line[..width].iter_mut().enumerate() {
            *to = pair(a[c], b.map_or(0.0, |b| b[c]));
        }
    }
}

/// # Safety
/// A CPU with AVX512-BF16; what [`by_rows`] asserts.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn lines_by_instruction(
    x: &[f32],
    n: usize,
    (first, width): (usize, usize),
    pairs: &mut [u32],
    step: usize,
) {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_mask_storeu_epi32, _mm512_maskz_loadu_ps,
        _mm512_permutexvar_epi16, _mm512_set_epi16,
    };
    // What was rounded together is 16 firsts, then 16 seconds.
    let zip = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    let rows = x.len() / n.max(1);
    for line in 0..rows.div_ceil(2) {
        let both = 2 * line + 1 < rows;
        for c in (0..width).step_by(16) {
            let mask = ((1u32 << (width - c).min(16)) - 1) as u16;
            // SAFETY: what is beyond the last column or row is masked, and lengths have been compared.
            unsafe {
                let from = x.as_ptr().add(2 * line * n + first + c);
                let below = if both { from.add(n) } else { from };
                let a = _mm512_maskz_loadu_ps(mask, from);
                let b = _mm512_maskz_loadu_ps(if both { mask } else { 0 }, below);
                let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
                let zipped = _mm512_permutexvar_epi16(zip, rounded);
                _mm512_mask_storeu_epi32(
                    pairs.as_mut_ptr().add(line * step + c).cast(),
                    mask,
                    zipped,
                );
            }
        }
    }
}

/// Pairs of the panels of `columns` columns of `inner` numbers.
pub(in super::super) fn packed(inner: usize, columns: usize) -> usize {
    columns.div_ceil(PANEL) * inner.div_ceil(2) * PANEL
}

/// Floats that surely hold as many pairs from the start of a cache line on.
pub(in super::super) fn packed_floats(inner: usize, columns: usize) -> usize {
    packed(inner, columns) + LINE / 4
}

/// `b` as panels of [`PANEL`] columns, `[panels, rows / 2, 32]`, zeros beyond the last column and row.
pub(in super::super) fn pack(b: Matrix, panels: &mut [u32]) {
    b.check();
    assert_eq!(panels.len(), packed(b.rows, b.cols), "panels of {} × {}", b.rows, b.cols);
    let lines = b.rows.div_ceil(2);
    for (p, panel) in panels.chunks_exact_mut((lines * PANEL).max(1)).enumerate() {
        let (first, width) = (p * PANEL, PANEL.min(b.cols - p * PANEL));
        if width < PANEL {
            panel.fill(0);
        }
        if b.col == 1 && b.row == b.cols {
            by_rows(&b.data[..b.rows * b.cols], b.cols, (first, width), panel, PANEL);
            continue;
        }
        if b.row == 1 {
            with_pairs(lines, |column| {
                for c in 0..width {
                    by_columns(&b.data[(first + c) * b.col..][..b.rows], b.rows, column);
                    for (line, pair) in panel.chunks_exact_mut(PANEL).zip(&*column) {
                        line[c] = *pair;
                    }
                }
            });
            continue;
        }
        for c in 0..width {
            let at = |i: usize| b.data[i * b.row + (first + c) * b.col];
            for (j, line) in panel.chunks_exact_mut(PANEL).enumerate() {
                let below = if 2 * j + 1 < b.rows { at(2 * j + 1) } else { 0.0 };
                line[c] = pair(at(2 * j), below);
            }
        }
    }
}
