//! The picture: it is there before a pass begins, and needs no gradient.

use super::{Back, Gradient, Pass, Run, Value};
use graph::op::Input;

impl Run for Input {
    fn forward(&self, _: &Pass, _: &mut Value) {}

    fn backward(&self, back: Back, gradient: Gradient) {
        back.give(gradient.values);
    }
}
