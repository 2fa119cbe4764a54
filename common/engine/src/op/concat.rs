//! Channels of several inputs, one behind the other.

use super::{Back, Gradient, Pass, Run, Value};
use crate::channels;
use graph::op::Concat;

impl Run for Concat {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        let (mut at, width) = (0, pass.fused.shape[2]);
        for &j in &pass.fused.inputs {
            let n = pass.engine.shape(j)[2];
            channels::put(&pass.engine.values[j].out, n, &mut value.out, (at, width));
            at += n;
        }
    }

    fn backward(&self, mut back: Back, gradient: Gradient) {
        let (mut at, width) = (0, back.fused.shape[2]);
        for &j in &back.fused.inputs {
            let n = back.engine.shape(j)[2];
            let mut dx = back.room(j);
            channels::take(&gradient.values, (at, width), n, &mut dx);
            back.add(j, dx);
            at += n;
        }
        back.give(gradient.values);
    }
}
