//! A network that runs: side of the pictures, number of pictures, then a graph as text. What can be read is
//! computed and trained a step, unless it is large: logits or an error, never a panic or memory out of
//! proportion. What is read comes back from its own text.
#![no_main]

use engine::Network;
use executor::Executor;
use graph::Graph;
use graph::grid::Grids;
use graph::schedule::{Fusing, Schedule};

/// Largest sizes that are run: more takes longer and shows nothing else.
const MOST_FLOATS: u64 = 1 << 17;
const MOST_PARAMETERS: usize = 1 << 16;
const MOST_MULTIPLICATIONS: u64 = 1 << 23;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [size, pictures, text @ ..] = bytes else { return };
    let (size, pictures) = (usize::from(*size), usize::from(pictures % 4) + 1);
    let Ok(graph) = str::from_utf8(text).unwrap_or_default().parse::<Graph>() else { return };
    assert_eq!(graph.to_string().parse::<Graph>().as_ref(), Ok(&graph));
    let Ok(schedule) = Schedule::new(&graph, size, Fusing::NONE) else { return };
    let work = graph.multiplications(size).expect("what has a schedule has a size");
    if schedule.floats() > MOST_FLOATS
        || graph.parameter_count() > MOST_PARAMETERS
        || work > MOST_MULTIPLICATIONS
    {
        return;
    }
    let weights = graph::init::weights(&graph, 1);
    let mut network = Network::new(&graph, &weights, &Grids::new(), size).expect("its own weights");
    let picture = 3 * size * size;
    let x: Vec<f32> = (0..pictures * picture).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    let logits = network.logits(&x).expect("pictures of its size");
    assert_eq!(logits.len(), pictures * graph.classes());
    let step = network.passes(x, 0.0, |logits, gradient| {
        gradient.copy_from_slice(logits);
        Ok(logits.len())
    });
    assert_eq!(step.expect("a gradient of its size"), logits.len());
});
