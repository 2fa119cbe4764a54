//! Convolution: `y[o] = bias[o] + Σ x[i] ∗ weight[o, i]`, square kernels, zero padding.

use super::{
    Change, Margin, Operation, Parameter, Result, Role, Walk, Window, Words, ensure, in_range,
    kept, meets,
};

/// Convolution; weight `[output, input / groups, k, k]`, bias `[output]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Kernel, stride, margin of zeros; never `ceil`.
    pub window: Window,
    /// Channel groups: 1 = all see all, the number of channels = depthwise.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Conv {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        let (input, output) = words.pair()?;
        let (window, groups) = (words.window()?, words.groups()?.unwrap_or(1));
        Ok(Self { input, output, window, groups, bias: words.flag("bias") })
    }

    /// One filter per channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.input && self.input == self.output && self.groups > 1
    }

    /// 1 × 1 filters over all channels of each pixel.
    pub fn is_pointwise(&self) -> bool {
        self.window == Window::POINT && self.groups == 1
    }
}

impl Operation for Conv {
    fn parameters(&self) -> Vec<Parameter> {
        let k = self.window.kernel;
        let shape = [self.output, self.input / self.groups, k, k];
        let mut all = vec![Parameter::new("weight", shape, Role::Weight)];
        all.extend(self.bias.then(|| Parameter::new("bias", [self.output], Role::Bias)));
        all
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        let Self { input, output, groups, .. } = *self;
        meets(input, channels[0])?;
        in_range(output)?;
        in_range(groups)?;
        self.window.check(false)?;
        ensure!(!matches!(self.window.margin, Margin::Ceil(_)), "a convolution has no ceil");
        let divides = input.is_multiple_of(groups) && output.is_multiple_of(groups);
        ensure!(divides, "{groups} groups do not divide {input} and {output} channels");
        Ok(output)
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        self.window.over(sizes[0])
    }

    fn as_conv(&self) -> Option<Conv> {
        Some(*self)
    }

    fn clamps(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        let Self { input, output, window, groups, bias } = self;
        let groups = if *groups == 1 { String::new() } else { format!(" g{groups}") };
        format!("conv {input}>{output}{window}{groups}{}", if *bias { " bias" } else { "" })
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        let depthwise = self.is_depthwise();
        let out = if depthwise { inputs[0].to_vec() } else { walk.fresh(self.output) };
        if !depthwise {
            // Groups stay equally wide only if channels with the same place in every group go together.
            walk.tie(inputs[0], self.groups);
            walk.tie(&out, self.groups);
            walk.carry("weight", 1, &inputs[0][..self.input / self.groups]);
        }
        walk.carry("weight", 0, &out);
        if self.bias {
            walk.carry("bias", 0, &out);
        }
        out
    }

    fn keep(&mut self, inputs: &[&[bool]], output: &[bool]) {
        if self.is_depthwise() {
            self.groups = kept(output);
        }
        (self.input, self.output) = (kept(inputs[0]), kept(output));
    }

    fn resize(&mut self, shape: &dyn Fn(&str) -> Result<[usize; 2]>, _: Change) -> Result<()> {
        let [output, per_group] = shape("weight")?;
        if self.is_depthwise() {
            self.groups = output;
        }
        (self.input, self.output) = (per_group * self.groups, output);
        Ok(())
    }

    fn multiplications(&self, [h, w]: [usize; 2]) -> u64 {
        let per_output = self.input / self.groups * self.window.taps();
        (h * w * self.output) as u64 * per_output as u64
    }
}
