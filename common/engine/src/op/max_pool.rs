//! The largest value of each window, with any kernel, stride and padding; one picture per task.
//!
//! Its gradient goes to the first largest input in row order, as in PyTorch.

use super::{Back, Gradient, Pass, Run, Value};
use crate::maxima::{max_picture, max_picture_gradient};
use crate::norm::Normalize;
use crate::parallel::{fill_blocks, prelude::*, with_scratch};
use crate::windows::Size;
use graph::Window;
use graph::op::MaxPool;

impl Run for MaxPool {
    fn keeps_places(&self) -> bool {
        true
    }

    fn forward(&self, pass: &Pass, value: &mut Value) {
        let (source, [h, w, c]) = (pass.source(), pass.input_shape());
        let (out, places) = (&mut value.out, &mut value.places);
        forward(source.values, source.normalize, (h, w, c), self.0, out, places);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let (i, [h, w, c]) = (back.i, back.input_shape());
        back.through(gradient, |engine, grad, dx| {
            backward(grad, &engine.values[i].places, (h, w, c), self.0, dx);
        });
    }
}

/// Maxima of `x` `[b, h, w, c]` and their places (`ky · kernel + kx`), both `[b, oh, ow, c]`; with
/// `normalize`, of what that makes of `x`. Without room for places there are none.
pub fn forward(
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
    let picture = |x: &[f32], y: &mut [f32], places: &mut [u8]| {
        let Some(normalize) = normalize else {
            return max_picture(x, y, places, (h, w, c), win);
        };
        with_scratch(band * w * c, |normalized| {
            let row = win.output(band) * win.output(w) * c;
            let bands = y.chunks_mut(row).zip(x.chunks_exact(band * w * c));
            for (k, (y, x)) in bands.enumerate() {
                normalize.rows(x, normalized);
                let places =
                    if places.is_empty() { &mut [] } else { &mut places[k * row..][..row] };
                max_picture(normalized, y, places, (band, w, c), win);
            }
        });
    };
    let pictures = y.par_chunks_mut(out).zip(x.par_chunks(h * w * c));
    if places.is_empty() {
        return pictures.for_each(|(y, x)| picture(x, y, &mut []));
    }
    pictures.zip(places.par_chunks_mut(out)).for_each(|((y, x), places)| picture(x, y, places));
}

/// The input gradient `dx` `[b, h, w, c]` of [`forward`].
pub fn backward(grad: &[f32], places: &[u8], (h, w, c): Size, win: Window, dx: &mut [f32]) {
    let out = win.output(h) * win.output(w) * c;
    fill_blocks(dx, h * w * c, |i, dx| {
        let range = i * out..(i + 1) * out;
        max_picture_gradient(&grad[range.clone()], &places[range], dx, (h, w, c), win);
    });
}
