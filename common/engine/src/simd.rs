//! Choice of instruction set at run time.
//!
//! A kernel is written once as an `#[inline(always)]` function with a `const FMA: bool` parameter;
//! `dispatch!` compiles it three times and picks at run time. The loops run over fixed-size arrays
//! of [`LANES`] floats, which the compiler turns into vector registers; only the innermost loops of
//! convolutions (`conv::kernel`, `direct`, `depthwise::same3`, `bf16`) need intrinsics.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Floats per step of the innermost loops: one AVX-512 register or two AVX2 registers.
pub const LANES: usize = 16;

/// An instruction set a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every CPU of the target architecture has.
    Baseline = 1,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best instruction set of this CPU.
pub fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// The instruction set in use: the best one, unless [`limit`] lowered it.
#[inline]
pub fn level() -> Level {
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Level::Baseline,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let best = detected();
            CHOSEN.store(best as u8, Ordering::Relaxed);
            best
        }
    }
}

/// Use at most `level` from now on, in the whole process (for tests and comparisons).
pub fn limit(level: Level) {
    CHOSEN.store(level.min(detected()) as u8, Ordering::Relaxed);
}

/// Whether this CPU multiplies pairs of bf16 and adds to f32 in one instruction (AVX512-BF16).
static PAIRS: LazyLock<bool> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
});
static EMULATED: AtomicBool = AtomicBool::new(false);

/// Whether products of bf16 are made by instructions of their own: where there are such and AVX-512 is in use, unless
/// [`emulate_bf16`] said otherwise. The sums have the same bits either way.
#[inline]
pub fn multiplies_bf16() -> bool {
    level() == Level::Avx512 && *PAIRS && !EMULATED.load(Ordering::Relaxed)
}

/// Makes products of bf16 without these instructions from now on, or with them again, in the whole process (for tests
/// and comparisons).
pub fn emulate_bf16(emulated: bool) {
    EMULATED.store(emulated, Ordering::Relaxed);
}

/// Tests that limit what is used, and those that compare bits, take turns.
#[cfg(test)]
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `a * b + c`, fused where the instruction set has it; a library call for the fused result would
/// cost two orders of magnitude more than the plain one.
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// Defines `fn name(args)` that runs `body::<FMA>(args)` compiled for the chosen instruction set.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) { $body::<true>($($arg),*) }
                match $crate::simd::level() {
                    // SAFETY: `level` never exceeds what the CPU was seen to have.
                    $crate::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::simd::Level::Baseline => {}
                }
            }
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use dispatch;

/// Multiplications, each with its addition, of a core: `rounds` times 192 of them in registers, and their sum.
pub fn multiply_and_add(rounds: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: the CPU has AVX-512.
        return unsafe { multiply_and_add_avx512(rounds) };
    }
    let (mut sum, w) = ([0.0; 12 * LANES], std::hint::black_box(0.5f32));
    multiply_and_add_loop(&mut sum, w, rounds);
    sum.iter().sum()
}

/// The compiler keeps these sums in registers by itself only where there are intrinsics.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)] // what is reached by numbers known here stays in registers
fn multiply_and_add_avx512(rounds: usize) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let w = _mm512_set1_ps(std::hint::black_box(0.5));
    let mut sums = [w; 12];
    for _ in 0..rounds {
        for r in 0..12 {
            sums[r] = _mm512_fmadd_ps(w, w, sums[r]);
        }
    }
    sums.into_iter().map(|s| _mm512_reduce_add_ps(s)).sum()
}

dispatch! {
    fn multiply_and_add_loop(sums: &mut [f32; 12 * LANES], w: f32, rounds: usize)
        = multiply_and_add_body
}

#[inline(always)]
fn multiply_and_add_body<const FMA: bool>(sums: &mut [f32; 12 * LANES], w: f32, rounds: usize) {
    for _ in 0..rounds {
        for v in &mut *sums {
            *v = mul_add::<FMA>(w, w, *v);
        }
    }
}

/// The `N` floats of `s` from `at`.
#[inline(always)]
pub(crate) fn load<const N: usize>(s: &[f32], at: usize) -> [f32; N] {
    let mut v = [0.0; N];
    v.copy_from_slice(&s[at..at + N]);
    v
}

/// Write `v` into `s` from `at`.
#[inline(always)]
pub(crate) fn store<const N: usize>(s: &mut [f32], at: usize, v: [f32; N]) {
    s[at..at + N].copy_from_slice(&v);
}

/// Runs the body for each block of channels (first channel, width): [`LANES`], then 8, then single
/// ones, so that pruned widths (any number of channels) need no padding.
macro_rules! for_channels {
    ($channels:expr, |$c0:ident, $n:ident| $body:block) => {{
        let channels: usize = $channels;
        let mut $c0 = 0;
        // Sixteen floats are four registers of WebAssembly's, which has few, and the code should be small there.
        while !cfg!(target_arch = "wasm32") && $c0 + $crate::simd::LANES <= channels {
            const $n: usize = $crate::simd::LANES;
            $body
            $c0 += $n;
        }
        while $c0 + 8 <= channels {
            const $n: usize = 8;
            $body
            $c0 += $n;
        }
        while $c0 < channels {
            const $n: usize = 1;
            $body
            $c0 += $n;
        }
    }};
}
pub(crate) use for_channels;
