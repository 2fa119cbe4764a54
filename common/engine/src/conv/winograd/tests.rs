//! Both tiles against plain sums in f64.

use super::*;
use graph::{Bounds, Window};

/// Deterministic values in −1..1.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Calls `f(input, weight, output)` with the places of every product of a convolution.
fn products(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let (oh, ow, p) = (g.out_height(), g.out_width(), g.before()[0]);
    for row in 0..g.rows() {
        let (picture, oy, ox) = (row / (oh * ow), row / ow % oh, row % ow);
        for tap in 0..9 {
            let (y, x) = (oy + tap / 3, ox + tap % 3);
            if !(p..g.height + p).contains(&y) || !(p..g.width + p).contains(&x) {
                continue;
            }
            let pixel = (picture * g.height + y - p) * g.width + x - p;
            for o in 0..g.output {
                for i in 0..g.input {
                    f(pixel * g.input + i, (o * g.input + i) * 9 + tap, row * g.output + o);
                }
            }
        }
    }
}

/// Largest |a − b| relative to the largest |b|.
fn error(a: &[f32], b: &[f64]) -> f64 {
    let scale = b.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((f64::from(*x) - y).abs())) / scale
}

/// (batch, height, width, in, out, padding): maps that tiles cover exactly and that cut them, less than a group of
/// tiles and several blocks, channels that are no multiples of anything, pictures smaller than a tile.
const CASES: [[usize; 6]; 9] = [
    [2, 16, 16, 64, 64, 1],
    [3, 5, 7, 17, 33, 1],
    [5, 4, 4, 256, 40, 1],
    [3, 7, 7, 1, 3, 0],
    [2, 7, 7, 3, 1, 2],
    [1, 8, 9, 512, 70, 1],
    [1, 3, 3, 24, 8, 0],
    [2, 1, 2, 31, 32, 1],
    [40, 12, 12, 27, 5, 1],
];

fn geometry([batch, height, width, input, output, padding]: [usize; 6]) -> Geometry {
    let window = Window::new(3, 1, padding);
    Geometry { batch, height, width, input, output, window, groups: 1 }
}

/// About twice the largest errors seen, by the largest value of each result, with sums that are fused or not. With the usual
/// points ±1, ±2 those of 4 × 4 were beyond.
const BOUNDS: [(Tile, f64); 2] = [(Tile::Two, 3.0e-6), (Tile::Four, 7.5e-6)];

#[test]
fn outputs_equal_the_definition() {
    let _turn = crate::simd::turn();
    for case in CASES {
        let g = geometry(case);
        let (x, w) = (values(g.batch * g.floats(), 1), values(g.output * g.input * 9, 2));
        let bias = values(g.output, 3);
        let mut expected: Vec<f64> =
            (0..g.rows() * g.output).map(|i| f64::from(bias[i % g.output])).collect();
        products(&g, |i, k, o| expected[o] += f64::from(x[i]) * f64::from(w[k]));
        let clamped = Bounds { lo: -0.25, hi: 0.5 };
        for (tile, bound) in BOUNDS {
            let mut panels = vec![f32::NAN; packed_floats(&g, tile)];
            Weights::Plain(&w).pack(&g, tile, &mut panels);
            let mut y = vec![f32::NAN; expected.len()];
            forward(&x, Weights::Packed(&panels), Some(&bias), Bounds::NONE, (&g, tile), &mut y);
            let e = error(&y, &expected);
            assert!(e < bound, "{tile:?} of {case:?} is off by {e}");
            let free = y.clone();
            forward(&x, Weights::Plain(&w), Some(&bias), Bounds::NONE, (&g, tile), &mut y);
            assert!(
                y == free,
                "{tile:?} of {case:?}: other bits from weights that were not packed"
            );
            forward(&x, Weights::Packed(&panels), Some(&bias), clamped, (&g, tile), &mut y);
            assert!(y.iter().zip(&free).all(|(c, v)| *c == clamped.clamp(*v)), "{case:?}");
        }
    }
}

#[test]
fn input_gradients_equal_the_definition() {
    let _turn = crate::simd::turn();
    for case in CASES {
        let g = geometry(case);
        let (w, grad) = (values(g.output * g.input * 9, 4), values(g.rows() * g.output, 5));
        let mut expected = vec![0.0; g.batch * g.floats()];
        products(&g, |i, k, o| expected[i] += f64::from(grad[o]) * f64::from(w[k]));
        let reversed = g.reversed().unwrap();
        for (tile, bound) in BOUNDS {
            let mut dx = vec![f32::NAN; expected.len()];
            forward(&grad, Weights::Reversed(&w), None, Bounds::NONE, (&reversed, tile), &mut dx);
            let e = error(&dx, &expected);
            assert!(e < bound, "{tile:?} of {case:?} is off by {e}");
        }
    }
}

/// A picture's result must not depend on the pictures beside it: they decide which tiles are summed together.
#[test]
fn a_picture_alone_has_the_same_bits() {
    let _turn = crate::simd::turn();
    let g = geometry([7, 9, 6, 20, 40, 1]);
    let (x, w) = (values(g.batch * g.floats(), 6), values(g.output * g.input * 9, 7));
    let one = Geometry { batch: 1, ..g };
    for tile in [Tile::Two, Tile::Four] {
        let mut panels = vec![0.0; packed_floats(&g, tile)];
        Weights::Plain(&w).pack(&g, tile, &mut panels);
        let mut y = vec![0.0; g.rows() * g.output];
        forward(&x, Weights::Packed(&panels), None, Bounds::NONE, (&g, tile), &mut y);
        let mut alone = vec![0.0; one.rows() * g.output];
        for (x, y) in x.chunks_exact(g.floats()).zip(y.chunks_exact(alone.len())) {
            forward(x, Weights::Packed(&panels), None, Bounds::NONE, (&one, tile), &mut alone);
            assert!(alone == y, "{tile:?}");
        }
    }
}

#[test]
fn weight_gradients_equal_the_definition() {
    let _turn = crate::simd::turn();
    for case in CASES {
        let g = geometry(case);
        let (x, grad) = (values(g.batch * g.floats(), 8), values(g.rows() * g.output, 9));
        let mut expected = vec![0.0; g.output * g.input * 9];
        products(&g, |i, k, o| expected[k] += f64::from(x[i]) * f64::from(grad[o]));
        for (tile, bound) in BOUNDS {
            let mut dw = vec![f32::NAN; expected.len()];
            gradient(&x, &grad, (&g, tile), &mut dw);
            let e = error(&dw, &expected);
            assert!(e < bound, "{tile:?} of {case:?} is off by {e}");
        }
    }
}
