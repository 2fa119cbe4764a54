//! ShuffleNetV2 as in torchvision (Ma et al. 2018, "ShuffleNet V2: practical guidelines for efficient
//! CNN architecture design", table 5): half of the channels pass a block untouched, then the halves
//! are shuffled.

use super::{Family, Knobs, conv_norm, conv_norm_act_in, dense, depthwise, pointwise, stem};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, Concat, GlobalAvgPool, Linear, MaxPool, Shuffle, Split, Window};

pub(super) const FAMILY: Family = Family {
    name: "shufflenet_v2",
    about: "torchvision's ShuffleNetV2 x1.0: 2,278,604 parameters at 1,000 classes",
    stem_stride: 4,
    most_blocks: 0,
    build,
};

/// Output width and number of blocks of stages 2 to 4.
const STAGES: [(usize, usize); 3] = [(116, 4), (232, 8), (464, 4)];

fn build(knobs: &Knobs) -> Result<Graph> {
    let (conv, pool) = stem(knobs);
    let mut net = Builder::new();
    let mut input = knobs.scaled(24);
    let first = dense(3, input, Window::new(3, conv, 1));
    conv_norm_act_in(&mut net, "conv1", first, Activation::Relu);
    if pool == 2 {
        net.then("", MaxPool(Window::new(3, 2, 1)));
    }
    for (stage, (width, count)) in STAGES.into_iter().enumerate() {
        let output = knobs.multiple(width, 2);
        for block in 0..count {
            let name = format!("stage{}.{block}", stage + 2);
            if block == 0 {
                reduction(&mut net, &name, (input, output));
            } else {
                unit(&mut net, &name, output);
            }
            input = output;
        }
    }
    let last = knobs.scaled(1024);
    conv_norm_act_in(&mut net, "conv5", pointwise(input, last), Activation::Relu);
    net.then("", GlobalAvgPool);
    net.then("fc", Linear::new(last, knobs.classes));
    net.finish()
}

/// A block of stride 2: two branches over all channels.
fn reduction(net: &mut Builder, name: &str, (input, output): (usize, usize)) {
    let path = |end: usize| format!("{name}.branch1.{end}");
    let (start, half) = (net.last(), output / 2);
    let spatial = conv_norm(net, [&path(0), &path(1)], depthwise(input, 3, 2), start);
    conv_norm(net, [&path(2), &path(3)], pointwise(input, half), spatial);
    let left = net.then("", Activation::Relu);
    let right = branch(net, name, start, (input, half), 2);
    join(net, left, right);
}

/// A block of stride 1: a branch over the second half.
fn unit(net: &mut Builder, name: &str, channels: usize) {
    let (start, half) = (net.last(), channels / 2);
    let left = net.push("", Split { start: 0, end: half }, vec![start]);
    let right = net.push("", Split { start: half, end: channels }, vec![start]);
    let right = branch(net, name, right, (half, half), 1);
    join(net, left, right);
}

/// Pointwise, depthwise, pointwise.
fn branch(
    net: &mut Builder,
    name: &str,
    start: usize,
    (input, output): (usize, usize),
    stride: usize,
) -> usize {
    let path = |end: usize| format!("{name}.branch2.{end}");
    conv_norm(net, [&path(0), &path(1)], pointwise(input, output), start);
    let middle = net.then("", Activation::Relu);
    let spatial = conv_norm(net, [&path(3), &path(4)], depthwise(output, 3, stride), middle);
    conv_norm(net, [&path(5), &path(6)], pointwise(output, output), spatial);
    net.then("", Activation::Relu)
}

fn join(net: &mut Builder, left: usize, right: usize) {
    net.push("", Concat, vec![left, right]);
    net.then("", Shuffle { groups: 2 });
}
