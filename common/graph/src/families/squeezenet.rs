//! SqueezeNet 1.1 as in torchvision (Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50×
//! fewer parameters and < 0.5 MB model size"): fire modules, no batch norm, logits from a convolution.

use super::{Family, Knobs, dense, stem};
use crate::error::Result;
use crate::network::{Builder, Graph};
use crate::op::{Activation, Concat, Conv, GlobalAvgPool, MaxPool, Window};

pub(super) const FAMILY: Family = Family {
    name: "squeezenet1_1",
    about: "torchvision's SqueezeNet 1.1: 1,235,496 parameters at 1,000 classes",
    stem_stride: 4,
    most_blocks: 0,
    build,
};

/// Place among the features, width of the squeeze, of each half of the expansion.
const FIRES: [(usize, usize, usize); 8] = [
    (3, 16, 64),
    (4, 16, 64),
    (6, 32, 128),
    (7, 32, 128),
    (9, 48, 192),
    (10, 48, 192),
    (11, 64, 256),
    (12, 64, 256),
];

fn build(knobs: &Knobs) -> Result<Graph> {
    let (stride, pool) = stem(knobs);
    let half = MaxPool(Window::ceil(3, 2, 0));
    let mut net = Builder::new();
    let mut input = knobs.scaled(64);
    conv_relu(&mut net, "features.0", dense(3, input, Window::new(3, stride, 0)));
    if pool == 2 {
        net.then("", half);
    }
    for (place, squeeze, expand) in FIRES {
        if matches!(place, 6 | 9) {
            net.then("", half);
        }
        let (squeeze, expand) = (knobs.scaled(squeeze), knobs.scaled(expand));
        fire(&mut net, &format!("features.{place}"), (input, squeeze, expand));
        input = 2 * expand;
    }
    conv_relu(&mut net, "classifier.1", dense(input, knobs.classes, Window::POINT));
    net.then("", GlobalAvgPool);
    net.finish()
}

/// 1×1 to few channels; from these 1×1 and 3×3 side by side.
fn fire(net: &mut Builder, name: &str, (input, squeeze, expand): (usize, usize, usize)) {
    let path = |end: &str| format!("{name}.{end}");
    let few = conv_relu(net, &path("squeeze"), dense(input, squeeze, Window::POINT));
    let small = conv_relu(net, &path("expand1x1"), dense(squeeze, expand, Window::POINT));
    let large = Conv { bias: true, ..dense(squeeze, expand, Window::new(3, 1, 1)) };
    net.push(&path("expand3x3"), large, vec![few]);
    let large = net.then("", Activation::Relu);
    net.push("", Concat, vec![small, large]);
}

fn conv_relu(net: &mut Builder, name: &str, conv: Conv) -> usize {
    net.then(name, Conv { bias: true, ..conv });
    net.then("", Activation::Relu)
}
