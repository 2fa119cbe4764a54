//! ResNet-18 as in torchvision (He et al. 2016, "Deep residual learning for image recognition",
//! table 1): a 7×7/2 stem, a 3×3/2 max pool, four layers of two basic blocks, global mean, linear.

use super::Family;
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, Add, BatchNorm, Conv, GlobalAvgPool, Linear, MaxPool, Window};

pub(super) const FAMILY: Family = Family {
    name: "resnet18",
    about: "torchvision's ResNet-18: 11,182,155 parameters at 11 classes",
    build: |scale, classes| resnet18([64, 128, 256, 512].map(scale), classes),
};

/// Widths of the four layers (torchvision: 64, 128, 256, 512), number of classes.
///
/// # Errors
/// Widths of zero.
pub fn resnet18(widths: [usize; 4], classes: usize) -> Result<Graph> {
    let mut net = Builder::new();
    conv_norm(&mut net, "conv1", "bn1", (3, widths[0]), Window::new(7, 2, 3));
    net.then("", Activation::Relu);
    net.then("", MaxPool(Window::new(3, 2, 1)));
    let mut input = widths[0];
    for (layer, &output) in widths.iter().enumerate() {
        for block in 0..2 {
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            basic_block(&mut net, &format!("layer{}.{block}", layer + 1), (input, output), stride);
            input = output;
        }
    }
    net.then("", GlobalAvgPool);
    net.then("fc", Linear { input: widths[3], output: classes, bias: true });
    net.finish()
}

fn conv_norm(
    net: &mut Builder,
    conv: &str,
    norm: &str,
    (input, output): (usize, usize),
    window: Window,
) -> usize {
    net.then(conv, Conv { input, output, window, groups: 1, bias: false });
    net.then(norm, BatchNorm { channels: output })
}

/// Two 3×3 convolutions beside a shortcut, which is 1×1 where the shape changes.
fn basic_block(net: &mut Builder, name: &str, (input, output): (usize, usize), stride: usize) {
    let path = |end: &str| format!("{name}.{end}");
    let start = net.last();
    let first = Window::new(3, stride, 1);
    let second = Window::new(3, 1, 1);
    conv_norm(net, &path("conv1"), &path("bn1"), (input, output), first);
    net.then("", Activation::Relu);
    let main = conv_norm(net, &path("conv2"), &path("bn2"), (output, output), second);
    let mut shortcut = start;
    if stride != 1 || input != output {
        let window = Window::new(1, stride, 0);
        let conv = Conv { input, output, window, groups: 1, bias: false };
        let conv = net.push(&path("downsample.0"), conv, vec![start]);
        let norm = BatchNorm { channels: output };
        shortcut = net.push(&path("downsample.1"), norm, vec![conv]);
    }
    net.push("", Add, vec![main, shortcut]);
    net.then("", Activation::Relu);
}
