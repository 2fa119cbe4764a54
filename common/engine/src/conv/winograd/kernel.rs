//! Products of a few rows with a panel of 32 columns, summed in registers.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use crate::simd::{dispatch, load, mul_add};

/// Columns summed together: two AVX-512 registers.
pub(super) const PANEL: usize = 32;
/// Most rows summed together: with [`PANEL`] 24 registers of 32.
pub(super) const ROWS: usize = 12;

/// Rows of a product: term `k` of row `r` at `data[r * row + k * step]`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) count: usize,
    pub(super) row: usize,
    pub(super) step: usize,
}

/// A panel: term `k` of its [`PANEL`] columns from `data[k * stride]`.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub(super) data: &'a [f32],
    pub(super) terms: usize,
    pub(super) stride: usize,
}

/// `out[r * stride + o] = Σ_k rows[r, k] · panel[k, o]`, in the order of `k`, on top of what is there if `add`.
pub(super) fn product(rows: Rows, panel: Panel, out: &mut [f32], stride: usize, add: bool) {
    let (r, k) = (rows.count, panel.terms);
    assert!((1..=ROWS).contains(&r) && k > 0, "{r} rows, {k} terms");
    assert!((r - 1) * rows.row + (k - 1) * rows.step < rows.data.len(), "rows beyond their data");
    assert!((k - 1) * panel.stride + PANEL <= panel.data.len(), "panel beyond its data");
    assert!((r - 1) * stride + PANEL <= out.len(), "product larger than its destination");
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: the CPU has AVX-512, and the lengths were checked above.
        unsafe {
            match r {
                1 => avx512::<1>(rows, panel, out, stride, add),
                2 => avx512::<2>(rows, panel, out, stride, add),
                3 => avx512::<3>(rows, panel, out, stride, add),
                4 => avx512::<4>(rows, panel, out, stride, add),
                5 => avx512::<5>(rows, panel, out, stride, add),
                6 => avx512::<6>(rows, panel, out, stride, add),
                7 => avx512::<7>(rows, panel, out, stride, add),
                8 => avx512::<8>(rows, panel, out, stride, add),
                9 => avx512::<9>(rows, panel, out, stride, add),
                10 => avx512::<10>(rows, panel, out, stride, add),
                11 => avx512::<11>(rows, panel, out, stride, add),
                _ => avx512::<12>(rows, panel, out, stride, add),
            }
        }
        return;
    }
    portable(rows, panel, out, stride, add);
}

dispatch! {
    fn portable(rows: Rows, panel: Panel, out: &mut [f32], stride: usize, add: bool) = portable_body
}

#[inline(always)]
fn portable_body<const FMA: bool>(
    rows: Rows,
    panel: Panel,
    out: &mut [f32],
    stride: usize,
    add: bool,
) {
    /// What fits the sixteen registers of AVX2.
    const R: usize = 4;
    const C: usize = 16;
    for first in (0..rows.count).step_by(R) {
        // Rows beyond the last are the last again.
        let row: [usize; R] = std::array::from_fn(|r| (first + r).min(rows.count - 1));
        for c in (0..PANEL).step_by(C) {
            let mut total = [[0.0f32; C]; R];
            if add {
                for (t, r) in total.iter_mut().zip(row) {
                    *t = load(out, r * stride + c);
                }
            }
            for k in 0..panel.terms {
                let w = load::<C>(panel.data, k * panel.stride + c);
                for (t, r) in total.iter_mut().zip(row) {
                    let v = rows.data[r * rows.row + k * rows.step];
                    for o in 0..C {
                        t[o] = mul_add::<FMA>(v, w[o], t[o]);
                    }
                }
            }
            for (t, r) in total.iter().zip(row) {
                out[r * stride + c..][..C].copy_from_slice(t);
            }
        }
    }
}

/// [`product`] of `R` rows with all sums in registers, which the compiler does not manage by itself.
///
/// # Safety
/// The lengths must be those that [`product`] checks.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const R: usize>(
    rows: Rows,
    panel: Panel,
    out: &mut [f32],
    stride: usize,
    add: bool,
) {
    use std::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };
    let out = out.as_mut_ptr();
    // SAFETY: the caller checked lengths.
    unsafe {
        let mut total = [[_mm512_setzero_ps(); 2]; R];
        if add {
            for (r, t) in total.iter_mut().enumerate() {
                let at = out.add(r * stride);
                *t = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))];
            }
        }
        let pointers: [_; R] = std::array::from_fn(|r| rows.data.as_ptr().add(r * rows.row));
        let mut w = panel.data.as_ptr();
        let mut k = 0;
        for _ in 0..panel.terms {
            let (w0, w1) = (_mm512_loadu_ps(w), _mm512_loadu_ps(w.add(16)));
            for r in 0..R {
                let v = _mm512_set1_ps(*pointers[r].add(k));
                total[r][0] = _mm512_fmadd_ps(v, w0, total[r][0]);
                total[r][1] = _mm512_fmadd_ps(v, w1, total[r][1]);
            }
            k += rows.step;
            w = w.wrapping_add(panel.stride);
        }
        for (r, t) in total.iter().enumerate() {
            _mm512_storeu_ps(out.add(r * stride), t[0]);
            _mm512_storeu_ps(out.add(r * stride + 16), t[1]);
        }
    }
}
