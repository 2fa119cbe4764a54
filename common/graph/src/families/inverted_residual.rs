//! The block of MobileNetV2, MobileNetV3 and EfficientNet: widen, filter each channel, narrow; plus the input
//! where the shape stays (Sandler et al. 2018, "MobileNetV2: inverted residuals and linear bottlenecks",
//! section 3.3). In the later two the filtered channels are multiplied by factors that follow from their means
//! (Hu et al. 2018, "Squeeze-and-excitation networks", section 3).

use super::{conv_norm, conv_norm_act_in, depthwise, pointwise};
use crate::network::Builder;
use crate::op::{Activation, Add, Conv, GlobalAvgPool, Mul};

/// One block.
pub(super) struct InvertedResidual {
    /// Channels it reads.
    pub(super) input: usize,
    /// Channels it filters; None: those it reads, and nothing widens them.
    pub(super) inner: Option<usize>,
    /// Channels it gives.
    pub(super) output: usize,
    /// Side of the filters, pixels.
    pub(super) kernel: usize,
    /// Stride of the filters, pixels.
    pub(super) stride: usize,
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

impl InvertedResidual {
    /// Behind the latest node. `ends` are the names, below `name`, of the last convolution and its norm, by
    /// the number of parts before these.
    pub(super) fn push(&self, net: &mut Builder, name: &str, ends: fn(usize) -> [String; 2]) {
        let path = |part: usize| format!("{name}.{part}");
        let (start, mut part) = (net.last(), 0);
        if let Some(inner) = self.inner {
            conv_norm_act_in(net, &path(part), pointwise(self.input, inner), self.act);
            part += 1;
        }
        let inner = self.inner.unwrap_or(self.input);
        let spatial = depthwise(inner, self.kernel, self.stride);
        let mut last = conv_norm_act_in(net, &path(part), spatial, self.act);
        part += 1;
        if let Some(gate) = &self.gate {
            last = gate.push(net, &path(part), inner);
            part += 1;
        }
        let [conv, norm] = ends(part).map(|end| format!("{name}.{end}"));
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

/// As torchvision names them in MobileNetV3 and EfficientNet: in a `Sequential` of their own.
pub(super) fn ends_within(part: usize) -> [String; 2] {
    [format!("{part}.0"), format!("{part}.1")]
}

/// As torchvision names them in MobileNetV2: one behind the other.
pub(super) fn ends_in_line(part: usize) -> [String; 2] {
    [part.to_string(), (part + 1).to_string()]
}
