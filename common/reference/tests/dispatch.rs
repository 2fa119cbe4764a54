//! Results for every instruction set and any number of threads. Alone in its process: the
//! instruction set is a setting of the whole process.

mod plain;

use candle_core::Tensor;
use engine::conv::{ConvPlan, Forward, Tile};
use engine::simd::{Level, detected, level, limit};
use graph::op::Conv;
use graph::{Bounds, Geometry, Window};
use plain::{error, f64s, floats, values, var, weighted_tensor};
use reference::op::avg_pool::Means;
use reference::op::batch_norm::BatchNormAct;
use reference::op::conv::ConvolveBias;
use reference::op::global_avg_pool::Mean;
use reference::op::max_pool::Maxima;

/// How a 3 × 3 convolution of 26 channels that gives `y` was computed.
fn tile(y: &Tensor) -> Forward {
    let (batch, height, width, output) = y.dims4().unwrap();
    let window = Window::new(3, 1, 1);
    ConvPlan::of(&Geometry { batch, height, width, input: 26, output, window, groups: 1 }).forward
}

/// A depthwise-separable block with pool and convolutions in tiles of both sizes, forward and backward: everything in one list of floats.
fn block() -> Vec<f32> {
    let x = var(&values(5 * 12 * 11 * 19, 1), &[5, 12, 11, 19]);
    let dw = var(&values(19 * 9, 2), &[19, 1, 3, 3]);
    let pw = var(&values(26 * 19, 3), &[26, 19, 1, 1]);
    let wide = var(&values(11 * 26 * 9, 4), &[11, 26, 3, 3]);
    let big = var(&values(700 * 99, 5), &[700, 11, 3, 3]);
    let square = var(&values(26 * 26 * 9, 8), &[26, 26, 3, 3]);
    let bias = |n: usize| var(&values(n, 6), &[n]);
    let (b1, b2, b3, b4) = (bias(19), bias(26), bias(11), bias(700));
    let conv = |input, output, [kernel, stride]: [usize; 2], groups| {
        let window = Window::new(kernel, stride, kernel / 2);
        ConvolveBias(Conv { input, output, window, groups, bias: true })
    };
    let (gamma, beta) = (bias(19), bias(19));
    let y = x.apply_op3(&dw, &b1, conv(19, 19, [3, 1], 19)).unwrap();
    let norm = BatchNormAct::new(1e-5, Bounds { lo: 0.0, hi: 6.0 });
    let y = y.apply_op3(&gamma, &beta, norm).unwrap();
    let y = y.apply_op3(&pw, &b2, conv(19, 26, [1, 1], 1)).unwrap();
    let y = y.apply_op1(Maxima::new(Window::new(3, 2, 1))).unwrap();
    let y = y.apply_op3(&square, &b2, conv(26, 26, [3, 1], 1)).unwrap();
    assert_eq!(tile(&y), Forward::Winograd(Tile::Two));
    let y = y.apply_op1(Means(Window::ceil(2, 1, 1))).unwrap();
    let y = y.apply_op3(&square, &b2, conv(26, 26, [3, 1], 1)).unwrap();
    assert_eq!(tile(&y), Forward::Winograd(Tile::Four));
    let y = y.apply_op3(&wide, &b3, conv(26, 11, [3, 2], 1)).unwrap();
    let y = y.apply_op3(&big, &b4, conv(11, 700, [3, 1], 1)).unwrap();
    let y = y.apply_op1(Mean).unwrap();
    let grads = weighted_tensor(&y, &values(y.elem_count(), 7)).backward().unwrap();
    let parameters: [&Tensor; 12] =
        [&x, &dw, &pw, &square, &wide, &big, &gamma, &beta, &b1, &b2, &b3, &b4]
            .map(|v| v.as_tensor());
    let mut all = floats(&y);
    for p in parameters {
        all.extend(floats(grads.get(p).unwrap()));
    }
    all
}

#[test]
fn threads_and_instruction_sets_agree() {
    assert_eq!(level(), detected());
    let with_threads =
        |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(block);
    let one = with_threads(1);
    for n in [2, 3, 4, 7] {
        assert!(with_threads(n) == one, "{n} threads give other bits than 1");
    }
    for lower in [Level::Avx2, Level::Baseline] {
        limit(lower);
        assert!(level() <= lower);
        let e = error(&block(), &f64s(&one));
        assert!(e < 1e-5, "{lower:?} differs from {:?} by {e}", detected());
    }
}
