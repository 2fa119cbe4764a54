//! What a layer's inputs are like: means and second moments of its patches.

use graph::op::Conv;
use rayon::prelude::*;
use reference::look::Map;

/// Multiplications that the second moments of one group may take.
const WORK: usize = 4_000_000_000;
/// Patches per column that are looked at, however many multiplications that takes.
const PATCHES: usize = 4;
/// Numbers that the patches of one group may hold: 128 MB of each network.
const NUMBERS: usize = 32_000_000;
/// Rows of the moments that are added up in one pass over the patches.
const ROWS: usize = 16;

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
        let enough = (WORK / (n * n)).max(PATCHES * n).min(NUMBERS / n).max(1);
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
        let positions = maps.iter().flat_map(|map| {
            let places = (0..map.shape[0]).flat_map(|b| (0..self.positions()).map(move |p| (b, p)));
            places.map(move |(b, p)| (map, b, p))
        });
        let mut all = Vec::new();
        for (map, b, p) in positions.step_by(stride) {
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
    pub(super) fn moments(&self, maps: &[Map], rounded: &[Map]) -> Vec<Moments> {
        let stride = self.stride(maps.iter().map(|m| m.shape[0]).sum());
        let groups = (0..self.conv.groups).into_par_iter();
        groups
            .map(|g| self.of(&self.patches(maps, g, stride), &self.patches(rounded, g, stride)))
            .collect()
    }

    fn of(&self, float: &[f32], rounded: &[f32]) -> Moments {
        let n = self.columns();
        let count = (float.len() / n).max(1) as f64;
        let (mean, mean_rounded) = (means(float, n), means(rounded, n));
        let scale = self.positions() as f64;
        // A bias takes up what an error does to the mean.
        let centred = if self.conv.bias { 1.0 } else { 0.0 };
        let moments = |left: &[f32], left_mean: &[f64]| {
            let mut sums = vec![0.0f64; n * n];
            // A thread has some rows of the sums: every sum is added up in the patches' order.
            sums.par_chunks_mut((ROWS * n).max(1)).enumerate().for_each(|(block, sums)| {
                let first = block * ROWS;
                for (a, b) in left.chunks_exact(n).zip(rounded.chunks_exact(n)) {
                    for (a, sums) in a[first..].iter().zip(sums.chunks_mut(n)) {
                        let a = f64::from(*a);
                        if a != 0.0 {
                            sums.iter_mut().zip(b).for_each(|(s, b)| *s += a * f64::from(*b));
                        }
                    }
                }
                for (mean, sums) in left_mean[first..].iter().zip(sums.chunks_mut(n)) {
                    for (s, m) in sums.iter_mut().zip(&mean_rounded) {
                        *s = scale * (*s / count - centred * mean * m);
                    }
                }
            });
            sums
        };
        let (second, cross) = (moments(rounded, &mean_rounded), moments(float, &mean));
        Moments { second, cross, mean, mean_rounded }
    }
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
