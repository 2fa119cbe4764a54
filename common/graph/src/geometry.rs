//! A window moved over a batch of pictures: the sizes that convolutions and pools compute with.

use crate::op::{Conv, Margin, Window};

/// A convolution, or a pool, applied to pictures of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Pictures.
    pub batch: usize,
    /// Input height, pixels.
    pub height: usize,
    /// Input width, pixels.
    pub width: usize,
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Kernel, stride, margin.
    pub window: Window,
    /// Channel groups: 1 = plain, number of input channels = depthwise.
    pub groups: usize,
}

impl Geometry {
    /// `conv` on `batch` pictures of [height, width], which its window fits.
    pub fn new(conv: &Conv, [height, width]: [usize; 2], batch: usize) -> Self {
        let Conv { input, output, window, groups, .. } = *conv;
        Self { batch, height, width, input, output, window, groups }
    }

    /// A pool over `batch` pictures of [height, width, channels], each channel for itself.
    pub fn pool(window: Window, [height, width, c]: [usize; 3], batch: usize) -> Self {
        Self { batch, height, width, input: c, output: c, window, groups: c }
    }

    /// Output height, pixels.
    pub fn out_height(&self) -> usize {
        self.window.output(self.height)
    }

    /// Output width, pixels.
    pub fn out_width(&self) -> usize {
        self.window.output(self.width)
    }

    /// Pixels of margin above and to the left of a picture: position (y, x) begins so far before pixel
    /// (y · stride, x · stride). They differ only where height and width do.
    pub fn before(&self) -> [usize; 2] {
        [self.window.before(self.height), self.window.before(self.width)]
    }

    /// Output positions of a picture.
    pub fn positions(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Output positions over the whole batch: the rows of the matrix product.
    pub fn rows(&self) -> usize {
        self.batch * self.positions()
    }

    /// Values that one output value reads.
    pub fn patch(&self) -> usize {
        self.window.taps() * self.input / self.groups
    }

    /// One filter per channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.input && self.input == self.output && self.input > 1
    }

    /// The input is already the matrix of patches.
    pub fn is_pointwise(&self) -> bool {
        self.window == Window::POINT
    }

    /// The convolution that gives the input gradient from the output gradient, with inputs and outputs
    /// exchanged and taps mirrored; None where the stride leaves gaps, padding exceeds the kernel, or the
    /// margin would come to be wider before than behind.
    pub fn reversed(&self) -> Option<Self> {
        let margin = match self.window.margin {
            Margin::Each(p) | Margin::Ceil(p) => {
                Margin::Each((self.window.kernel - 1).checked_sub(p)?)
            }
            Margin::Same if !self.window.kernel.is_multiple_of(2) => Margin::Same,
            Margin::Same => return None,
        };
        (self.window.stride == 1 && self.groups == 1).then(|| Self {
            height: self.out_height(),
            width: self.out_width(),
            input: self.output,
            output: self.input,
            window: Window { margin, ..self.window },
            ..*self
        })
    }

    /// Input values of a picture.
    pub fn floats(&self) -> usize {
        self.height * self.width * self.input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes by hand, in the order positions, rows, patch, floats. ResNet's first convolution on two pictures
    /// of 224 × 224: 7 × 7 pixels of 3 channels at 112 × 112 positions. 4 groups of 6 channels under 3 × 3 on
    /// 5 × 7. A max pool of 3 × 3, stride 2, without margin on 8 × 9 of 10 channels: 3 × 4 positions.
    #[test]
    fn sizes_are_those_by_hand() {
        let conv =
            |input, output, window, groups| Conv { input, output, window, groups, bias: false };
        let window = Window::new;
        for (g, expected) in [
            (
                Geometry::new(&conv(3, 64, window(7, 2, 3), 1), [224, 224], 2),
                [12544, 25088, 147, 150528],
            ),
            (Geometry::new(&conv(24, 8, window(3, 1, 1), 4), [5, 7], 1), [35, 35, 54, 840]),
            (Geometry::pool(window(3, 2, 0), [8, 9, 10], 3), [12, 36, 9, 720]),
        ] {
            assert_eq!([g.positions(), g.rows(), g.patch(), g.floats()], expected, "{g:?}");
        }
    }
}
