//! The largest value of each window of one picture, on this thread: what a max pool and a pointwise convolution
//! with a pool behind it have in common.

use crate::simd::dispatch;
use crate::windows::{Size, for_places};
use graph::Window;

/// Maxima of one picture and their places; without room for places the maxima alone.
pub(crate) fn max_picture(x: &[f32], y: &mut [f32], places: &mut [u8], size: Size, win: Window) {
    // A page has no use for places, nor room for finding them.
    if places.is_empty() || cfg!(target_arch = "wasm32") {
        largest(x, y, size, win);
    } else {
        with_places(x, y, places, size, win);
    }
}

dispatch! {
    fn with_places(x: &[f32], y: &mut [f32], places: &mut [u8], size: Size, win: Window)
        = with_places_body
}

#[inline(always)]
fn with_places_body<const FMA: bool>(
    x: &[f32],
    y: &mut [f32],
    places: &mut [u8],
    size: Size,
    win: Window,
) {
    if win == Window::new(2, 2, 0) {
        return max_of_four(x, y, places, size);
    }
    let c = size.2;
    y.fill(f32::NEG_INFINITY);
    places.fill(0);
    for_places(size, win, |to, from, place| {
        let y = &mut y[to * c..(to + 1) * c];
        let places = &mut places[to * c..(to + 1) * c];
        for ((y, p), x) in y.iter_mut().zip(places).zip(&x[from * c..(from + 1) * c]) {
            let larger = *x > *y;
            *y = if larger { *x } else { *y };
            *p = if larger { place } else { *p };
        }
    });
}

/// 2×2 with stride 2, each window at once.
#[inline(always)]
fn max_of_four(x: &[f32], y: &mut [f32], places: &mut [u8], (h, w, c): Size) {
    let ow = w / 2;
    for oy in 0..h / 2 {
        for ox in 0..ow {
            let at = |ky: usize, kx: usize| ((2 * oy + ky) * w + 2 * ox + kx) * c;
            let to = (oy * ow + ox) * c;
            let inputs = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)].map(|from| &x[from..from + c]);
            let out = y[to..to + c].iter_mut().zip(&mut places[to..to + c]);
            let [a, b, d, e] = inputs;
            for (((((y, p), a), b), d), e) in out.zip(a).zip(b).zip(d).zip(e) {
                // The first of equals, as one by one.
                let (left, right) = (a.max(*b), d.max(*e));
                let lower = right > left;
                *y = if lower { right } else { left };
                *p = if lower { 2 + u8::from(*e > *d) } else { u8::from(*b > *a) };
            }
        }
    }
}

dispatch! {
    fn largest(x: &[f32], y: &mut [f32], size: Size, win: Window) = largest_body
}

#[inline(always)]
fn largest_body<const FMA: bool>(x: &[f32], y: &mut [f32], size: Size, win: Window) {
    let c = size.2;
    if win == Window::new(2, 2, 0) {
        let line = size.1 / 2 * c;
        for (oy, y) in y.chunks_exact_mut(line.max(1)).enumerate() {
            let (upper, lower) = x[2 * oy * size.1 * c..][..2 * size.1 * c].split_at(size.1 * c);
            let pairs = upper.chunks_exact(2 * c).zip(lower.chunks_exact(2 * c));
            for (y, (upper, lower)) in y.chunks_exact_mut(c).zip(pairs) {
                let (a, b) = upper.split_at(c);
                let (d, e) = lower.split_at(c);
                for ((((y, a), b), d), e) in y.iter_mut().zip(a).zip(b).zip(d).zip(e) {
                    *y = a.max(*b).max(d.max(*e));
                }
            }
        }
        return;
    }
    y.fill(f32::NEG_INFINITY);
    for_places(size, win, |to, from, _| {
        for (y, x) in y[to * c..(to + 1) * c].iter_mut().zip(&x[from * c..(from + 1) * c]) {
            *y = if *x > *y { *x } else { *y };
        }
    });
}

dispatch! {
    /// The input gradient of one picture.
    pub(crate) fn max_picture_gradient(grad: &[f32], places: &[u8], dx: &mut [f32], size: Size, win: Window)
        = max_picture_gradient_body
}

#[inline(always)]
fn max_picture_gradient_body<const FMA: bool>(
    grad: &[f32],
    places: &[u8],
    dx: &mut [f32],
    size: Size,
    win: Window,
) {
    if win == Window::new(2, 2, 0) {
        return gradient_of_four(grad, places, dx, size);
    }
    let c = size.2;
    dx.fill(0.0);
    for_places(size, win, |to, from, place| {
        let grad = &grad[to * c..(to + 1) * c];
        let places = &places[to * c..(to + 1) * c];
        for ((dx, g), p) in dx[from * c..(from + 1) * c].iter_mut().zip(grad).zip(places) {
            *dx += if *p == place { *g } else { 0.0 };
        }
    });
}

/// 2×2 with stride 2, each window at once.
#[inline(always)]
fn gradient_of_four(grad: &[f32], places: &[u8], dx: &mut [f32], (h, w, c): Size) {
    let ow = w / 2;
    for (oy, band) in dx.chunks_mut(2 * w * c).enumerate() {
        if oy >= h / 2 {
            band.fill(0.0); // a last odd row
            continue;
        }
        let (upper, lower) = band.split_at_mut(w * c);
        for (ky, line) in [upper, lower].into_iter().enumerate() {
            for ox in 0..ow {
                let from = (oy * ow + ox) * c;
                let (left, right) = line[2 * ox * c..(2 * ox + 2) * c].split_at_mut(c);
                let inputs = grad[from..from + c].iter().zip(&places[from..from + c]);
                let first = 2 * ky as u8;
                for ((l, r), (g, p)) in left.iter_mut().zip(right).zip(inputs) {
                    *l = if *p == first { *g } else { 0.0 };
                    *r = if *p == first + 1 { *g } else { 0.0 };
                }
            }
            line[2 * ow * c..].fill(0.0); // a last odd column
        }
    }
}
