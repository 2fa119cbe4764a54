//! The register kernel for sixteen registers of eight floats: up to six rows times sixteen columns.

use super::{Finish, Panel, Rows, groups};
use graph::Bounds;
use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_storeu_ps,
};

/// Most rows of a call: with two registers of columns 12 of 16.
const ROWS: usize = 6;
/// Columns of a call.
const COLUMNS: usize = 16;

/// As [`super::product`], which has compared lengths, on a CPU with AVX2 and FMA.
pub(super) fn product(
    inner: (usize, usize),
    rows: Rows,
    panel: Panel,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    for c in (0..panel.width).step_by(COLUMNS) {
        let width = COLUMNS.min(panel.width - c);
        let columns = Panel { values: panel.values.get(c..).unwrap_or_default(), width, ..panel };
        let finish = finish.columns(c..c + width);
        for group in groups(rows.count, ROWS) {
            let values = rows.values.get(group.start * rows.row..).unwrap_or_default();
            let rows = Rows { values, count: group.len(), ..rows };
            let out = &mut out[group.start * stride + c..];
            macro_rules! by_count {
                ($($count:literal)*) => {
                    match (rows.count, width == COLUMNS) {
                        // SAFETY: as `product` says.
                        $(($count, true) => unsafe {
                            tile::<$count, true>(inner, rows, columns, finish, out, stride);
                        },
                        // SAFETY: as above.
                        ($count, false) => unsafe {
                            tile::<$count, false>(inner, rows, columns, finish, out, stride);
                        },)*
                        (count, _) => unreachable!("{count} rows"),
                    }
                };
            }
            by_count!(1 2 3 4 5 6);
        }
    }
}

/// Masks of the first `width` of sixteen floats.
#[target_feature(enable = "avx2")]
fn masks(width: usize) -> [__m256i; 2] {
    const LANES: [i32; 32] = {
        let mut lanes = [0; 32];
        let mut i = 0;
        while i < 16 {
            lanes[i] = -1;
            i += 1;
        }
        lanes
    };
    let from = &LANES[16 - width..];
    // SAFETY: width ≤ 16, so sixteen lanes follow.
    [0, 8].map(|h| unsafe { _mm256_loadu_si256(from[h..].as_ptr().cast()) })
}

/// # Safety
/// A CPU with AVX2 and FMA; what `product` says of lengths; `R` = `rows.count`, and `FULL` where there are sixteen
/// columns.
#[target_feature(enable = "avx2,fma")]
#[allow(clippy::needless_range_loop)] // sums are kept in registers if they are reached by numbers known here
unsafe fn tile<const R: usize, const FULL: bool>(
    (lines, n): (usize, usize),
    rows: Rows,
    panel: Panel,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    let masks = masks(panel.width);
    // SAFETY: every place is inside its slice, or masked.
    unsafe {
        let load = |at: *const f32, h: usize| -> __m256 {
            let at = at.wrapping_add(8 * h);
            if FULL { _mm256_loadu_ps(at) } else { _mm256_maskload_ps(at, masks[h]) }
        };
        let pointers: [*const f32; R] =
            std::array::from_fn(|r| rows.values.as_ptr().add(r * rows.row));
        let places: [*mut f32; R] = std::array::from_fn(|r| out.as_mut_ptr().add(r * stride));
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        if let Finish::Add = finish {
            for r in 0..R {
                sums[r] = [load(places[r], 0), load(places[r], 1)];
            }
        }
        for l in 0..lines {
            for i in 0..n {
                let at = panel.values.as_ptr().add((l * n + i) * panel.step);
                let w = [load(at, 0), load(at, 1)];
                for r in 0..R {
                    let v = _mm256_set1_ps(*pointers[r].add(l * rows.line + i * rows.col));
                    sums[r][0] = _mm256_fmadd_ps(v, w[0], sums[r][0]);
                    sums[r][1] = _mm256_fmadd_ps(v, w[1], sums[r][1]);
                }
            }
        }
        if let Finish::Store { bias, bounds } = finish {
            let (lo, hi) = (_mm256_set1_ps(bounds.lo), _mm256_set1_ps(bounds.hi));
            for h in 0..2 {
                let b = bias.map_or(_mm256_setzero_ps(), |b| load(b.as_ptr(), h));
                for r in 0..R {
                    if bias.is_some() {
                        sums[r][h] = _mm256_add_ps(sums[r][h], b);
                    }
                    if bounds != Bounds::NONE {
                        sums[r][h] = _mm256_min_ps(_mm256_max_ps(sums[r][h], lo), hi);
                    }
                }
            }
        }
        for r in 0..R {
            for h in 0..2 {
                let place = places[r].wrapping_add(8 * h);
                if FULL {
                    _mm256_storeu_ps(place, sums[r][h]);
                } else {
                    _mm256_maskstore_ps(place, masks[h], sums[r][h]);
                }
            }
        }
    }
}
