//! Networks whose products are of bf16, beside themselves in f32.

use engine::{Network, simd};
use executor::{Batch, Executor, Loss, Precision, Rule, Update};
use graph::Graph;
use graph::grid::Grids;
use graph::rng::Rng;
use std::sync::{Mutex, PoisonError};

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

/// Held by whoever switches between the instruction and its emulation.
static SWITCH: Mutex<()> = Mutex::new(());

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
        let _switch = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
        simd::emulate_bf16(true);
        assert_eq!(bits(&run(Precision::Bf16)), bits(&rounded), "step by step");
        simd::emulate_bf16(false);
        let mut network =
            Network::new(&graph, &weights, &Grids::new(), 40).unwrap().at(Precision::Bf16);
        let alone: Vec<f32> = x.chunks(4800).flat_map(|x| network.logits(x).unwrap()).collect();
        assert_eq!(bits(&alone), bits(&rounded), "picture by picture");
    }
}

/// Nine pictures of noise, each of its own class as far as there are classes.
fn batch(classes: usize) -> Batch {
    let mut labels = vec![0.0; 9 * classes];
    (0..9).for_each(|i| labels[i * classes + i % classes] = 1.0);
    Batch { pictures: pictures(9), labels, teacher: Vec::new() }
}

/// Losses of as many steps on one batch, gradients of the last, and the variables after it.
fn train(graph: &Graph, precision: Precision, steps: usize) -> (Vec<f64>, Vec<f32>, Vec<f32>) {
    let weights = graph::init::weights(graph, 1);
    let mut network = Network::new(graph, &weights, &Grids::new(), 40).unwrap().at(precision);
    let update = Update { weight_decay: 0.01, clip: 1.0, ..Update::new(Rule::AdamW, 1e-3) };
    let step = |_| {
        network.set_losses(0.0).unwrap();
        network.step(batch(graph.classes()), Loss::LABELS, &update).unwrap();
        network.losses().unwrap()
    };
    let losses = (0..steps).map(step).collect();
    (losses, network.gradients().to_vec(), network.download().unwrap().variables)
}

/// The first gradient of a network without maxima and clamps, where a little more or less would send it another way,
/// is off by little.
#[test]
fn gradients_are_nearly_those_of_f32() {
    let smooth = "input 3;a:conv 3>24 k3 s2 p1;an:bn 24;b:conv 24>41 k1;bn:bn 41;c:conv 41>41 k3 s2 p1 g41;cn:bn 41;\
                  d:conv 41>64 k1;dn:bn 64;avg k2 s2;e:conv 64>70 k1 bias;gap;f:linear 70>5 bias";
    let graph = smooth.parse().unwrap();
    let [(_, plain, _), (_, rounded, _)] =
        [Precision::F32, Precision::Bf16].map(|precision| train(&graph, precision, 1));
    let off = off(&rounded, &plain);
    assert!((2f64.powi(-12)..2f64.powi(-6)).contains(&off), "off by {off}");
}

/// The same bits with any number of threads and without the instruction.
#[test]
fn steps_have_the_same_bits() {
    for graph in networks() {
        let run = || {
            let (losses, gradients, variables) = train(&graph, Precision::Bf16, 2);
            let losses: Vec<u64> = losses.iter().map(|l| l.to_bits()).collect();
            (losses, bits(&gradients), bits(&variables))
        };
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert!(on_threads(threads, run) == one, "{threads} threads");
        }
        let _switch = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
        simd::emulate_bf16(true);
        assert!(run() == one, "step by step");
        simd::emulate_bf16(false);
    }
}

/// Forty steps on nine pictures bring both losses down from about ln 4 alike.
#[test]
fn losses_fall_as_those_of_f32() {
    let [graph, _] = networks();
    let [(plain, ..), (rounded, ..)] =
        [Precision::F32, Precision::Bf16].map(|precision| train(&graph, precision, 40));
    let (a, b) = (plain[39], rounded[39]);
    assert!(a < 0.1 * plain[0] && b < 0.1 * rounded[0], "f32 {a}, bf16 {b}");
    for (step, (a, b)) in plain.iter().zip(&rounded).enumerate() {
        assert!((a - b).abs() < 0.05 * plain[0], "step {step}: f32 {a}, bf16 {b}");
    }
}
