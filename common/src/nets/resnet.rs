//! ResNet-18 as in torchvision (He et al. 2016, "Deep residual learning for image recognition",
//! table 1): a 7×7/2 stem, a 3×3/2 max pool, four layers of two basic blocks, global mean, linear.

use crate::graph::{Builder, Graph, Op, Window};
use anyhow::Result;

/// Widths of the four layers (torchvision: 64, 128, 256, 512), number of classes.
///
/// # Errors
/// Widths of zero.
pub fn resnet18(widths: [usize; 4], classes: usize) -> Result<Graph> {
    let mut net = Builder::new();
    conv_norm(
        &mut net,
        "conv1",
        "bn1",
        (3, widths[0]),
        Window { kernel: 7, stride: 2, padding: 3 },
    );
    net.then("", Op::Relu);
    net.then("", Op::MaxPool(Window { kernel: 3, stride: 2, padding: 1 }));
    let mut input = widths[0];
    for (layer, &output) in widths.iter().enumerate() {
        for block in 0..2 {
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            basic_block(&mut net, &format!("layer{}.{block}", layer + 1), (input, output), stride);
            input = output;
        }
    }
    net.then("", Op::GlobalAvgPool);
    net.then("fc", Op::Linear { input: widths[3], output: classes, bias: true });
    net.finish()
}

fn conv_norm(
    net: &mut Builder,
    conv: &str,
    norm: &str,
    (input, output): (usize, usize),
    window: Window,
) -> usize {
    net.then(conv, Op::Conv { input, output, window, groups: 1, bias: false });
    net.then(norm, Op::BatchNorm { channels: output })
}

/// Two 3×3 convolutions beside a shortcut, which is 1×1 where the shape changes.
fn basic_block(net: &mut Builder, name: &str, (input, output): (usize, usize), stride: usize) {
    let path = |end: &str| format!("{name}.{end}");
    let start = net.last();
    let first = Window { kernel: 3, stride, padding: 1 };
    let second = Window { kernel: 3, stride: 1, padding: 1 };
    conv_norm(net, &path("conv1"), &path("bn1"), (input, output), first);
    net.then("", Op::Relu);
    let main = conv_norm(net, &path("conv2"), &path("bn2"), (output, output), second);
    let mut shortcut = start;
    if stride != 1 || input != output {
        let window = Window { kernel: 1, stride, padding: 0 };
        let conv = Op::Conv { input, output, window, groups: 1, bias: false };
        let conv = net.push(&path("downsample.0"), conv, vec![start]);
        let norm = Op::BatchNorm { channels: output };
        shortcut = net.push(&path("downsample.1"), norm, vec![conv]);
    }
    net.push("", Op::Add, vec![main, shortcut]);
    net.then("", Op::Relu);
}
