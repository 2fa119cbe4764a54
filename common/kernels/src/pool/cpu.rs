//! Pooling on slices, one picture per task.

use super::Window;
use crate::parallel::collect_blocks;
use crate::simd::dispatch;
use rayon::prelude::*;

type Size = (usize, usize, usize);

/// Maxima and their places (`ky · kernel + kx`), both `[b, oh, ow, c]`.
pub fn max_forward(x: &[f32], (h, w, c): Size, win: Window) -> (Vec<f32>, Vec<u8>) {
    let out = win.output(h) * win.output(w) * c;
    let batch = x.len() / (h * w * c).max(1);
    let mut y = vec![f32::NEG_INFINITY; batch * out];
    let mut places = vec![0u8; batch * out];
    y.par_chunks_mut(out)
        .zip(places.par_chunks_mut(out))
        .zip(x.par_chunks(h * w * c))
        .for_each(|((y, places), x)| max_picture(x, y, places, (h, w, c), win));
    (y, places)
}

/// The input gradient of [`max_forward`], `len` = `b · h · w · c` floats.
pub fn max_backward(
    grad: &[f32],
    places: &[u8],
    len: usize,
    (h, w, c): Size,
    win: Window,
) -> Vec<f32> {
    let out = win.output(h) * win.output(w) * c;
    collect_blocks(len, h * w * c, |i, dx| {
        let range = i * out..(i + 1) * out;
        max_picture_gradient(&grad[range.clone()], &places[range], dx, (h, w, c), win);
    })
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
    fn max_picture(x: &[f32], y: &mut [f32], places: &mut [u8], size: Size, win: Window)
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
    let c = size.2;
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

dispatch! {
    fn max_picture_gradient(grad: &[f32], places: &[u8], dx: &mut [f32], size: Size, win: Window)
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
    let c = size.2;
    for_places(size, win, |to, from, place| {
        let grad = &grad[to * c..(to + 1) * c];
        let places = &places[to * c..(to + 1) * c];
        for ((dx, g), p) in dx[from * c..(from + 1) * c].iter_mut().zip(grad).zip(places) {
            *dx += if *p == place { *g } else { 0.0 };
        }
    });
}

/// Means over `pixels` of `x` `[b, pixels, c]` → `[b, c]`.
pub fn mean_forward(x: &[f32], pixels: usize, c: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / pixels.max(1)];
    y.par_chunks_mut(c).zip(x.par_chunks(pixels * c)).for_each(|(y, x)| {
        for row in x.chunks_exact(c) {
            for (y, x) in y.iter_mut().zip(row) {
                *y += x;
            }
        }
        for y in y {
            *y /= pixels as f32;
        }
    });
    y
}

/// The input gradient of [`mean_forward`].
pub fn mean_backward(grad: &[f32], pixels: usize, c: usize) -> Vec<f32> {
    collect_blocks(grad.len() * pixels, pixels * c, |i, dx| {
        for row in dx.chunks_exact_mut(c) {
            for (dx, g) in row.iter_mut().zip(&grad[i * c..]) {
                *dx = g / pixels as f32;
            }
        }
    })
}
