//! Real networks at the size that they are trained at, against the CPU engine: what small cases cannot show are
//! indices beyond 16 bits, many blocks at once, patches in several groups. It takes a minute on a CPU that stands in
//! for the device, so it runs where `FULL_SIZE` says how large pictures are to be: 128 on a GPU.

#![cfg(feature = "cuda")]
#![allow(clippy::print_stderr)] // tests say what they measured

#[path = "../../reference/tests/plain/case.rs"]
#[allow(dead_code)] // the other tests use the rest
mod case;
#[path = "../../reference/tests/plain/sketch.rs"]
#[allow(dead_code)]
mod sketch;
#[path = "../../reference/tests/plain/stock.rs"]
#[allow(dead_code)]
mod stock;

use case::{LOSS, batch, f64s, largest, off};
use executor::{Executor, Rule, Update};
use graph::Graph;
use graph::families::{self, Knobs};
use graph::grid::Grids;
use sketch::random_weights;

const PICTURES: usize = 8;

fn family(name: &str, width: f32) -> Graph {
    families::find(name).unwrap().build(&Knobs { width, ..Knobs::standard(11) }).unwrap()
}

#[test]
fn full_size_equals_the_cpu_and_itself() {
    let Ok(size) = std::env::var("FULL_SIZE") else {
        eprintln!("skipped: FULL_SIZE says how large the pictures are to be, 128 on a GPU");
        return;
    };
    let size: usize = size.parse().unwrap();
    for (name, width) in [("studentnet", 2.0), ("resnet18", 1.0)] {
        let graph = family(name, width);
        let weights = random_weights(&graph, 1);
        let mut cpu = engine::Network::new(&graph, &weights, &Grids::new(), size).unwrap();
        let new = || cuda::Network::new(&graph, &weights, &Grids::new(), size, 0).unwrap();
        let (mut cuda, batch) = (new(), batch(&graph, PICTURES, size, 3));
        let answers = f64s(&cpu.logits(&batch.pictures).unwrap());
        let answer = off(&cuda.logits(&batch.pictures).unwrap(), &answers);
        let (loss, expected) = cpu.gradient(batch.clone(), LOSS).unwrap();
        let (found_loss, found) = cuda.gradient(batch.clone(), LOSS).unwrap();
        // An activation at a bound, or one of two equal maxima, may fall to either side and takes its share with it:
        // most values are near, none is far; by the largest of each tensor, as those of one are a hundredth of others'.
        let layout = cpu.parametrisation().layout().clone();
        let all = largest(f64s(&expected).into_iter());
        let (mut far, mut worst) = (0, (0.0, ""));
        for slot in layout.slots() {
            let (found, expected) = (&found[slot.range.clone()], &expected[slot.range.clone()]);
            let most = largest(f64s(expected).into_iter());
            // Below a thousandth of the largest of all are biases before batch norms alone, of which rounding is left: up
            // to 2e-5 of it where sums are short.
            let most = if most < 1e-3 * all { 1e-2 * all } else { most };
            for (a, b) in found.iter().zip(expected) {
                let apart = f64::from(a - b).abs() / most;
                far += usize::from(apart > 1e-3);
                worst = if apart > worst.0 { (apart, slot.name.as_str()) } else { worst };
            }
        }
        let (worst, name_of_worst) = worst;
        eprintln!(
            "{name}, {size} px, {PICTURES} pictures: answers off by {answer:.1e}, loss {found_loss}, {loss}, \
             gradients by {worst:.1e} ({name_of_worst}), {far} of {} above 1e-3",
            found.len()
        );
        assert!(answer < 1e-4, "{name}: answers off by {answer}");
        assert!((found_loss - loss).abs() < 1e-4 * loss.max(1.0), "{name}: {found_loss}, {loss}");
        assert!(far <= found.len() / 100 && worst < 0.02, "{name}: {far} far, {worst}");
        let update = Update { clip: 1.0, ema: 0.9, ..Update::new(Rule::AdamW, 1e-3) };
        let [first, second] = [(); 2].map(|()| {
            let mut network = new();
            (0..3).for_each(|_| network.step(batch.clone(), LOSS, &update).unwrap());
            (network.losses().unwrap(), network.download().unwrap())
        });
        assert!(first == second, "{name}: two runs, other bytes");
    }
}
