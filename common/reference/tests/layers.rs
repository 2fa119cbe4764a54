//! Batch norm, activations, pooling, blur, products and optimizer steps.

mod plain;

use engine::Network;
use engine::optim::{AdamW, Sgd, square_sum};
use executor::Executor;
use executor::rounding::Rounding;
use graph::grid::Grids;
use graph::{Array, Bounds, Graph, Window};
use plain::{error, f64s, finite_differences, floats, values, var, weighted, weighted_tensor};
use reference::op::activation::Clamp;
use reference::op::avg_pool::Means;
use reference::op::batch_norm::BatchNormAct;
use reference::op::global_avg_pool::Mean;
use reference::op::max_pool::Maxima;

/// Batch norm by its definition.
fn batch_norm(
    x: &[f64],
    gamma: &[f64],
    beta: &[f64],
    epsilon: f64,
    [lo, hi]: [f64; 2],
) -> Vec<f64> {
    let c = gamma.len();
    let n = (x.len() / c) as f64;
    let mean: Vec<f64> = (0..c).map(|i| x.iter().skip(i).step_by(c).sum::<f64>() / n).collect();
    let var: Vec<f64> = (0..c)
        .map(|i| x.iter().skip(i).step_by(c).map(|v| (v - mean[i]).powi(2)).sum::<f64>() / n)
        .collect();
    x.iter()
        .enumerate()
        .map(|(j, v)| {
            let i = j % c;
            let y = gamma[i] * (v - mean[i]) / (var[i] + epsilon).sqrt() + beta[i];
            y.max(lo).min(hi)
        })
        .collect()
}

#[test]
fn batch_norm_equals_the_definition() {
    let bounds = [(f32::NEG_INFINITY, f32::INFINITY), (0.0, 6.0), (0.0, f32::INFINITY)];
    for (c, epsilon, (lo, hi)) in [(3, 1e-5f32), (16, 1e-3), (25, 0.5)]
        .into_iter()
        .flat_map(|(c, e)| bounds.map(|b| (c, e, b)))
    {
        let shape = [2, 3, 4, c];
        let x: Vec<f32> = values(24 * c, 1).iter().map(|v| 3.0 * v + 1.0).collect();
        let gamma: Vec<f32> = values(c, 2).iter().map(|v| 2.0 * v).collect();
        let beta = values(c, 3);
        let (xv, gv, bv) = (var(&x, &shape), var(&gamma, &[c]), var(&beta, &[c]));
        let op = BatchNormAct::new(epsilon, Bounds { lo, hi });
        let y = xv.apply_op3(&gv, &bv, op.clone()).unwrap();
        let (x64, g64, b64) = (f64s(&x), f64s(&gamma), f64s(&beta));
        let (epsilon, bounds) = (f64::from(epsilon), [f64::from(lo), f64::from(hi)]);
        let expected = batch_norm(&x64, &g64, &b64, epsilon, bounds);
        assert!(error(&floats(&y), &expected) < 1e-6, "{c} {lo} {hi}");

        let r = values(y.elem_count(), 4);
        let grads = weighted_tensor(&y, &r).backward().unwrap();
        let check = |v: &candle_core::Var, expected: Vec<f64>, what: &str| {
            let e = error(&floats(grads.get(v).unwrap()), &expected);
            assert!(e < 1e-5, "{c} channels, {lo}..{hi}: d{what} is off by {e}");
        };
        let loss =
            |x: &[f64], g: &[f64], b: &[f64]| weighted(&batch_norm(x, g, b, epsilon, bounds), &r);
        check(&xv, finite_differences(&x, |x| loss(x, &g64, &b64)), "x");
        check(&gv, finite_differences(&gamma, |g| loss(&x64, g, &b64)), "γ");
        check(&bv, finite_differences(&beta, |b| loss(&x64, &g64, b)), "β");
    }
}

/// A mean of 1000 with a deviation of 0.01: sums of squares in f32 would lose the variance.
#[test]
fn variance_survives_a_large_mean() {
    let x: Vec<f32> = values(40_000, 1).iter().map(|v| 1000.0 + 0.01 * v).collect();
    let m = engine::norm::batch_stats(&x, 4);
    for c in 0..4 {
        let v: Vec<f64> = x.iter().skip(c).step_by(4).map(|v| f64::from(*v)).collect();
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64;
        assert!((f64::from(m.variance[c]) - var).abs() < 1e-3 * var, "{} {var}", m.variance[c]);
    }
}

/// `torch.nn.functional.relu6` and its gradient at −1, 0, 3, 6, 7 (PyTorch 2.15): zero at both bounds.
#[test]
fn clamp_has_no_gradient_at_its_bounds() {
    let x = var(&[-1.0, 0.0, 3.0, 6.0, 7.0], &[5]);
    let y = x.apply_op1(Clamp(Bounds { lo: 0.0, hi: 6.0 })).unwrap();
    assert_eq!(floats(&y), [0.0, 0.0, 3.0, 6.0, 6.0]);
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(floats(grads.get(&x).unwrap()), [0.0, 0.0, 1.0, 0.0, 0.0]);
}

/// What the engine's `graph` leaves of one picture `[size, size, 3]`, as `[3, 2, 2]`: by a linear layer that hands
/// on what it reads.
fn left_over(graph: &str, size: usize, picture: &[f32]) -> Vec<f32> {
    let graph: Graph = format!("{graph};f:linear 3>12 k2").parse().unwrap();
    let identity = (0..144).map(|i| f32::from(u8::from(i % 13 == 0))).collect();
    let weights = [("f.weight".to_owned(), Array::new(vec![12, 12], identity).unwrap())].into();
    let mut network = Network::new(&graph, &weights, &Grids::new(), size).unwrap();
    network.logits(picture).unwrap()
}

/// By hand, of 3 × 3 pixels every second one, filtered by 1, 2, 1 over 4, the border mirrored. Of values
/// 1 + 3y + x each coordinate becomes 2·1/4 = ½ at 0 and (1 + 2·2 + 1)/4 = 1½ at 2; of 16 in the middle alone a
/// quarter comes to every corner; 5 stays 5.
#[test]
fn blur_equals_what_was_worked_by_hand() {
    let colours = |i: usize| [1.0 + i as f32, if i == 4 { 16.0 } else { 0.0 }, 5.0];
    let picture: Vec<f32> = (0..9).flat_map(colours).collect();
    let expected = [3.0, 4.0, 6.0, 7.0, 4.0, 4.0, 4.0, 4.0, 5.0, 5.0, 5.0, 5.0];
    assert_eq!(left_over("input 3;blur 1,2,1 s2", 3, &picture), expected);
}

/// By hand, 1 / (1 + e⁻ˣ) is ½ at 0, ¾ at ln 3 and ¼ at −ln 3: the colours' means, by which whole colours are
/// multiplied, and then the values themselves, each by its own.
#[test]
fn products_equal_what_was_worked_by_hand() {
    let l = 3f32.ln();
    let close = |found: Vec<f32>, expected: [f32; 12]| {
        let mut pairs = found.iter().zip(expected);
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}\n{expected:?}");
    };
    let picture = [1.0, 4.0 * l, 0.0, -1.0, 0.0, -4.0 * l, 2.0, 0.0, 0.0, -2.0, 0.0, 0.0];
    let gated = left_over("input 3;gap;sigmoid;mul @0,2", 2, &picture);
    close(gated, [0.5, -0.5, 1.0, -1.0, 3.0 * l, 0.0, 0.0, 0.0, 0.0, -l, 0.0, 0.0]);
    let picture = [0.0, l, -l, l, -l, 0.0, -l, 0.0, l, 0.0, 0.0, 0.0];
    let (up, down) = (0.75 * l, -0.25 * l);
    let own = left_over("input 3;sigmoid;mul @0,1", 2, &picture);
    close(own, [0.0, up, down, 0.0, up, down, 0.0, 0.0, down, 0.0, up, 0.0]);
}

fn max_pool(x: &[f64], [b, h, w, c]: [usize; 4], win: Window) -> Vec<f64> {
    let mut y = Vec::new();
    for i in 0..b {
        for (oy, ox) in (0..win.output(h)).flat_map(|y| (0..win.output(w)).map(move |x| (y, x))) {
            for ch in 0..c {
                let mut best = f64::NEG_INFINITY;
                for (ky, kx) in (0..win.kernel).flat_map(|y| (0..win.kernel).map(move |x| (y, x))) {
                    let (iy, ix) = (oy * win.stride + ky, ox * win.stride + kx);
                    let (above, left) = (win.before(h), win.before(w));
                    if iy >= above && ix >= left {
                        let (iy, ix) = (iy - above, ix - left);
                        if iy < h && ix < w {
                            best = best.max(x[((i * h + iy) * w + ix) * c + ch]);
                        }
                    }
                }
                y.push(best);
            }
        }
    }
    y
}

#[test]
fn max_pool_equals_the_definition() {
    for (win, h, w, c) in [
        (Window::new(2, 2, 0), 6, 8, 16),
        (Window::new(2, 2, 0), 7, 5, 3), // odd: the last row and column are left out
        (Window::ceil(2, 2, 0), 7, 5, 3), // and here they are not
        (Window::new(3, 2, 1), 8, 8, 9), // ResNet
        (Window::ceil(3, 2, 0), 8, 6, 5), // SqueezeNet
        (Window::new(3, 2, 1), 7, 5, 4),
        (Window::new(3, 1, 1), 4, 4, 2),
        (Window::same(3, 2), 8, 7, 3),
    ] {
        let shape = [2, h, w, c];
        let x = values(2 * h * w * c, 1);
        let xv = var(&x, &shape);
        let y = xv.apply_op1(Maxima::new(win)).unwrap();
        assert_eq!(y.dims(), [2, win.output(h), win.output(w), c]);
        assert!(error(&floats(&y), &max_pool(&f64s(&x), shape, win)) == 0.0, "{win:?}");
        let r = values(y.elem_count(), 2);
        let grads = weighted_tensor(&y, &r).backward().unwrap();
        let expected = finite_differences(&x, |x| weighted(&max_pool(x, shape, win), &r));
        let e = error(&floats(grads.get(&xv).unwrap()), &expected);
        assert!(e < 1e-6, "{win:?}: dx is off by {e}");
    }
}

/// PyTorch 2.15: `max_pool2d(ones(1,1,4,4), 2).sum().backward()` gives 1 at the first pixel of each
/// window, 0 elsewhere.
#[test]
fn ties_go_to_the_first() {
    let x = var(&[1.0; 16], &[1, 4, 4, 1]);
    let y = x.apply_op1(Maxima::new(Window::new(2, 2, 0))).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    let expected = [1., 0., 1., 0., 0., 0., 0., 0., 1., 0., 1., 0., 0., 0., 0., 0.];
    assert_eq!(floats(grads.get(&x).unwrap()), expected);
}

/// The mean over a window, padding counted as zeros, what lies beyond it not at all.
fn avg_pool(x: &[f64], [b, h, w, c]: [usize; 4], win: Window) -> Vec<f64> {
    let mut y = Vec::new();
    for i in 0..b {
        for (oy, ox) in (0..win.output(h)).flat_map(|y| (0..win.output(w)).map(move |x| (y, x))) {
            for ch in 0..c {
                let (mut sum, mut n) = (0.0, 0);
                let padding = win.before(h);
                for (ky, kx) in (0..win.kernel).flat_map(|y| (0..win.kernel).map(move |x| (y, x))) {
                    let (iy, ix) = (oy * win.stride + ky, ox * win.stride + kx);
                    if iy >= h + 2 * padding || ix >= w + 2 * padding {
                        continue;
                    }
                    n += 1;
                    let inside = |v: usize, n: usize| v >= padding && v - padding < n;
                    if inside(iy, h) && inside(ix, w) {
                        let (iy, ix) = (iy - padding, ix - padding);
                        sum += x[((i * h + iy) * w + ix) * c + ch];
                    }
                }
                y.push(sum / f64::from(n));
            }
        }
    }
    y
}

/// By hand, `torch.nn.functional.avg_pool2d(torch.tensor([[[[1., 2, 3]]*3]]), 2, 2, ceil_mode=True)`
/// = 1.5, 3 / 1.5, 3 (PyTorch 2.15); with padding 1 the corner is 1 / 4.
#[test]
fn avg_pool_equals_the_definition() {
    let ones: Vec<f64> = [1.0, 2.0, 3.0].repeat(3);
    let ceil = Window::ceil(2, 2, 0);
    assert_eq!(avg_pool(&ones, [1, 3, 3, 1], ceil), [1.5, 3.0, 1.5, 3.0]);
    assert_eq!(avg_pool(&ones, [1, 3, 3, 1], Window::new(2, 2, 1))[0], 0.25);
    for (win, h, w, c) in [
        (Window::new(2, 2, 0), 6, 8, 16),
        (Window::ceil(2, 2, 0), 7, 5, 3),
        (Window::ceil(3, 2, 1), 8, 6, 5),
        (Window::new(3, 1, 1), 4, 5, 2),
    ] {
        let shape = [2, h, w, c];
        let x = values(2 * h * w * c, 1);
        let xv = var(&x, &shape);
        let y = xv.apply_op1(Means(win)).unwrap();
        assert_eq!(y.dims(), [2, win.output(h), win.output(w), c]);
        assert!(error(&floats(&y), &avg_pool(&f64s(&x), shape, win)) < 1e-6, "{win:?}");
        let r = values(y.elem_count(), 2);
        let grads = weighted_tensor(&y, &r).backward().unwrap();
        let expected = finite_differences(&x, |x| weighted(&avg_pool(x, shape, win), &r));
        let e = error(&floats(grads.get(&xv).unwrap()), &expected);
        assert!(e < 1e-6, "{win:?}: dx is off by {e}");
    }
}

#[test]
fn global_average_is_the_mean() {
    let x = var(&values(2 * 3 * 5 * 7, 1), &[2, 3, 5, 7]);
    let y = x.apply_op1(Mean).unwrap();
    let stock = x.mean((1, 2)).unwrap();
    assert!(error(&floats(&y), &f64s(&floats(&stock))) < 1e-6);
    let r = values(14, 2);
    let ours = weighted_tensor(&y, &r).backward().unwrap();
    let theirs = weighted_tensor(&stock, &r).backward().unwrap();
    let e = error(&floats(ours.get(&x).unwrap()), &f64s(&floats(theirs.get(&x).unwrap())));
    assert!(e < 1e-6, "{e}");
}

/// A step on a parameter with a gradient, and its number.
type Update<'a> = dyn FnMut(&mut [f32], &[f32], i32) + 'a;

/// Three steps on [1, −2, 0.5] with gradients 0.1·k·[1, −1, 2], by PyTorch 2.15:
/// ```python
/// p = torch.nn.Parameter(torch.tensor([1., -2., .5]))
/// o = torch.optim.SGD([p], lr=.1, momentum=.9, nesterov=True, weight_decay=.01)   # or
/// o = torch.optim.AdamW([p], lr=.1, weight_decay=.01)
/// for k in (1, 2, 3):
///     p.grad = .1 * k * torch.tensor([1., -1., 2.]); o.step()
/// ```
#[test]
fn optimizer_steps_equal_torch() {
    let run = |step: &mut Update| -> Vec<f32> {
        let mut p = vec![1.0, -2.0, 0.5];
        for k in 1..=3 {
            step(&mut p, &[1.0, -1.0, 2.0].map(|v| 0.1 * k as f32 * v), k);
        }
        p
    };
    let close = |a: Vec<f32>, b: [f64; 3]| {
        assert!(a.iter().zip(b).all(|(x, y)| (f64::from(*x) - y).abs() < 2e-6), "{a:?} {b:?}");
    };
    let mut m = vec![0.0; 3];
    let sgd = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.01, grad_scale: 1.0 };
    close(run(&mut |p, g, _| sgd.step(p, g, &mut m)), SGD);
    let (mut m, mut v) = (vec![0.0; 3], vec![0.0; 3]);
    close(
        run(&mut |p, g, step| {
            let rule = AdamW {
                lr: 0.1,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.01,
                step,
                grad_scale: 1.0,
            };
            rule.step(p, g, &mut m, &mut v);
        }),
        ADAMW,
    );
    assert_eq!(square_sum(&[3.0, 4.0]), 25.0);
}

const SGD: [f64; 3] = [0.846_549_988, -1.838_514_924, 0.205_152_676];
const ADAMW: [f64; 3] = [0.704_981_089, -1.701_984_167, 0.206_479_594];

/// By hand, two rows of two values at top 3 with scales ½ and 2: integers round(3u) = 1, −3 (clipped)
/// and 0, 2; gradients s · top · g inside the clip; ∂/∂log2 s = ln 2 · s · Σ g q.
#[test]
fn rounding_passes_its_gradient_through() {
    let u = [0.4f32, -1.2, 0.1, 0.6];
    let grid = Rounding { scales: vec![0.5, 2.0], top: 3.0 };
    let mut w = u;
    grid.round(&mut w);
    assert_eq!(w, [0.5, -1.5, 0.0, 4.0]);
    let mut du = [1.0f32, 2.0, 3.0, 4.0];
    let mut ds = [0.0; 2];
    grid.gradients(&u, &mut du, &mut ds);
    assert_eq!(du, [1.5, 0.0, 18.0, 24.0]);
    let ln2 = std::f32::consts::LN_2;
    let expected = [ln2 * 0.5 * (1.0 - 6.0), ln2 * 2.0 * 8.0];
    assert!(ds.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{ds:?}");
}
