//! DenseNet (Huang et al. 2017, "Densely connected convolutional networks"): every layer reads what all
//! before it in its block gave. DenseNet-121 as in torchvision (table 1), and DenseNet-BC of 100 layers
//! for small pictures (section 4.2), under the same names.

use super::{Family, Knobs, dense, stem};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{
    Activation, AvgPool, BatchNorm, Concat, Conv, GlobalAvgPool, Linear, MaxPool, Window,
};

pub(super) const FAMILY_121: Family = Family {
    name: "densenet121",
    about: "torchvision's DenseNet-121: 7,978,856 parameters at 1,000 classes",
    stem_stride: 4,
    most_blocks: 0,
    build: |knobs| build(64, Window::new(7, stem(knobs).0, 3), 32, &[6, 12, 24, 16], knobs),
};

pub(super) const FAMILY_100: Family = Family {
    name: "densenet100",
    about: "DenseNet-BC for small pictures, 100 layers of growth 12: 769,162 parameters at 10 classes",
    stem_stride: 1,
    most_blocks: 0,
    build: |knobs| build(24, Window::new(3, 1, 1), 12, &[16, 16, 16], knobs),
};

/// Width and window of the stem, channels that a layer adds, layers per block.
fn build(
    first: usize,
    window: Window,
    growth: usize,
    blocks: &[usize],
    knobs: &Knobs,
) -> Result<Graph> {
    let growth = knobs.scaled(growth);
    let mut channels = knobs.scaled(first);
    let mut net = Builder::new();
    net.then("features.conv0", dense(3, channels, window));
    // For small pictures the first block's own batch norm is the first (section 4.2).
    if window.kernel > 3 {
        norm_relu(&mut net, "features.norm0", channels);
    }
    if knobs.stem_stride == Some(4) {
        net.then("", MaxPool(Window::new(3, 2, 1)));
    }
    for (b, layers) in blocks.iter().enumerate() {
        for layer in 0..*layers {
            let name = format!("features.denseblock{}.denselayer{}", b + 1, layer + 1);
            dense_layer(&mut net, &name, channels, growth);
            channels += growth;
        }
        if b + 1 < blocks.len() {
            let name = format!("features.transition{}", b + 1);
            norm_relu(&mut net, &format!("{name}.norm"), channels);
            let half = (channels / 2).max(1);
            net.then(&format!("{name}.conv"), dense(channels, half, Window::POINT));
            net.then("", AvgPool(Window::new(2, 2, 0)));
            channels = half;
        }
    }
    norm_relu(&mut net, &format!("features.norm{}", blocks.len() + 1), channels);
    net.then("", GlobalAvgPool);
    net.then("classifier", Linear::new(channels, knobs.classes));
    net.finish()
}

/// `growth` new channels behind those there are: 1×1 to four times as many, then 3×3.
fn dense_layer(net: &mut Builder, name: &str, channels: usize, growth: usize) {
    let path = |end: &str| format!("{name}.{end}");
    let start = net.last();
    let inner = 4 * growth;
    norm_relu(net, &path("norm1"), channels);
    net.then(&path("conv1"), dense(channels, inner, Window::POINT));
    norm_relu(net, &path("norm2"), inner);
    let spatial: Conv = dense(inner, growth, Window::new(3, 1, 1));
    let new = net.then(&path("conv2"), spatial);
    net.push("", Concat, vec![start, new]);
}

fn norm_relu(net: &mut Builder, name: &str, channels: usize) {
    net.then(name, BatchNorm::new(channels));
    net.then("", Activation::Relu);
}
