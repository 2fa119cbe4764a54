//! What a layer's inputs are like: means and second moments of its patches.

use anyhow::Result;
use graph::op::Conv;
use rayon::prelude::*;
use reference::Matrix;
use reference::look::Map;

/// Multiplications that the second moments of one group may take.
const WORK: usize = 4_000_000_000;
/// Patches per column that are looked at, however many multiplications that takes.
const PATCHES: usize = 4;
/// Patches that are enough, however small they are: those of a picture are much alike, and more of them say little.
const ENOUGH: usize = 20_000;
/// Numbers that the patches of one group may hold: 128 MB of each network.
const NUMBERS: usize = 32_000_000;
/// Numbers of the patches that are multiplied at a time, in f64: 16 MB of each network.
const TOGETHER: usize = 2_000_000;

/// Of the patches x that one group of a layer reads in the float network, and x̂, what they are where the layers before
/// are rounded. Columns are input channel × place in the window, as in a row of the weight. Second moments are sums
/// over the positions of a picture, and the mean over pictures.
pub(super) struct Moments {
    /// E x̂ x̂ᵀ, about the means where a bias can take them up.
    pub(super) second: Vec<f64>,
    /// E x x̂ᵀ, likewise.
    pub(super) cross: Vec<f64>,
    /// E x of one position.
    pub(super) mean: Vec<f64>,
    /// E x̂ of one position.
    pub(super) mean_rounded: Vec<f64>,
}

/// A convolution and the size of what it makes.
pub(super) struct Site {
    pub(super) conv: Conv,
    pub(super) height: usize,
    pub(super) width: usize,
}

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

impl Site {
    /// Values in a patch of one group.
    pub(super) fn columns(&self) -> usize {
        self.conv.input / self.conv.groups * self.conv.window.taps()
    }

    /// Positions in a picture.
    pub(super) fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Every how manieth position of `pictures` is looked at: a number that meets all places of a picture.
    fn stride(&self, pictures: usize) -> usize {
        let (n, all) = (self.columns(), pictures * self.positions());
        let enough = (WORK / (n * n)).min(ENOUGH).max(PATCHES * n).min(NUMBERS / n).max(1);
        let mut stride = all.div_ceil(enough).max(1);
        while divisor(self.positions(), stride) > 1 {
            stride += 1;
        }
        stride
    }

    /// Patches `[patch, column]` of group `group` in `maps`, at every `stride`-th position.
    fn patches(&self, maps: &[Map], group: usize, stride: usize) -> Vec<f32> {
        let (n, window) = (self.columns(), self.conv.window);
        let inputs = self.conv.input / self.conv.groups;
        let pictures: Vec<(&Map, usize)> =
            maps.iter().flat_map(|map| (0..map.shape[0]).map(move |b| (map, b))).collect();
        let mut all = Vec::new();
        for at in (0..pictures.len() * self.positions()).step_by(stride) {
            let ((map, b), p) = (pictures[at / self.positions()], at % self.positions());
            let [_, h, w, channels] = map.shape;
            let start = all.len();
            all.resize(start + n, 0.0);
            let top = (p / self.width * window.stride).wrapping_sub(window.before(h));
            let left = (p % self.width * window.stride).wrapping_sub(window.before(w));
            for tap in 0..window.taps() {
                let y = top.wrapping_add(tap / window.kernel);
                let x = left.wrapping_add(tap % window.kernel);
                // Beyond the border, before it by wrapping, are zeros.
                if y >= h || x >= w {
                    continue;
                }
                let at = ((b * h + y) * w + x) * channels + group * inputs;
                for (i, v) in map.values[at..at + inputs].iter().enumerate() {
                    all[start + i * window.taps() + tap] = *v;
                }
            }
        }
        all
    }

    /// Of every group, `maps` being the inputs in the float network and `rounded` those behind rounded layers.
    ///
    /// # Errors
    /// What products of matrices say.
    pub(super) fn moments(&self, maps: &[Map], rounded: &[Map]) -> Result<Vec<Moments>> {
        let stride = self.stride(maps.iter().map(|m| m.shape[0]).sum());
        let groups = (0..self.conv.groups).into_par_iter();
        groups
            .map(|g| self.of(&self.patches(maps, g, stride), &self.patches(rounded, g, stride)))
            .collect()
    }

    fn of(&self, float: &[f32], rounded: &[f32]) -> Result<Moments> {
        let n = self.columns();
        let (mean, mean_rounded) = (means(float, n), means(rounded, n));
        let (mut second, mut cross) = (vec![0.0; n * n], vec![0.0; n * n]);
        let rows = (TOGETHER / n).max(1) * n;
        for (float, rounded) in float.chunks(rows).zip(rounded.chunks(rows)) {
            let (float, rounded) = (matrix(float, n)?, matrix(rounded, n)?);
            add(&mut second, &rounded.transposed()?.times(&rounded)?);
            add(&mut cross, &float.transposed()?.times(&rounded)?);
        }
        let (count, scale) = ((float.len() / n).max(1) as f64, self.positions() as f64);
        // A bias takes up what an error does to the mean.
        let centred = if self.conv.bias { 1.0 } else { 0.0 };
        for (sums, left_mean) in [(&mut second, &mean_rounded), (&mut cross, &mean)] {
            for (row, mean) in sums.chunks_mut(n).zip(left_mean) {
                let of = |(s, m): (&mut f64, &f64)| *s = scale * (*s / count - centred * mean * m);
                row.iter_mut().zip(&mean_rounded).for_each(of);
            }
        }
        Ok(Moments { second, cross, mean, mean_rounded })
    }
}

fn matrix(patches: &[f32], n: usize) -> Result<Matrix> {
    let patches: Vec<f64> = patches.iter().map(|v| f64::from(*v)).collect();
    Ok(Matrix::new(&patches, n)?)
}

fn add(sums: &mut [f64], part: &[f64]) {
    sums.iter_mut().zip(part).for_each(|(s, p)| *s += p);
}

fn means(patches: &[f32], n: usize) -> Vec<f64> {
    let mut sums = vec![0.0; n];
    for patch in patches.chunks_exact(n) {
        sums.iter_mut().zip(patch).for_each(|(s, v)| *s += f64::from(*v));
    }
    let count = (patches.len() / n).max(1) as f64;
    sums.iter_mut().for_each(|s| *s /= count);
    sums
}
