//! Fully connected layer: `y = weight · x + bias`, x all values of a picture in PyTorch's order, channel
//! by channel.

use super::{
    Change, Conv, Operation, Parameter, Result, Role, Walk, Window, Words, ensure, in_range, kept,
    meets,
};

/// Fully connected layer on `[input, side, side]`; weight `[output, input · side²]`, bias `[output]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Height and width of what it reads, pixels.
    pub side: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Linear {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        let (input, output) = words.pair()?;
        let side = words.kernel()?.unwrap_or(1);
        Ok(Self { input, output, side, bias: words.flag("bias") })
    }

    /// As the one k × k convolution that fits into its pictures; PyTorch's order of the weights is the same.
    pub fn as_conv(self) -> Conv {
        let Self { input, output, side, bias } = self;
        Conv { input, output, window: Window::new(side, 1, 0), groups: 1, bias }
    }

    /// On pictures of one pixel, with a bias.
    pub const fn new(input: usize, output: usize) -> Self {
        Self { input, output, side: 1, bias: true }
    }
}

impl Operation for Linear {
    fn parameters(&self) -> Vec<Parameter> {
        let mut all = vec![Parameter::new(
            "weight",
            [self.output, self.input * self.side.pow(2)],
            Role::Weight,
        )];
        all.extend(self.bias.then(|| Parameter::new("bias", [self.output], Role::Bias)));
        all
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        meets(self.input, channels[0])?;
        in_range(self.output)?;
        Window::new(self.side, 1, 0).check(false)?;
        Ok(self.output)
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        let [h, w] = sizes[0];
        let k = self.side;
        ensure!([h, w] == [k, k], "this linear layer reads {k} × {k} pictures, not {h} × {w}");
        Ok([1, 1])
    }

    fn as_conv(&self) -> Option<Conv> {
        Some((*self).as_conv())
    }

    fn clamps(&self) -> bool {
        true
    }

    fn text(&self) -> String {
        let Self { input, output, side, bias } = self;
        let side = if *side == 1 { String::new() } else { format!(" k{side}") };
        format!("linear {input}>{output}{side}{}", if *bias { " bias" } else { "" })
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        let out = walk.fresh(self.output);
        let pixels = self.side.pow(2);
        let values: Vec<usize> =
            inputs[0].iter().flat_map(|id| std::iter::repeat_n(*id, pixels)).collect();
        walk.carry("weight", 1, &values);
        walk.carry("weight", 0, &out);
        if self.bias {
            walk.carry("bias", 0, &out);
        }
        out
    }

    fn keep(&mut self, inputs: &[&[bool]], output: &[bool]) {
        (self.input, self.output) = (kept(inputs[0]), kept(output));
    }

    fn resize(&mut self, shape: &dyn Fn(&str) -> Result<[usize; 2]>, _: Change) -> Result<()> {
        let [output, values] = shape("weight")?;
        (self.output, self.input) = (output, values / self.side.pow(2));
        Ok(())
    }

    fn multiplications(&self, _: [usize; 2]) -> u64 {
        (self.input * self.side.pow(2) * self.output) as u64
    }
}
