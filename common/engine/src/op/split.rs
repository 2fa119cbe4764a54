//! A range of the channels.

use super::{Back, Gradient, Pass, Run, Value};
use crate::channels;
use graph::op::Split;

impl Run for Split {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let [_, _, c] = pass.input_shape();
        let n = self.end - self.start;
        channels::take(pass.source().values, (self.start, c), n, &mut value.out);
    }

    /// A split adds to its channels of the input's gradient; the others have none from it.
    fn backward(&self, mut back: Back, gradient: Gradient) {
        let [_, _, width] = back.input_shape();
        let n = self.end - self.start;
        // The picture needs none.
        if back.fused.inputs[0] > 0 {
            let sum = back.sum_of(back.fused.inputs[0]);
            channels::put_more(&gradient.values, n, sum, (self.start, width));
        }
        back.give(gradient.values);
    }
}
