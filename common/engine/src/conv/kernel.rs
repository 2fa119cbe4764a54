//! The register kernel of matrix products: a few rows of the left factor times a panel of [`PANEL`] columns of the
//! right one, summed in registers over the inner dimension in its order, whatever the grouping of rows; so a result
//! has the same bits in whatever company it is computed.

#[cfg(target_arch = "x86_64")]
mod avx2;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::simd::{dispatch, mul_add};
use graph::Bounds;
use std::ops::Range;

/// Columns of a panel: two AVX-512 registers.
pub(super) const PANEL: usize = 32;
/// Most rows of a call: with [`PANEL`] 24 registers of 32.
pub(super) const ROWS: usize = 12;

/// Columns of a right factor: line `i` of the inner dimension at `values[i * step..][..width]`.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) values: &'a [f32],
    pub(super) step: usize,
    /// At most [`PANEL`].
    pub(super) width: usize,
}

/// What happens to sums before they are stored.
#[derive(Clone, Copy)]
pub(super) enum Finish<'a> {
    /// They are added to what is there.
    Add,
    /// They take a summand per column, if any, and are clamped.
    Store {
        /// Of the panel's columns.
        bias: Option<&'a [f32]>,
        /// What they are clamped to.
        bounds: Bounds,
    },
}

impl<'a> Finish<'a> {
    /// The sums as they are.
    pub(super) const PLAIN: Self = Self::Store { bias: None, bounds: Bounds::NONE };

    /// That of some of the columns.
    pub(super) fn columns(&self, columns: Range<usize>) -> Self {
        match *self {
            Self::Store { bias, bounds } => {
                Self::Store { bias: bias.map(|b: &'a [f32]| &b[columns]), bounds }
            }
            Self::Add => Self::Add,
        }
    }

    /// What becomes of a sum in column `c`, which has what was there in it already.
    #[inline(always)]
    pub(super) fn of(&self, sum: f32, c: usize) -> f32 {
        let Self::Store { bias, bounds } = *self else { return sum };
        let sum = bias.map_or(sum, |b| sum + b[c]);
        if bounds == Bounds::NONE { sum } else { bounds.clamp(sum) }
    }
}

/// `rows` in groups of nearly one size, at most `most` in each: of 16 rows two of 8, not 12 and 4.
pub(super) fn groups(rows: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let groups = rows.div_ceil(most);
    (0..groups).map(move |g| g * rows / groups..(g + 1) * rows / groups)
}

/// Rows of a left factor: element (r, l, i) at `values[r * row + l * line + i * col]`. The inner dimension goes over
/// lines, of one in most products, and within them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    /// At most [`ROWS`].
    pub(super) count: usize,
    pub(super) row: usize,
    pub(super) line: usize,
    pub(super) col: usize,
}

/// `out[r, c] = finish(Σ rows[r, l, i] · panel[l · n + i, c])` over `lines` lines of `n`, where rows of `out` lie
/// `stride` floats apart.
pub(super) fn product(
    (lines, n): (usize, usize),
    rows: Rows,
    panel: Panel,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    let Panel { width, step, .. } = panel;
    assert!((1..=ROWS).contains(&rows.count) && (1..=PANEL).contains(&width), "a tile");
    if lines * n > 0 {
        let last = (rows.count - 1) * rows.row + (lines - 1) * rows.line + (n - 1) * rows.col;
        assert!(last < rows.values.len(), "the rows' end");
        assert!((lines * n - 1) * step + width <= panel.values.len(), "the panel's end");
    }
    assert!((rows.count - 1) * stride + width <= out.len(), "sums beyond their place");
    if let Finish::Store { bias: Some(bias), .. } = finish {
        assert_eq!(bias.len(), width, "a summand per column");
    }
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        macro_rules! by_count {
            ($($count:literal)*) => {
                match rows.count {
                    // SAFETY: the CPU has AVX-512, and the assertions above keep every access in its slice.
                    $($count if width > 16 => unsafe {
                        avx512::<$count, 2>((lines, n), rows, panel, finish, out, stride);
                    },
                    // SAFETY: as above.
                    $count => unsafe { avx512::<$count, 1>((lines, n), rows, panel, finish, out, stride) },)*
                    count => unreachable!("{count} rows"),
                }
            };
        }
        return by_count!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx2 {
        return avx2::product((lines, n), rows, panel, finish, out, stride);
    }
    any((lines, n), rows, panel, finish, out, stride);
}

/// Sums of `R` rows and `H` registers of columns.
#[cfg(target_arch = "x86_64")]
pub(super) type Sums<const R: usize, const H: usize> = [[std::arch::x86_64::__m512; H]; R];

/// Where the sums of a tile go, and which columns count.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Places<const R: usize, const H: usize> {
    pub(super) rows: [*mut f32; R],
    pub(super) masks: [u16; H],
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::needless_range_loop)] // what is reached by numbers known here stays in registers
impl<const R: usize, const H: usize> Places<R, H> {
    /// The first `width` columns of `R` rows of `out`, which lie `stride` floats apart; `width` is between
    /// 16 · (H − 1) + 1 and 16 · H.
    ///
    /// # Safety
    /// `out` holds them.
    #[inline]
    pub(super) unsafe fn of(out: &mut [f32], stride: usize, width: usize) -> Self {
        let mask = |h: usize| ((1u32 << width.saturating_sub(16 * h).min(16)) - 1) as u16;
        // SAFETY: as the caller says.
        let rows = std::array::from_fn(|r| unsafe { out.as_mut_ptr().add(r * stride) });
        Self { rows, masks: std::array::from_fn(mask) }
    }

    /// What sums begin with.
    ///
    /// # Safety
    /// What [`Places::of`] asks for, still.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn begin(&self, finish: Finish) -> Sums<R, H> {
        use std::arch::x86_64::{_mm512_maskz_loadu_ps, _mm512_setzero_ps};
        let mut sums = [[_mm512_setzero_ps(); H]; R];
        if let Finish::Add = finish {
            for r in 0..R {
                for h in 0..H {
                    // SAFETY: as the caller says; what is beyond the width is masked.
                    sums[r][h] =
                        unsafe { _mm512_maskz_loadu_ps(self.masks[h], self.rows[r].add(16 * h)) };
                }
            }
        }
        sums
    }

    /// Finishes and stores sums.
    ///
    /// # Safety
    /// What [`Places::of`] asks for, still, and a summand per column.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn end(&self, mut sums: Sums<R, H>, finish: Finish) {
        use std::arch::x86_64::{
            _mm512_add_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps,
            _mm512_min_ps, _mm512_set1_ps,
        };
        // SAFETY: as the caller says; what is beyond the width is masked.
        unsafe {
            if let Finish::Store { bias, bounds } = finish {
                let (lo, hi) = (_mm512_set1_ps(bounds.lo), _mm512_set1_ps(bounds.hi));
                for h in 0..H {
                    if let Some(bias) = bias {
                        let b = _mm512_maskz_loadu_ps(self.masks[h], bias.as_ptr().add(16 * h));
                        for r in 0..R {
                            sums[r][h] = _mm512_add_ps(sums[r][h], b);
                        }
                    }
                    if bounds != Bounds::NONE {
                        for r in 0..R {
                            sums[r][h] = _mm512_min_ps(_mm512_max_ps(sums[r][h], lo), hi);
                        }
                    }
                }
            }
            for r in 0..R {
                for h in 0..H {
                    _mm512_mask_storeu_ps(self.rows[r].add(16 * h), self.masks[h], sums[r][h]);
                }
            }
        }
    }
}

/// [`product`] with all sums in registers, which the compiler does not manage by itself.
///
/// # Safety
/// What [`product`] asserts, `R = rows.count`, and the width that [`Places::of`] asks for.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)] // what is reached by numbers known here stays in registers
unsafe fn avx512<const R: usize, const H: usize>(
    (lines, n): (usize, usize),
    rows: Rows,
    panel: Panel,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps};
    let Panel { values, step, width } = panel;
    // SAFETY: the caller has compared lengths; what is beyond `width` is masked.
    unsafe {
        let places = Places::<R, H>::of(out, stride, width);
        let pointers: [*const f32; R] =
            std::array::from_fn(|r| rows.values.as_ptr().add(r * rows.row));
        let mut sums = places.begin(finish);
        for l in 0..lines {
            for i in 0..n {
                let at = values.as_ptr().add((l * n + i) * step);
                let w: [__m512; H] =
                    std::array::from_fn(|h| _mm512_maskz_loadu_ps(places.masks[h], at.add(16 * h)));
                for r in 0..R {
                    let v = _mm512_set1_ps(*pointers[r].add(l * rows.line + i * rows.col));
                    for h in 0..H {
                        sums[r][h] = _mm512_fmadd_ps(v, w[h], sums[r][h]);
                    }
                }
            }
        }
        places.end(sums, finish);
    }
}

dispatch! {
    /// [`product`] for what other registers hold.
    fn any(
        inner: (usize, usize), rows: Rows, panel: Panel, finish: Finish, out: &mut [f32], stride: usize,
    ) = any_body
}

#[inline(always)]
fn any_body<const FMA: bool>(
    (lines, n): (usize, usize),
    rows: Rows,
    panel: Panel,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    if FMA {
        by_registers::<FMA, 16>((lines, n), rows, panel, finish, out, stride);
    } else {
        by_registers::<FMA, 8>((lines, n), rows, panel, finish, out, stride);
    }
}

/// Rows that other registers hold at a time.
const FEW_ROWS: usize = 4;

/// [`FEW_ROWS`] rows and `C` columns at a time.
#[inline(always)]
fn by_registers<const FMA: bool, const C: usize>(
    inner: (usize, usize),
    rows: Rows,
    panel: Panel,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    for first in (0..rows.count).step_by(FEW_ROWS) {
        // Rows beyond the last are the last again.
        let starts: [usize; FEW_ROWS] =
            std::array::from_fn(|r| (first + r).min(rows.count - 1) * rows.row);
        for c in (0..panel.width).step_by(C) {
            let m = C.min(panel.width - c);
            let mut sums = [[0.0f32; C]; FEW_ROWS];
            if let Finish::Add = finish {
                for (r, sum) in sums.iter_mut().enumerate().take(rows.count - first) {
                    let from = (first + r) * stride + c;
                    sum[..m].copy_from_slice(&out[from..from + m]);
                }
            }
            sums = if m == C {
                add_products::<FMA, C, true>(inner, (rows, starts), (panel, c), sums)
            } else {
                add_products::<FMA, C, false>(inner, (rows, starts), (panel, c), sums)
            };
            for (r, sum) in sums.iter_mut().enumerate().take(rows.count - first) {
                for (j, v) in sum.iter_mut().enumerate().take(m) {
                    *v = finish.of(*v, c + j);
                }
                let to = (first + r) * stride + c;
                out[to..to + m].copy_from_slice(&sum[..m]);
            }
        }
    }
}

/// `sums` and the products of rows that begin at `starts` with columns of the panel from `c` on; `FULL` where it has
/// all `C` of them. What is in arrays is reached by numbers that are known here: only then it stays in registers.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // what is reached by numbers known here stays in registers
fn add_products<const FMA: bool, const C: usize, const FULL: bool>(
    (lines, n): (usize, usize),
    (rows, starts): (Rows, [usize; FEW_ROWS]),
    (panel, c): (Panel, usize),
    mut sums: [[f32; C]; FEW_ROWS],
) -> [[f32; C]; FEW_ROWS] {
    let m = C.min(panel.width - c);
    for l in 0..lines {
        for i in 0..n {
            let from = (l * n + i) * panel.step + c;
            let mut w = [0.0f32; C];
            if FULL {
                w.copy_from_slice(&panel.values[from..from + C]);
            } else {
                w[..m].copy_from_slice(&panel.values[from..from + m]);
            }
            for r in 0..FEW_ROWS {
                let v = rows.values[starts[r] + l * rows.line + i * rows.col];
                for j in 0..C {
                    sums[r][j] = mul_add::<FMA>(v, w[j], sums[r][j]);
                }
            }
        }
    }
    sums
}
