//! Products and roundings against definitions in f64, hand-worked sums, and the instructions.

use super::super::direct;
use super::super::gemm::Matrix;
use super::super::pointwise::{Pointwise, Source};
use super::pairs::round;
use super::*;
use executor::Precision;
use graph::Bounds;
use graph::rng::Rng;

/// A bf16 of random sign and digits with one of `count` exponents from `first` on.
fn number(rng: &mut Rng, first: u32, count: u32) -> u32 {
    let bits = rng.bits();
    let exponent = first + (bits >> 32) as u32 % count;
    ((bits as u32 & 0x8000) | exponent << 7 | (bits as u32 & 0x7f)) & 0xffff
}

fn pair_of(rng: &mut Rng, first: u32, count: u32) -> u32 {
    number(rng, first, count) | number(rng, first, count) << 16
}

/// One step of the sum `c` by each of the three ways there are here, NaN being one number.
fn steps(a: u32, b: u32, c: f32) -> Vec<u32> {
    let mut panel = [0; PANEL];
    panel[0] = b;
    let rows = Rows { values: &[a], count: 1, starts: [0; ROWS], col: 1 };
    let by = |way: &dyn Fn(&mut [f32])| {
        let mut out = [c];
        way(&mut out);
        if out[0].is_nan() { f32::NAN.to_bits() } else { out[0].to_bits() }
    };
    let ways = vec![
        by(&|out| emulated_body::<true>(rows, (&panel, 1), Finish::Add, out, 1)),
        by(&|out| emulated_body::<false>(rows, (&panel, 1), Finish::Add, out, 1)),
    ];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the CPU has it.
        let third = by(&|out| unsafe {
            by_instruction::<1, 1>(rows, (&panel, 1), Finish::Add, out, 1);
        });
        return [ways, vec![third]].concat();
    }
    ways
}

fn bf16(v: f32) -> u32 {
    v.to_bits() >> 16
}

#[test]
fn steps_are_those_worked_by_hand() {
    let two = |n: i32| 2f32.powi(n);
    for (first, second, c, expected) in [
        // 1 + 2²⁴ rounds to 2²⁴: the second product comes first. The other way round 1 would be left.
        ((-two(12), two(12)), (two(12), two(12)), 1.0, 0.0),
        // (1 + 2⁻⁷)² − (1 + 2⁻⁶) = 2⁻¹⁴: products are not rounded.
        ((1.0 + two(-7), 1.0 + two(-7)), (0.0, 0.0), -1.0 - two(-6), two(-14)),
        // 2⁶⁴ · 2⁶⁴ is no f32, its sum with −2¹²⁷ is.
        ((two(64), two(64)), (0.0, 0.0), -two(127), two(127)),
        // Below 2⁻¹²⁶ there are zeros, also of what rounds to it as a subnormal number: 2⁻¹²⁶ − 2⁻¹⁵⁰ has 24 digits
        // of its own, 2⁻¹²⁶ − 2⁻¹⁵¹ has not.
        ((-two(-74), two(-75)), (0.0, 0.0), two(-126), 0.0),
        ((-two(-75), two(-75)), (0.0, 0.0), two(-126), 0.0),
        ((-two(-76), two(-75)), (0.0, 0.0), two(-126), two(-126)),
        ((two(-75), two(-75)), (0.0, 0.0), -two(-126), -0.0),
        // Subnormal numbers are read as zeros: 2⁻¹³⁰ · 2¹⁰⁰, and 2⁻¹³⁰ itself.
        ((two(-130), two(100)), (0.0, 0.0), 1.0, 1.0),
        ((two(-130), two(100)), (0.0, 0.0), two(-130), 0.0),
        ((two(-63), two(-64)), (two(-63), two(-64)), 0.0, 0.0),
    ] {
        let pairs = [(first.0, second.0), (first.1, second.1)];
        let [a, b] = pairs.map(|(one, two)| bf16(one) | bf16(two) << 16);
        for (way, found) in steps(a, b, c).into_iter().enumerate() {
            let found = f32::from_bits(found);
            assert_eq!(found.to_bits(), expected.to_bits(), "{way}: {a:x} · {b:x} + {c}: {found}");
        }
    }
}

#[test]
fn all_ways_have_the_same_bits() {
    let mut rng = Rng::new(1, "bf16", 0);
    for n in 0..600_000 {
        // Usual sizes; anything; sums at the lower end of the range; at the upper; subnormal factors.
        let (a, b, c) = match n % 5 {
            0 => (pair_of(&mut rng, 124, 6), pair_of(&mut rng, 124, 6), number(&mut rng, 122, 8)),
            1 => (rng.bits() as u32, rng.bits() as u32, rng.bits() as u32 & 0xffff),
            2 => (pair_of(&mut rng, 60, 8), pair_of(&mut rng, 60, 8), number(&mut rng, 0, 8)),
            3 => (pair_of(&mut rng, 188, 4), pair_of(&mut rng, 188, 4), number(&mut rng, 250, 6)),
            _ => (pair_of(&mut rng, 0, 3), pair_of(&mut rng, 126, 3), number(&mut rng, 0, 3)),
        };
        let c = f32::from_bits(c << 16 | rng.bits() as u32 & 0xffff);
        let ways = steps(a, b, c);
        assert!(ways.iter().all(|w| *w == ways[0]), "{a:x} · {b:x} + {c:e}: {ways:x?}");
    }
}

/// The nearest of the two numbers of 16 bits around each of 2²⁰ f32, by their distances in f64.
#[test]
fn rounding_is_to_the_nearest() {
    let values = (0..1u32 << 20).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b1)));
    let ties = (0..1 << 16).map(|i| f32::from_bits(i << 16 | 0x8000));
    let values: Vec<f32> = values.chain(ties).collect();
    let mut pairs = vec![0; values.len() / 2];
    by_columns(&values, values.len(), &mut pairs);
    for (v, found) in values.iter().zip(pairs.iter().copied().flat_map(unpair)) {
        let nearest = f32::from_bits(round(*v));
        assert!(nearest.to_bits() == found.to_bits() || v.is_nan(), "{v:e}: {found:e}");
        if v.is_nan() {
            assert!(nearest.is_nan() && found.is_nan(), "{v}");
        } else if v.is_subnormal() {
            assert_eq!(nearest.to_bits(), 0.0f32.copysign(*v).to_bits());
        } else {
            let below = v.to_bits() & 0xffff_0000;
            // Infinity counts as the number that would follow the largest.
            let value = |bits: u32| {
                let v = f32::from_bits(bits);
                if v.is_finite() { f64::from(v) } else { 2f64.powi(128).copysign(f64::from(v)) }
            };
            let distance = |bits: u32| (value(bits) - f64::from(*v)).abs();
            let above = below.wrapping_add(0x1_0000);
            let expected = match distance(below).total_cmp(&distance(above)) {
                _ if v.is_infinite() => below,
                std::cmp::Ordering::Less => below,
                std::cmp::Ordering::Greater => above,
                std::cmp::Ordering::Equal => below + (below & 0x1_0000),
            };
            assert_eq!(nearest.to_bits(), expected, "{v:e}");
        }
    }
}

fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, "values", 0);
    (0..n).map(|_| rng.normal()).collect()
}

/// Widths and heights around those of vectors and panels: pairs of neighbours, of numbers below each other, panels of
/// rows and of columns, all against the definition.
#[test]
fn pairs_are_neighbours() {
    let _switch = crate::simd::turn();
    let paired = |a: f32, b: Option<f32>| round(a) >> 16 | b.map_or(0, round);
    for emulated in [false, true] {
        crate::simd::emulate_bf16(emulated);
        for (rows, n) in [(1, 1), (2, 7), (3, 16), (5, 33), (4, 64), (7, 47), (6, 100), (0, 5)] {
            let x = values(rows * n, 3);
            let at = |r: usize, c: usize| (r < rows && c < n).then(|| x[r * n + c]);
            let (half, lines) = (n.div_ceil(2), rows.div_ceil(2));
            let mut pairs = vec![1; rows * half];
            by_columns(&x, n, &mut pairs);
            for (i, p) in pairs.iter().enumerate() {
                let (r, j) = (i / half, i % half);
                assert_eq!(*p, paired(x[r * n + 2 * j], at(r, 2 * j + 1)), "{rows} {n}: {r} {j}");
            }
            let mut pairs = vec![1; lines * n];
            by_rows(&x, n, (0, n), &mut pairs, n);
            for (i, p) in pairs.iter().enumerate() {
                let (j, c) = (i / n, i % n);
                assert_eq!(*p, paired(x[2 * j * n + c], at(2 * j + 1, c)), "{rows} {n}: {j} {c}");
            }
            let m = Matrix::new(&x, rows, n, n);
            for (b, at) in [
                (m, &at as &dyn Fn(usize, usize) -> Option<f32>),
                (m.transposed(), &|r, c| at(c, r)),
            ] {
                let mut panels = vec![1; packed(b.rows, b.cols)];
                pack(b, &mut panels);
                let lines = b.rows.div_ceil(2);
                for (i, p) in panels.iter().enumerate() {
                    let (c, j) = (i / (lines * PANEL) * PANEL + i % PANEL, i / PANEL % lines);
                    let expected = at(2 * j, c).map_or(0, |v| paired(v, at(2 * j + 1, c)));
                    assert_eq!(*p, expected, "{rows} {n}: {j} {c}");
                }
            }
        }
    }
    crate::simd::emulate_bf16(false);
}

/// Sizes below, at and above a tile's, with and without the instruction, against sums in f64. Of K products rounded
/// factors lose 2⁻⁸ + 2⁻¹⁸ of each, and K roundings of the sum K · 2⁻²⁴ of all of them together (Higham 2002,
/// "Accuracy and stability of numerical algorithms", section 3.1, whose γ is below 1.01 times that here).
#[test]
fn products_are_those_of_the_definition() {
    let _switch = crate::simd::turn();
    let sizes =
        [(1, 1, 1), (3, 7, 5), (12, 32, 16), (16, 33, 40), (25, 70, 33), (13, 16, 300), (5, 9, 0)];
    for (m, n, k) in sizes {
        let (x, w, bias, before) =
            (values(m * k, 1), values(k * n, 5), values(n, 3), values(m * (n + 3), 9));
        let (mut a, mut panels) = (vec![0; m * k.div_ceil(2)], vec![0; packed(k, n)]);
        by_columns(&x, k, &mut a);
        pack(Matrix::new(&w, k, n, n), &mut panels);
        let half = k.div_ceil(2);
        let left = Left { values: &a, rows: m, pairs: half, row: half, col: 1 };
        let store = Finish::Store { bias: Some(&bias), bounds: Bounds::RELU };
        let results = [false, true].map(|emulated| {
            crate::simd::emulate_bf16(emulated);
            [Finish::Add, store].map(|finish| {
                let mut out = before.clone();
                multiply(&mut out, (n + 3, n), left, &panels, finish);
                out
            })
        });
        crate::simd::emulate_bf16(false);
        let bits = |r: &[Vec<f32>; 2]| {
            r.each_ref().map(|v| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(bits(&results[0]), bits(&results[1]), "{m} {n} {k}");
        for (i, before) in before.iter().enumerate() {
            let (r, c) = (i / (n + 3), i % (n + 3));
            let found = [0, 1].map(|j| f64::from(results[0][j][i]));
            let before = f64::from(*before);
            if c >= n {
                assert_eq!(found, [before; 2], "the gap at {r}, {c}");
                continue;
            }
            let products = (0..k).map(|i| f64::from(x[r * k + i]) * f64::from(w[i * n + c]));
            let (sum, size) = products.fold((0.0, 0.0), |(s, a), p| (s + p, a + p.abs()));
            let bias = f64::from(bias[c]);
            let all = size + before.abs().max(bias.abs());
            let bound = size * (2f64.powi(-8) + 2f64.powi(-18))
                + all * 1.01 * (k + 2) as f64 * 2f64.powi(-24);
            for (f, e) in found.iter().zip([sum + before, (sum + bias).max(0.0)]) {
                assert!((f - e).abs() <= bound, "{m} {n} {k}: {f} {e}, bound {bound}");
            }
        }
    }
}

/// Sums of `k` products each, of which `found` are the results and `sums` (value, sum of the sizes of its terms) the
/// definition's: see [`products_are_those_of_the_definition`].
fn close(found: &[f32], sums: &[(f64, f64)], k: usize, what: &str) {
    assert_eq!(found.len(), sums.len(), "{what}");
    let share = 2f64.powi(-8) + 2f64.powi(-18) + 1.01 * (k + 2) as f64 * 2f64.powi(-24);
    for (f, (sum, size)) in found.iter().zip(sums) {
        assert!((f64::from(*f) - sum).abs() <= share * size, "{what}: {f} {sum}, of {size}");
    }
    let off = found.iter().zip(sums).filter(|(f, (sum, size))| {
        (f64::from(**f) - sum).abs() > size * 1.01 * (k + 2) as f64 * 2f64.powi(-24)
    });
    assert!(off.count() > found.len() / 2, "{what}: these are sums of f32");
}

/// Σ over rows of `a` `[m, k]` and columns of `b` `[k, n]`, given by their elements.
fn definition(
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<(f64, f64)> {
    let sum = |r: usize, c: usize| {
        let products = (0..k).map(|i| f64::from(a(r, i)) * f64::from(b(i, c)));
        products.fold((0.0, 0.0), |(s, t), p| (s + p, t + p.abs()))
    };
    (0..m * n).map(|i| sum(i / n, i % n)).collect()
}

fn pointwise(input: usize, output: usize) -> Pointwise {
    let precision = Precision::Bf16;
    Pointwise { batch: 3, height: 5, width: 7, input, output, precision, pool: None }
}

#[test]
fn pointwise_convolutions_are_those_of_the_definition() {
    for (input, output) in [(16, 32), (33, 70), (120, 20)] {
        let p = pointwise(input, output);
        let (x, w) = (values(105 * input, 1), values(output * input, 2));
        let mut panels = vec![0.0; p.packed_floats()];
        p.pack(&w, &mut panels);
        let mut y = vec![0.0; 105 * output];
        let source = Source { values: &x, normalize: None, depthwise: None };
        p.forward(source, &panels, None, Bounds::NONE, &mut y, &mut []);
        let sums =
            definition((105, output, input), |r, i| x[r * input + i], |i, c| w[c * input + i]);
        close(&y, &sums, input, &format!("{input} > {output}"));
    }
}

/// Windows, strides and padding, on maps that are cut by rows of pictures and by pictures, of odd channels, too.
#[test]
fn direct_convolutions_are_those_of_the_definition() {
    let window = graph::Window::new;
    for (window, padding, side, input, output) in [
        (window(3, 2, 1), 1, 7, 17, 40),
        (window(3, 1, 1), 1, 2, 64, 33),
        (window(1, 2, 0), 0, 16, 32, 8),
        (window(3, 1, 1), 1, 10, 16, 32),
        // Of 3 pixels more than 8 one lies before.
        (graph::Window::same(5, 2), 1, 8, 16, 24),
    ] {
        let (kernel, stride) = (window.kernel, window.stride);
        let g = graph::Geometry {
            batch: 3,
            height: side,
            width: side,
            input,
            output,
            groups: 1,
            window,
        };
        let (x, w) =
            (values(3 * side * side * input, 1), values(output * input * kernel * kernel, 2));
        let mut panels = vec![0.0; direct::packed_bf16_floats(&g)];
        direct::pack_bf16(&w, &g, &mut panels);
        let mut y = vec![0.0; g.rows() * output];
        direct::forward_bf16(&x, &panels, None, Bounds::NONE, &g, &mut y);
        let (taps, out) = (kernel * kernel, g.out_width());
        let pixel = |r: usize, t: usize, i: usize| {
            let (b, at) = (r / (out * out), r % (out * out));
            let line = (at / out * stride + t / kernel).wrapping_sub(padding);
            let column = (at % out * stride + t % kernel).wrapping_sub(padding);
            let inside = line < side && column < side;
            if inside { x[((b * side + line) * side + column) * input + i] } else { 0.0 }
        };
        let shape = (g.rows(), output, taps * input);
        let sums = definition(
            shape,
            |r, j| pixel(r, j / input, j % input),
            |j, c| w[(c * input + j % input) * taps + j / input],
        );
        close(&y, &sums, shape.2, &format!("{g:?}"));
    }
}

/// Of odd numbers of rows, inputs and outputs, too.
#[test]
fn pointwise_gradients_are_those_of_the_definition() {
    for (input, output) in [(16, 32), (33, 70), (120, 21)] {
        let p = pointwise(input, output);
        let (x, w, grad) =
            (values(105 * input, 1), values(output * input, 2), values(105 * output, 3));
        let (mut dx, mut dw, mut db) = (vec![7.0; x.len()], vec![7.0; w.len()], vec![7.0; output]);
        let source = Source { values: &x, normalize: None, depthwise: None };
        p.backward(source, &w, (&grad, &[]), &mut dx, &mut dw, Some(&mut db));
        let what = format!("{input} > {output}");
        let sums =
            definition((105, input, output), |r, o| grad[r * output + o], |o, i| w[o * input + i]);
        close(&dx, &sums, output, &what);
        let sums =
            definition((output, input, 105), |o, r| grad[r * output + o], |r, i| x[r * input + i]);
        close(&dw, &sums, 105, &what);
        for (o, b) in db.iter().enumerate() {
            let sum: f64 = grad.iter().skip(o).step_by(output).map(|v| f64::from(*v)).sum();
            assert!(
                (f64::from(*b) - sum).abs() < 1e-4,
                "{what}: sums of gradients are no products"
            );
        }
    }
}
