//! Max and average pooling with any kernel, stride and padding, and the mean over the picture; one
//! picture per task.
//!
//! The gradient of a maximum goes to the first largest input in row order, as in PyTorch.

use crate::norm::Normalize;
use crate::parallel::{fill_blocks, prelude::*, with_scratch};
use crate::simd::dispatch;
use graph::Window;

type Size = (usize, usize, usize);

/// Maxima of `x` `[b, h, w, c]` and their places (`ky · kernel + kx`), both `[b, oh, ow, c]`; with
/// `normalize`, of what that makes of `x`.
pub fn max_forward(
    x: &[f32],
    normalize: Option<&Normalize>,
    (h, w, c): Size,
    win: Window,
    y: &mut [f32],
    places: &mut [u8],
) {
    let out = win.output(h) * win.output(w) * c;
    // Where windows do not overlap, a band of rows at a time, so that what is normalized stays near.
    let band = if win.tiles() { win.kernel } else { h };
    y.par_chunks_mut(out).zip(places.par_chunks_mut(out)).zip(x.par_chunks(h * w * c)).for_each(
        |((y, places), x)| {
            let Some(normalize) = normalize else {
                return max_picture(x, y, places, (h, w, c), win);
            };
            with_scratch(band * w * c, |normalized| {
                let row = win.output(band) * win.output(w) * c;
                let bands = y.chunks_mut(row).zip(places.chunks_mut(row));
                for ((y, places), x) in bands.zip(x.chunks_exact(band * w * c)) {
                    normalize.rows(x, normalized);
                    max_picture(normalized, y, places, (band, w, c), win);
                }
            });
        },
    );
}

/// The input gradient `dx` `[b, h, w, c]` of [`max_forward`].
pub fn max_backward(grad: &[f32], places: &[u8], (h, w, c): Size, win: Window, dx: &mut [f32]) {
    let out = win.output(h) * win.output(w) * c;
    fill_blocks(dx, h * w * c, |i, dx| {
        let range = i * out..(i + 1) * out;
        max_picture_gradient(&grad[range.clone()], &places[range], dx, (h, w, c), win);
    });
}

/// Calls `f(output position, input position, place in the window)`, windows in row order.
#[inline(always)]
fn for_places((h, w, _): Size, win: Window, mut f: impl FnMut(usize, usize, u8)) {
    let ow = win.output(w);
    for oy in 0..win.output(h) {
        for ox in 0..ow {
            for ky in 0..win.kernel {
                let iy = oy * win.stride + ky;
                if iy < win.padding || iy - win.padding >= h {
                    continue;
                }
                for kx in 0..win.kernel {
                    let ix = ox * win.stride + kx;
                    if ix >= win.padding && ix - win.padding < w {
                        let from = (iy - win.padding) * w + ix - win.padding;
                        f(oy * ow + ox, from, (ky * win.kernel + kx) as u8);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// One picture.
    pub(crate) fn max_picture(
        x: &[f32], y: &mut [f32], places: &mut [u8], size: Size, win: Window,
    )
        = max_picture_body
}

#[inline(always)]
fn max_picture_body<const FMA: bool>(
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

/// Pixels that the mean of the window at position `o` of a side of `n` counts: those of the padded
/// picture (PyTorch's `avg_pool2d`).
fn counted(o: usize, n: usize, win: Window) -> usize {
    let start = o * win.stride;
    (start + win.kernel).min(n + 2 * win.padding) - start
}

/// Means `y` `[b, oh, ow, c]` of the windows of `x` `[b, h, w, c]`; padding counts as zeros.
pub fn avg_forward(x: &[f32], (h, w, c): Size, win: Window, y: &mut [f32]) {
    let ow = win.output(w);
    let out = win.output(h) * ow * c;
    y.par_chunks_mut(out).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
        y.fill(0.0);
        for_places((h, w, c), win, |to, from, _| {
            let x = &x[from * c..(from + 1) * c];
            y[to * c..(to + 1) * c].iter_mut().zip(x).for_each(|(y, x)| *y += x);
        });
        for (i, y) in y.chunks_exact_mut(c).enumerate() {
            let n = (counted(i / ow, h, win) * counted(i % ow, w, win)) as f32;
            y.iter_mut().for_each(|y| *y /= n);
        }
    });
}

/// The input gradient `dx` `[b, h, w, c]` of [`avg_forward`].
pub fn avg_backward(grad: &[f32], (h, w, c): Size, win: Window, dx: &mut [f32]) {
    let ow = win.output(w);
    let out = win.output(h) * ow * c;
    dx.par_chunks_mut(h * w * c).zip(grad.par_chunks(out)).for_each(|(dx, grad)| {
        dx.fill(0.0);
        for_places((h, w, c), win, |to, from, _| {
            let n = (counted(to / ow, h, win) * counted(to % ow, w, win)) as f32;
            let grad = &grad[to * c..(to + 1) * c];
            dx[from * c..(from + 1) * c].iter_mut().zip(grad).for_each(|(d, g)| *d += g / n);
        });
    });
}

/// Means `y` `[b, c]` over `pixels` of `x` `[b, pixels, c]`.
pub fn mean_forward(x: &[f32], pixels: usize, c: usize, y: &mut [f32]) {
    y.par_chunks_mut(c).zip(x.par_chunks(pixels * c)).for_each(|(y, x)| {
        y.fill(0.0);
        for row in x.chunks_exact(c) {
            for (y, x) in y.iter_mut().zip(row) {
                *y += x;
            }
        }
        for y in y {
            *y /= pixels as f32;
        }
    });
}

/// The input gradient `dx` `[b, pixels, c]` of [`mean_forward`] for `grad` `[b, c]`.
pub fn mean_backward(grad: &[f32], pixels: usize, c: usize, dx: &mut [f32]) {
    fill_blocks(dx, pixels * c, |i, dx| {
        for row in dx.chunks_exact_mut(c) {
            for (dx, g) in row.iter_mut().zip(&grad[i * c..]) {
                *dx = g / pixels as f32;
            }
        }
    });
}
