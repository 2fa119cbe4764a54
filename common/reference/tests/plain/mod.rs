//! Slow, plain versions of the kernels in f64, written from their definitions.

#![allow(dead_code)] // each test file uses a part

use candle_core::{Device, Tensor, Var};

/// Deterministic values in −1..1, all different.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn var(v: &[f32], shape: &[usize]) -> Var {
    Var::from_tensor(&Tensor::from_vec(v.to_vec(), shape, &Device::Cpu).unwrap()).unwrap()
}

pub(crate) fn floats(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest |a − b| relative to the largest |b|.
pub(crate) fn error(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0, |m: f64, (x, y)| m.max((f64::from(*x) - y).abs())) / scale
}

/// Gradient of `loss` at `x` by central differences in f64.
pub(crate) fn finite_differences(x: &[f32], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut point: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    (0..point.len())
        .map(|i| {
            let old = point[i];
            point[i] = old + STEP;
            let up = loss(&point);
            point[i] = old - STEP;
            let down = loss(&point);
            point[i] = old;
            (up - down) / (2.0 * STEP)
        })
        .collect()
}

/// Σ y · r: a scalar whose gradient with respect to y is r.
pub(crate) fn weighted(y: &[f64], r: &[f32]) -> f64 {
    y.iter().zip(r).map(|(a, b)| a * f64::from(*b)).sum()
}

/// The same scalar on a tape.
pub(crate) fn weighted_tensor(y: &Tensor, r: &[f32]) -> Tensor {
    let r = Tensor::from_vec(r.to_vec(), y.shape(), &Device::Cpu).unwrap();
    (y * r).unwrap().sum_all().unwrap()
}

pub(crate) struct Conv {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Pixels of margin above, below, left and right.
    pub(crate) margin: [usize; 4],
    pub(crate) groups: usize,
}

impl Conv {
    pub(crate) fn out_height(&self) -> usize {
        let [above, below, ..] = self.margin;
        (above + self.height + below - self.kernel) / self.stride + 1
    }

    pub(crate) fn out_width(&self) -> usize {
        let [_, _, left, right] = self.margin;
        (left + self.width + right - self.kernel) / self.stride + 1
    }

    /// NHWC convolution by seven loops.
    pub(crate) fn run(&self, x: &[f64], w: &[f64], bias: &[f64]) -> Vec<f64> {
        let (oh, ow) = (self.out_height(), self.out_width());
        let [above, _, left, _] = self.margin;
        let (per_in, per_out) = (self.input / self.groups, self.output / self.groups);
        let mut y = Vec::new();
        for picture in 0..self.batch {
            for oy in 0..oh {
                for ox in 0..ow {
                    for (o, b) in bias.iter().enumerate() {
                        let mut sum = *b;
                        for i in 0..per_in {
                            let channel = o / per_out * per_in + i;
                            for ky in 0..self.kernel {
                                for kx in 0..self.kernel {
                                    let iy = (oy * self.stride + ky) as i64 - above as i64;
                                    let ix = (ox * self.stride + kx) as i64 - left as i64;
                                    let inside = (0..self.height as i64).contains(&iy)
                                        && (0..self.width as i64).contains(&ix);
                                    if inside {
                                        let at = (picture * self.height + iy as usize) * self.width;
                                        let v = x[(at + ix as usize) * self.input + channel];
                                        let k = (o * per_in + i) * self.kernel + ky;
                                        sum += v * w[k * self.kernel + kx];
                                    }
                                }
                            }
                        }
                        y.push(sum);
                    }
                }
            }
        }
        y
    }
}

pub(crate) fn f64s(v: &[f32]) -> Vec<f64> {
    v.iter().map(|x| f64::from(*x)).collect()
}
