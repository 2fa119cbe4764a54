//! Channels of several groups in turns; one block of rows per task.

use super::{Back, Gradient, Pass, Run, Value};
use crate::parallel::{block_rows, prelude::*};
use graph::op::Shuffle;

impl Run for Shuffle {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [_, _, c] = pass.input_shape();
        shuffle(pass.source().values, *self, c, false, &mut value.out);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        let [_, _, c] = back.input_shape();
        back.through(gradient, |_, grad, dx| shuffle(grad, *self, c, true, dx));
    }
}

/// Channel shuffle of `x` `[rows, channels]`; `back` undoes it.
fn shuffle(x: &[f32], op: Shuffle, channels: usize, back: bool, y: &mut [f32]) {
    let sources: Vec<usize> = (0..channels).map(|c| op.source(c, channels)).collect();
    let block = block_rows(channels) * channels;
    y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for (c, s) in sources.iter().enumerate() {
                let (to, from) = if back { (*s, c) } else { (c, *s) };
                y[to] = x[from];
            }
        }
    });
}
