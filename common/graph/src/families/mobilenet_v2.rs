//! MobileNetV2 as in torchvision (Sandler et al. 2018, "MobileNetV2: inverted residuals and linear
//! bottlenecks", table 2).

use super::{Family, Knobs, conv_norm, conv_norm_act, dense, depthwise, pointwise};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, Add, GlobalAvgPool, Linear, Window};

pub(super) const FAMILY: Family = Family {
    name: "mobilenet_v2",
    about: "torchvision's MobileNetV2: 3,504,872 parameters at 1,000 classes",
    stem_stride: 2,
    most_blocks: 0,
    build,
};

/// Expansion, output width, number of blocks, stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

fn build(knobs: &Knobs) -> Result<Graph> {
    let mut net = Builder::new();
    let mut input = knobs.scaled(32);
    let stem = dense(3, input, Window::new(3, knobs.stem_stride.unwrap_or(2), 1));
    conv_norm_act(&mut net, ["features.0.0", "features.0.1"], stem, Activation::Relu6);
    let mut block = 1;
    for (expansion, width, count, first) in STAGES {
        for i in 0..count {
            let (output, stride) = (knobs.scaled(width), if i == 0 { first } else { 1 });
            let name = format!("features.{block}.conv");
            inverted_residual(&mut net, &name, (input, output), (expansion, stride), i > 0);
            (input, block) = (output, block + 1);
        }
    }
    let last = knobs.scaled(1280);
    let names = [format!("features.{block}.0"), format!("features.{block}.1")];
    let mixing = pointwise(input, last);
    conv_norm_act(&mut net, [&names[0], &names[1]], mixing, Activation::Relu6);
    net.then("", GlobalAvgPool);
    net.then("classifier.1", Linear::new(last, knobs.classes));
    net.finish()
}

/// Widen, filter each channel, narrow; plus the input where the shape stays.
fn inverted_residual(
    net: &mut Builder,
    name: &str,
    (input, output): (usize, usize),
    (expansion, stride): (usize, usize),
    is_residual: bool,
) {
    let path = |end: &str| format!("{name}.{end}");
    let start = net.last();
    let inner = input * expansion;
    let mut next = 0;
    if expansion != 1 {
        let widen = pointwise(input, inner);
        conv_norm_act(net, [&path("0.0"), &path("0.1")], widen, Activation::Relu6);
        next = 1;
    }
    let names = [path(&format!("{next}.0")), path(&format!("{next}.1"))];
    let spatial = depthwise(inner, stride);
    let middle = conv_norm_act(net, [&names[0], &names[1]], spatial, Activation::Relu6);
    let names = [path(&format!("{}", next + 1)), path(&format!("{}", next + 2))];
    let end = conv_norm(net, [&names[0], &names[1]], pointwise(inner, output), middle);
    if is_residual {
        net.push("", Add, vec![start, end]);
    }
}
