//! The block of MobileNetV2, MobileNetV3 and EfficientNet: widen, filter each channel, narrow; plus the input
//! where the shape stays (Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks",
//! section 3.3). In the later two the filtered channels are multiplied by factors that follow from their means
//! (Hu et al. 2018, "Squeeze-and-excitation networks", section 3).

use super::{conv_norm, conv_norm_act, filters, pointwise};
use crate::network::Builder;
use crate::op::{Activation, Add, Conv, GlobalAvgPool, Mul, Window};

/// One block.
pub(super) struct InvertedResidual {
    /// Channels it reads.
    pub(super) input: usize,
    /// Channels it filters; None: those it reads, and nothing widens them.
    pub(super) inner: Option<usize>,
    /// Channels it gives.
    pub(super) output: usize,
    /// Of the filters.
    pub(super) window: Window,
    /// Behind all convolutions but the last.
    pub(super) act: Activation,
    /// Squeeze-and-excitation of the filtered channels.
    pub(super) gate: Option<Gate>,
    /// Whether the input is added.
    pub(super) is_residual: bool,
}

/// Means of the channels → fewer channels → a factor for each channel.
pub(super) struct Gate {
    /// The fewer channels.
    pub(super) squeezed: usize,
    /// Behind the first convolution, and behind the second.
    pub(super) acts: [Activation; 2],
}

/// What a convolution of a block and its batch norm are called below the block's name.
#[derive(Clone, Copy)]
pub(super) enum Names {
    /// By the number of the part, each in a `Sequential` of its own: torchvision's MobileNetV3 and EfficientNet.
    Within,
    /// So, but the last two one behind the other: torchvision's MobileNetV2.
    InLine,
    /// By what they are for: EfficientNet-Lite.
    ByRole,
}

/// What a convolution of a block is for.
#[derive(Clone, Copy)]
enum Role {
    Widen,
    Filter,
    Narrow,
}

impl Names {
    /// Of the convolution for `role`, which is part number `part`, in the block `name`.
    fn of(self, name: &str, role: Role, part: usize) -> [String; 2] {
        let ends = match (self, role) {
            (Self::InLine, Role::Narrow) => [part.to_string(), (part + 1).to_string()],
            (Self::InLine | Self::Within, _) => [format!("{part}.0"), format!("{part}.1")],
            (Self::ByRole, Role::Widen) => ["_expand_conv", "_bn0"].map(str::to_owned),
            (Self::ByRole, Role::Filter) => ["_depthwise_conv", "_bn1"].map(str::to_owned),
            (Self::ByRole, Role::Narrow) => ["_project_conv", "_bn2"].map(str::to_owned),
        };
        ends.map(|end| format!("{name}.{end}"))
    }
}

impl InvertedResidual {
    /// Behind the latest node.
    pub(super) fn push(&self, net: &mut Builder, name: &str, names: Names) {
        let (start, mut part) = (net.last(), 0);
        if let Some(inner) = self.inner {
            let [conv, norm] = names.of(name, Role::Widen, part);
            conv_norm_act(net, [&conv, &norm], pointwise(self.input, inner), self.act);
            part += 1;
        }
        let inner = self.inner.unwrap_or(self.input);
        let [conv, norm] = names.of(name, Role::Filter, part);
        let mut last = conv_norm_act(net, [&conv, &norm], filters(inner, self.window), self.act);
        part += 1;
        if let Some(gate) = &self.gate {
            last = gate.push(net, &format!("{name}.{part}"), inner);
            part += 1;
        }
        let [conv, norm] = names.of(name, Role::Narrow, part);
        let end = conv_norm(net, [&conv, &norm], pointwise(inner, self.output), last);
        if self.is_residual {
            net.push("", Add, vec![start, end]);
        }
    }
}

impl Gate {
    /// The latest node, of `channels`, times its factors.
    fn push(&self, net: &mut Builder, name: &str, channels: usize) -> usize {
        let map = net.last();
        net.then("", GlobalAvgPool);
        let widths = [channels, self.squeezed, channels];
        for (i, act) in self.acts.into_iter().enumerate() {
            let conv = Conv { bias: true, ..pointwise(widths[i], widths[i + 1]) };
            net.then(&format!("{name}.fc{}", i + 1), conv);
            net.then("", act);
        }
        net.push("", Mul, vec![map, net.last()])
    }
}
