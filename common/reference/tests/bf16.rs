//! Networks whose products are of bf16, beside themselves in f32.

use engine::{Network, simd};
use executor::{Executor, Precision};
use graph::Graph;
use graph::grid::Grids;
use graph::rng::Rng;

/// Pointwise convolutions behind depthwise ones, behind batch norms and before pools; direct ones of stride 2 and, for
/// pictures of 40 × 40, on maps of 5 × 5, of odd channels, too.
fn networks() -> [Graph; 2] {
    let direct = "input 3;a:conv 3>24 k3 s2 p1 bias;relu;b:conv 24>41 k3 s2 p1 bias;relu;c:conv 41>33 k3 s2 p1 bias;\
                  relu;d:conv 33>40 k3 p1 bias;relu;e:conv 40>64 k1 bias;relu6;gap;f:linear 64>5 bias";
    let student = graph::families::studentnet([16, 32, 64, 121, 130, 130, 130, 140], 4);
    [student.unwrap(), direct.parse().unwrap()]
}

fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(f)
}

/// `n` pictures of 40 × 40 of noise.
fn pictures(n: usize) -> Vec<f32> {
    let mut rng = Rng::new(1, "pictures", 0);
    (0..n * 4800).map(|_| rng.normal()).collect()
}

/// √Σ(a − b)² relative to √Σb².
fn off(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let lacks = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum::<f64>();
    (lacks / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| v.to_bits()).collect()
}

/// Factors are off by 2⁻⁹ at most, logits after eight layers by more than a quarter of a thousandth and less than a sixty-fourth
/// (single layers have bounds that are derived: `engine`, `conv::bf16::tests`). The same bits with any number of
/// threads, in any company, and without the instruction.
#[test]
fn answers_are_nearly_those_of_f32() {
    for graph in networks() {
        let weights = graph::init::weights(&graph, 1);
        let x = pictures(9);
        let run = |precision| {
            let network = Network::new(&graph, &weights, &Grids::new(), 40).unwrap();
            network.at(precision).logits(&x).unwrap()
        };
        let [plain, rounded] = [Precision::F32, Precision::Bf16].map(run);
        let off = off(&rounded, &plain);
        assert!((2f64.powi(-12)..2f64.powi(-6)).contains(&off), "off by {off}");
        for threads in [1, 2, 3] {
            let again = on_threads(threads, || run(Precision::Bf16));
            assert_eq!(bits(&again), bits(&rounded), "{threads} threads");
        }
        simd::emulate_bf16(true);
        assert_eq!(bits(&run(Precision::Bf16)), bits(&rounded), "step by step");
        simd::emulate_bf16(false);
        let mut network =
            Network::new(&graph, &weights, &Grids::new(), 40).unwrap().at(Precision::Bf16);
        let alone: Vec<f32> = x.chunks(4800).flat_map(|x| network.logits(x).unwrap()).collect();
        assert_eq!(bits(&alone), bits(&rounded), "picture by picture");
    }
}
