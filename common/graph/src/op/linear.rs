//! Fully connected layer on pictures of one pixel: `y = weight · x + bias`.

use super::{
    Change, Operation, Parameter, Result, Role, Walk, Words, ensure, in_range, kept, meets,
};

/// Fully connected layer on `[c, 1, 1]`; weight `[output, input]`, bias `[output]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Linear {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        let (input, output) = words.pair()?;
        Ok(Self { input, output, bias: words.flag("bias") })
    }
}

impl Operation for Linear {
    fn parameters(&self) -> Vec<Parameter> {
        let mut all = vec![Parameter::new("weight", [self.output, self.input], Role::Weight)];
        all.extend(self.bias.then(|| Parameter::new("bias", [self.output], Role::Bias)));
        all
    }

    fn channels(&self, channels: &[usize]) -> Result<usize> {
        meets(self.input, channels[0])?;
        in_range(self.output)?;
        Ok(self.output)
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        let [h, w] = sizes[0];
        ensure!([h, w] == [1, 1], "a linear layer reads 1 × 1 pictures, not {h} × {w}");
        Ok([1, 1])
    }

    fn text(&self) -> String {
        let Self { input, output, bias } = self;
        format!("linear {input}>{output}{}", if *bias { " bias" } else { "" })
    }

    fn ids(&self, inputs: &[&[usize]], walk: &mut Walk) -> Vec<usize> {
        let out = walk.fresh(self.output);
        walk.carry("weight", 1, inputs[0]);
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
        [self.output, self.input] = shape("weight")?;
        Ok(())
    }

    fn multiplications(&self, _: [usize; 2]) -> u64 {
        (self.input * self.output) as u64
    }
}
