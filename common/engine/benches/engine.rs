//! Single kernels at the sizes of StudentNet and ResNet-18, 64 px, 32 pictures.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::conv;
use engine::norm::{Affine, Normalize, batch_stats};
use engine::op::max_pool;
use graph::Geometry;
use graph::{Bounds, Window};
use std::hint::black_box;

const BATCH: usize = 32;

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// (name, side, input, output, kernel, groups); stride 1, size kept.
const CONVOLUTIONS: [(&str, usize, usize, usize, usize, usize); 6] = [
    ("stem 3x3 3>16", 64, 3, 16, 3, 1),
    ("depthwise 3x3 16", 32, 16, 16, 3, 16),
    ("depthwise 3x3 256", 4, 256, 256, 3, 256),
    ("pointwise 64>128", 8, 64, 128, 1, 1),
    ("pointwise 256>256", 4, 256, 256, 1, 1),
    ("3x3 64>64", 16, 64, 64, 3, 1),
];

fn convolutions(c: &mut Criterion) {
    for (name, side, input, output, kernel, groups) in CONVOLUTIONS {
        let window = Window::new(kernel, 1, kernel / 2);
        let g = Geometry { batch: BATCH, height: side, width: side, input, output, window, groups };
        let x = values(BATCH * side * side * input);
        let w = values(output * input / groups * kernel * kernel);
        let mut y = vec![0.0; BATCH * side * side * output];
        let grad = values(y.len());
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        let mut group = c.benchmark_group(name);
        // Multiplications and additions.
        group.throughput(Throughput::Elements((2 * y.len() * w.len() / output) as u64));
        group.bench_function("forward", |b| {
            b.iter(|| conv::forward(black_box(&x), &w, None, Bounds::NONE, &g, &mut y));
        });
        group.bench_function("backward", |b| {
            let grad = black_box(&grad);
            b.iter(|| conv::backward(&x, &w, grad, &g, Some(&mut dx), &mut dw, None));
        });
        group.finish();
    }
}

fn elementwise(c: &mut Criterion) {
    let (side, channels) = (64, 16);
    let x = values(BATCH * side * side * channels);
    let mut y = vec![0.0; x.len()];
    let mut group = c.benchmark_group("64x64x16");
    group.throughput(Throughput::Elements(x.len() as u64));
    group.bench_function("batch_stats", |b| b.iter(|| batch_stats(black_box(&x), channels)));
    let m = batch_stats(&x, channels);
    let affine = Affine::new(&vec![1.0; channels], &vec![0.0; channels], &m, 1e-5);
    let normalize = Normalize::new(&affine, Bounds { lo: 0.0, hi: 6.0 });
    group.bench_function("normalize", |b| b.iter(|| normalize.all(black_box(&x), &mut y)));
    let win = Window::new(2, 2, 0);
    let mut pooled = vec![0.0; x.len() / 4];
    let mut places = vec![0; x.len() / 4];
    group.bench_function("normalize and max pool", |b| {
        let size = (side, side, channels);
        let normalize = Some(&normalize);
        b.iter(|| {
            max_pool::forward(&x, normalize, size, win, &mut pooled, &mut places);
        });
    });
    group.finish();
}

criterion_group!(kernels, convolutions, elementwise);
criterion_main!(kernels);
