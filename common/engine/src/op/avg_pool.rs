//! The mean of each window, with any kernel, stride and padding; one picture per task.

use super::{Back, Gradient, Pass, Run, Value};
use crate::parallel::prelude::*;
use crate::windows::{Size, for_places};
use graph::Window;
use graph::op::AvgPool;

impl Run for AvgPool {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [h, w, c] = pass.input_shape();
        forward(pass.source().values, (h, w, c), self.0, &mut value.out);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let [h, w, c] = back.input_shape();
        back.through(gradient, |_, grad, dx| backward(grad, (h, w, c), self.0, dx));
    }
}

/// Pixels that the mean of the window at position `o` of a side of `n` counts: those of the padded
/// picture (PyTorch's `avg_pool2d`).
fn counted(o: usize, n: usize, win: Window) -> usize {
    let start = o * win.stride;
    (start + win.kernel).min(n + 2 * win.before(n)) - start
}

/// Means `y` `[b, oh, ow, c]` of the windows of `x` `[b, h, w, c]`; padding counts as zeros.
pub fn forward(x: &[f32], (h, w, c): Size, win: Window, y: &mut [f32]) {
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

/// The input gradient `dx` `[b, h, w, c]` of [`forward`].
pub fn backward(grad: &[f32], (h, w, c): Size, win: Window, dx: &mut [f32]) {
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
