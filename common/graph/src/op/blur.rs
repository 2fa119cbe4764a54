//! A fixed low-pass filter, taken at every so many pixels: what stands in the place of a stride where shifting a
//! picture by a pixel is to change little (Zhang 2019, "Making convolutional networks shift-invariant again",
//! section 3.2). Nothing in it is trained; its taps are a word of the graph.

use super::{Operation, Result, Walk, Words, ensure};
use crate::error::bail;

/// Weights of neighbouring pixels along one side, as whole numbers: of 2 to 7 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    all: [u8; Taps::MOST],
    count: usize,
}

impl Taps {
    /// Most of them along a side.
    pub const MOST: usize = 7;

    /// From a list.
    ///
    /// # Errors
    /// Fewer than 2 or more than 7, or all of them 0.
    pub fn new(taps: &[u8]) -> Result<Self> {
        let count = taps.len();
        ensure!((2..=Self::MOST).contains(&count), "{count} taps: expected 2 to {}", Self::MOST);
        ensure!(taps.iter().any(|t| *t > 0), "taps that are all 0 leave nothing");
        let mut all = [0; Self::MOST];
        all[..count].copy_from_slice(taps);
        Ok(Self { all, count })
    }

    /// The weights.
    pub fn values(&self) -> &[u8] {
        &self.all[..self.count]
    }

    /// Their shares of the sum.
    pub fn shares(&self) -> impl Iterator<Item = f32> + '_ {
        let sum: u32 = self.values().iter().map(|t| u32::from(*t)).sum();
        self.values().iter().map(move |t| f32::from(*t) / sum as f32)
    }

    /// Pixels before the one a position stands at: the margin in front.
    pub fn before(&self) -> usize {
        (self.count - 1) / 2
    }

    /// Pixels behind it.
    pub fn behind(&self) -> usize {
        self.count / 2
    }
}

/// Each channel filtered by `taps` along rows and columns, at every `stride`-th pixel. Beyond the border the
/// picture is mirrored about its outermost pixel (PyTorch's `reflect`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blur {
    /// Along either side.
    pub taps: Taps,
    /// Distance between two positions, pixels.
    pub stride: usize,
}

impl Blur {
    pub(super) fn parse(_: &str, words: &mut Words) -> Result<Self> {
        let Some(taps) = words.taps()? else { bail!("expected taps as in 1,2,1") };
        Ok(Self { taps: Taps::new(&taps)?, stride: words.stride()? })
    }

    /// Positions along a side of `n` pixels.
    pub fn output(&self, n: usize) -> usize {
        (n - 1) / self.stride + 1
    }

    /// The pixel of a side of `n` that tap `k` of position `at` reads.
    pub fn source(&self, at: usize, k: usize, n: usize) -> usize {
        let i = at * self.stride + k;
        match i.checked_sub(self.taps.before()) {
            None => self.taps.before() - i,
            Some(i) if i < n => i,
            Some(i) => 2 * (n - 1) - i,
        }
    }
}

impl Operation for Blur {
    fn channels(&self, channels: &[usize]) -> Result<usize> {
        ensure!((1..=super::LIMIT).contains(&self.stride), "stride {}", self.stride);
        Ok(channels[0])
    }

    fn size(&self, sizes: &[[usize; 2]]) -> Result<[usize; 2]> {
        let [h, w] = sizes[0];
        let least = self.taps.behind() + 1;
        ensure!(h.min(w) >= least, "{h} × {w} pixels: a blur of {} needs {least}", self.taps.count);
        Ok([self.output(h), self.output(w)])
    }

    fn text(&self) -> String {
        let taps: Vec<String> = self.taps.values().iter().map(u8::to_string).collect();
        let stride = if self.stride == 1 { String::new() } else { format!(" s{}", self.stride) };
        format!("blur {}{stride}", taps.join(","))
    }

    fn ids(&self, inputs: &[&[usize]], _: &mut Walk) -> Vec<usize> {
        inputs[0].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `F.pad(torch.arange(n), (before, behind), mode="reflect")`, by hand: 0 1 2 3 4 under 4 taps with stride 2
    /// are read as (1 0 1 2), (1 2 3 4), (3 4 3 2).
    #[test]
    fn the_border_is_mirrored() -> Result<()> {
        let blur = Blur { taps: Taps::new(&[1, 3, 3, 1])?, stride: 2 };
        assert_eq!((blur.taps.before(), blur.taps.behind(), blur.output(5)), (1, 2, 3));
        let read = |at| [0, 1, 2, 3].map(|k| blur.source(at, k, 5));
        assert_eq!([0, 1, 2].map(read), [[1, 0, 1, 2], [1, 2, 3, 4], [3, 4, 3, 2]]);
        assert_eq!(blur.taps.shares().collect::<Vec<_>>(), [0.125, 0.375, 0.375, 0.125]);
        Ok(())
    }

    #[test]
    fn taps_are_counted() {
        for bad in [&[1][..], &[1; 8], &[0, 0]] {
            assert!(Taps::new(bad).is_err(), "{bad:?}");
        }
    }
}
