//! Convolution against seven plain loops, gradients against finite differences in f64.

mod plain;

use graph::Window;
use graph::op::Conv;
use plain::{error, f64s, finite_differences, floats, values, var, weighted, weighted_tensor};
use reference::op::conv::{Convolve, ConvolveBias};

/// (batch, height, width, in, out, kernel, stride, padding, groups)
const CASES: [[usize; 9]; 16] = [
    [2, 6, 7, 3, 5, 3, 1, 1, 1],    // stem-like, channels no multiple of 8
    [1, 9, 8, 3, 4, 7, 2, 3, 1],    // ResNet stem
    [2, 5, 5, 4, 6, 1, 1, 0, 1],    // pointwise
    [3, 5, 5, 4, 6, 1, 2, 0, 1],    // ResNet downsample
    [2, 5, 4, 17, 17, 3, 1, 1, 17], // depthwise, 16 + 1 channels
    [1, 7, 6, 25, 25, 3, 1, 1, 25], // depthwise, 16 + 8 + 1 channels
    [1, 1, 1, 9, 9, 3, 1, 1, 9],    // depthwise on one pixel
    [1, 2, 2, 8, 8, 3, 1, 1, 8],    // depthwise on two
    [2, 7, 7, 5, 5, 3, 2, 1, 5],    // depthwise, stride 2, odd size
    [1, 8, 7, 4, 4, 5, 1, 2, 4],    // depthwise 5×5
    [1, 6, 6, 3, 3, 3, 1, 0, 3],    // depthwise without padding
    [2, 5, 5, 6, 8, 3, 1, 1, 2],    // two groups
    [1, 4, 4, 6, 9, 1, 1, 0, 3],    // grouped pointwise
    [1, 5, 5, 4, 8, 3, 2, 1, 4],    // depthwise with multiplier 2
    [3, 1, 1, 11, 7, 1, 1, 0, 1],   // linear layer
    [1, 3, 3, 2, 2, 3, 1, 2, 1],    // padding 2: patches wholly outside in a row
];

/// (batch, height, width, in, out, kernel, stride, groups) with TensorFlow's "same" margin, and that margin above,
/// below, left and right: by hand, (⌈n / s⌉ − 1) · s + k − n pixels, half of them rounded down before.
const SAME: [([usize; 8], [usize; 4]); 12] = [
    ([2, 6, 7, 3, 5, 3, 2, 1], [0, 1, 1, 1]), // a stem
    ([1, 7, 8, 3, 4, 5, 2, 1], [2, 2, 1, 2]),
    ([2, 5, 6, 4, 6, 3, 1, 1], [1, 1, 1, 1]),
    ([2, 6, 6, 17, 9, 3, 2, 1], [0, 1, 0, 1]), // summed directly
    ([1, 5, 4, 18, 20, 5, 1, 1], [2, 2, 2, 2]),
    ([1, 5, 4, 18, 20, 2, 1, 1], [0, 1, 0, 1]), // no convolution by itself backwards
    ([2, 5, 4, 17, 17, 3, 1, 17], [1, 1, 1, 1]), // depthwise
    ([2, 7, 6, 17, 17, 3, 2, 17], [1, 1, 0, 1]),
    ([1, 7, 6, 25, 25, 5, 1, 25], [2, 2, 2, 2]),
    ([2, 6, 7, 9, 9, 5, 2, 9], [1, 2, 2, 2]),
    ([1, 2, 1, 8, 8, 5, 2, 8], [1, 2, 2, 2]), // smaller than the window
    ([2, 6, 5, 6, 8, 3, 2, 2], [0, 1, 1, 1]), // two groups
];

fn reference(c: [usize; 9]) -> plain::Conv {
    let [batch, height, width, input, output, kernel, stride, padding, groups] = c;
    let margin = [padding; 4];
    plain::Conv { batch, height, width, input, output, kernel, stride, margin, groups }
}

fn conv([input, output]: [usize; 2], window: [usize; 3], groups: usize) -> Conv {
    let [kernel, stride, padding] = window;
    Conv { input, output, window: Window::new(kernel, stride, padding), groups, bias: false }
}

fn same((c, margin): ([usize; 8], [usize; 4])) -> (plain::Conv, Conv) {
    let [batch, height, width, input, output, kernel, stride, groups] = c;
    let window = Window::same(kernel, stride);
    let plain = plain::Conv { batch, height, width, input, output, kernel, stride, margin, groups };
    (plain, Conv { input, output, window, groups, bias: false })
}

fn padded(case: [usize; 9]) -> (plain::Conv, Conv) {
    let [_, _, _, input, output, kernel, stride, padding, groups] = case;
    (reference(case), conv([input, output], [kernel, stride, padding], groups))
}

#[test]
fn values_and_gradients_equal_the_definition() {
    for (r, conv) in CASES.map(padded).into_iter().chain(SAME.map(same)) {
        let case = (conv, r.height, r.width);
        let (x_shape, w_shape) = (
            [r.batch, r.height, r.width, r.input],
            [r.output, r.input / r.groups, r.kernel, r.kernel],
        );
        let x = values(x_shape.iter().product(), 1);
        let w = values(w_shape.iter().product(), 2);
        let b = values(r.output, 3);
        let (xv, wv, bv) = (var(&x, &x_shape), var(&w, &w_shape), var(&b, &[r.output]));
        let y = xv.apply_op3(&wv, &bv, ConvolveBias(conv)).unwrap();
        assert_eq!(y.dims(), [r.batch, r.out_height(), r.out_width(), r.output], "{case:?}");
        let (x64, w64, b64) = (f64s(&x), f64s(&w), f64s(&b));
        assert!(error(&floats(&y), &r.run(&x64, &w64, &b64)) < 1e-6, "{case:?}");

        let g = values(y.elem_count(), 4);
        let grads = weighted_tensor(&y, &g).backward().unwrap();
        let check = |v: &candle_core::Var, expected: Vec<f64>, what: &str| {
            let e = error(&floats(grads.get(v).unwrap()), &expected);
            assert!(e < 1e-5, "{case:?}: d{what} is off by {e}");
        };
        check(&xv, finite_differences(&x, |x| weighted(&r.run(x, &w64, &b64), &g)), "x");
        check(&wv, finite_differences(&w, |w| weighted(&r.run(&x64, w, &b64), &g)), "w");
        check(&bv, finite_differences(&b, |b| weighted(&r.run(&x64, &w64, b), &g)), "b");

        // Without a bias, and for an input that needs no gradient, the weight gradient is the same.
        let y = xv.as_detached_tensor().apply_op2(&wv, Convolve(conv)).unwrap();
        let alone = weighted_tensor(&y, &g).backward().unwrap();
        assert_eq!(floats(alone.get(&wv).unwrap()), floats(grads.get(&wv).unwrap()), "{case:?}");
    }
}

/// Large enough for several tiles, for partial weight gradients and for those by channel blocks.
#[test]
fn tiles_and_large_weights_equal_the_definition() {
    let all = [
        [3, 20, 21, 40, 24, 3, 1, 1, 1],
        [2, 5, 5, 130, 70, 3, 1, 1, 1],
        [2, 6, 6, 300, 260, 1, 1, 0, 1],
        [5, 13, 10, 33, 47, 3, 1, 1, 1],
        [3, 8, 8, 100, 20, 3, 1, 0, 1],
    ];
    let margins = [
        ([3, 20, 21, 40, 24, 3, 1, 1], [1; 4]),
        ([3, 20, 21, 40, 24, 3, 2, 1], [0, 1, 1, 1]),
        ([2, 6, 7, 130, 70, 5, 2, 1], [1, 2, 2, 2]),
    ];
    for (r, conv) in all.map(padded).into_iter().chain(margins.map(same)) {
        let case = (conv, r.height, r.width);
        let (x_shape, w_shape) =
            ([r.batch, r.height, r.width, r.input], [r.output, r.input, r.kernel, r.kernel]);
        let x = values(x_shape.iter().product(), 5);
        let w = values(w_shape.iter().product(), 6);
        let (xv, wv) = (var(&x, &x_shape), var(&w, &w_shape));
        let y = xv.apply_op2(&wv, Convolve(conv)).unwrap();
        let (x64, w64, zero) = (f64s(&x), f64s(&w), vec![0.0; r.output]);
        assert!(error(&floats(&y), &r.run(&x64, &w64, &zero)) < 1e-5, "{case:?}");
        // The operation is linear in each argument, so ⟨g, conv(x, d)⟩ is the derivative along d.
        let g = values(y.elem_count(), 7);
        let grads = weighted_tensor(&y, &g).backward().unwrap();
        let along = |grad: &candle_core::Var, d: &[f32]| -> f64 {
            floats(grads.get(grad).unwrap()).iter().zip(d).map(|(a, b)| f64::from(a * b)).sum()
        };
        for seed in 8..12 {
            let dw = values(w.len(), seed);
            let expected = weighted(&r.run(&x64, &f64s(&dw), &zero), &g);
            let got = along(&wv, &dw);
            assert!(
                (got - expected).abs() < 1e-3 * expected.abs().max(10.0),
                "{case:?} {got} {expected}"
            );
            let dx = values(x.len(), seed);
            let expected = weighted(&r.run(&f64s(&dx), &w64, &zero), &g);
            let got = along(&xv, &dx);
            assert!(
                (got - expected).abs() < 1e-3 * expected.abs().max(10.0),
                "{case:?} {got} {expected}"
            );
        }
    }
}

#[test]
fn misfits_are_errors() {
    let x = var(&values(2 * 4 * 4 * 6, 1), &[2, 4, 4, 6]);
    let w = var(&values(6 * 3 * 9, 1), &[6, 3, 3, 3]);
    let run = |conv: Conv| x.apply_op2(&w, Convolve(conv)).is_err();
    assert!(!run(conv([6, 6], [3, 1, 1], 2)));
    assert!(run(conv([6, 6], [3, 1, 1], 1)));
    assert!(run(conv([6, 6], [5, 1, 1], 2)));
    assert!(run(conv([6, 6], [3, 0, 1], 2)));
    assert!(run(conv([6, 4], [3, 1, 1], 2)));
}
