//! ResNet-18 and -34 as in torchvision (He et al. 2016, "Deep residual learning for image
//! recognition", table 1): a 7×7/2 stem, a 3×3/2 max pool, four layers of basic blocks, global mean,
//! linear.

use super::{Family, Knobs, conv_norm, conv_norm_act, dense, stem};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, Add, GlobalAvgPool, Linear, MaxPool, Window};

pub(super) const FAMILY_18: Family = Family {
    name: "resnet18",
    about: "torchvision's ResNet-18: 11,182,155 parameters at 11 classes",
    stem_stride: 4,
    most_blocks: 0,
    build: |knobs| resnet([64, 128, 256, 512], [2; 4], knobs),
};

pub(super) const FAMILY_34: Family = Family {
    name: "resnet34",
    about: "torchvision's ResNet-34: 21,290,315 parameters at 11 classes",
    stem_stride: 4,
    most_blocks: 0,
    build: |knobs| resnet([64, 128, 256, 512], [3, 4, 6, 3], knobs),
};

/// ResNet-18 of any widths of the four layers (torchvision: 64, 128, 256, 512), number of classes.
///
/// # Errors
/// Widths of zero.
pub fn resnet18(widths: [usize; 4], classes: usize) -> Result<Graph> {
    resnet(widths, [2; 4], &Knobs::standard(classes))
}

/// Widths and numbers of blocks of the four layers.
fn resnet(widths: [usize; 4], blocks: [usize; 4], knobs: &Knobs) -> Result<Graph> {
    let widths = widths.map(|n| knobs.scaled(n));
    let (conv, pool) = stem(knobs);
    let mut net = Builder::new();
    let first = dense(3, widths[0], Window::new(7, conv, 3));
    conv_norm_act(&mut net, ["conv1", "bn1"], first, Activation::Relu);
    if pool == 2 {
        net.then("", MaxPool(Window::new(3, 2, 1)));
    }
    let mut input = widths[0];
    for (layer, &output) in widths.iter().enumerate() {
        for block in 0..blocks[layer] {
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            basic_block(&mut net, &format!("layer{}.{block}", layer + 1), (input, output), stride);
            input = output;
        }
    }
    net.then("", GlobalAvgPool);
    net.then("fc", Linear::new(widths[3], knobs.classes));
    net.finish()
}

/// Two 3×3 convolutions beside a shortcut, which is 1×1 where the shape changes.
fn basic_block(net: &mut Builder, name: &str, (input, output): (usize, usize), stride: usize) {
    let path = |end: &str| format!("{name}.{end}");
    let start = net.last();
    let first = dense(input, output, Window::new(3, stride, 1));
    let middle = conv_norm_act(net, [&path("conv1"), &path("bn1")], first, Activation::Relu);
    let second = dense(output, output, Window::new(3, 1, 1));
    let main = conv_norm(net, [&path("conv2"), &path("bn2")], second, middle);
    let mut shortcut = start;
    if stride != 1 || input != output {
        let conv = dense(input, output, Window::new(1, stride, 0));
        shortcut = conv_norm(net, [&path("downsample.0"), &path("downsample.1")], conv, start);
    }
    net.push("", Add, vec![main, shortcut]);
    net.then("", Activation::Relu);
}
