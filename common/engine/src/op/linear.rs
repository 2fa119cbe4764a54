//! A linear layer is the convolution that fits into its pictures once.

use super::{Back, Gradient, Pass, Run, Value, conv};
use graph::op::Linear;

impl Run for Linear {
    fn forward(&self, pass: &Pass, value: &mut Value) {
        conv::forward(&self.as_conv(), pass, value);
    }

    fn backward(&self, back: Back, gradient: Gradient) {
        conv::backward(&self.as_conv(), back, gradient);
    }
}
