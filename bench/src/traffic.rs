//! What a training step moves through the memory of a GPU, counted on paper.

use anyhow::Result;
use artifacts::Model;
use graph::Op;
use graph::schedule::{Fused, Fusing, Schedule};

/// Floats per picture.
#[derive(Default)]
struct Floats {
    /// What our CUDA kernels read and write.
    moved: usize,
    /// What a network fused as far as it goes must: every stored result is written once and read once in
    /// either direction, its gradient written and read once; a batch norm's result is never stored.
    least: usize,
    /// Results that are kept for the backward pass.
    kept: usize,
}

/// One line about `model` on pictures of `size` px.
///
/// # Errors
/// Pictures that do not fit the network.
pub(crate) fn traffic(model: &Model, size: usize) -> Result<String> {
    // As the CUDA executor runs it.
    let schedule = Schedule::new(&model.graph, size, Fusing::NONE)?;
    let mut floats = Floats::default();
    for (i, operation) in schedule.operations.iter().enumerate() {
        let readers = schedule.operations.iter().filter(|o| o.inputs.contains(&i)).count();
        let x: usize = operation.inputs.iter().map(|j| schedule.operations[*j].floats()).sum();
        let y = operation.floats();
        floats.kept += y;
        floats.moved += moved(operation, x, y) + 3 * y * readers.saturating_sub(1);
        floats.least += match operation.op {
            Op::Input(_) => y + y / 4, // bytes in, floats out
            Op::BatchNorm(_) | Op::ScaleShift(_) => 0,
            Op::Conv(_)
            | Op::Linear(_)
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool(_)
            | Op::Blur(_)
            | Op::Add(_)
            | Op::Mul(_)
            | Op::Concat(_)
            | Op::Split(_)
            | Op::Shuffle(_) => 5 * y,
        };
    }
    let megabytes = |floats: usize| 4.0 * floats as f64 / 1e6;
    // Answers store what batch norms and clamps, which are folded, leave: written once, read once.
    let answers = Schedule::new(&model.folded()?.graph, size, Fusing::NONE)?;
    let stored: usize = answers.operations.iter().map(|o| 2 * o.floats()).sum();
    // A step reads weights forwards and backwards, writes and reads their gradient, reads and writes them and
    // AdamW's two means.
    let weights = 10 * model.graph.parameter_count();
    let line = serde_json::json!({
        "megabytes an answer at least": megabytes(stored),
        "megabytes of weights": megabytes(weights),
        "megabytes moved": megabytes(floats.moved),
        "megabytes at least": megabytes(floats.least),
        "megabytes kept": megabytes(floats.kept),
        "gigaflop": 6.0 * model.graph.multiplications(size)? as f64 / 1e9,
    });
    Ok(line.to_string())
}

/// What the kernels of an operation read and write, forwards and backwards, for inputs of `x` floats and a
/// result of `y`.
fn moved(operation: &Fused, x: usize, y: usize) -> usize {
    match operation.op {
        // Samples of picture and partner, then the mixed picture.
        Op::Input(_) => 3 * y,
        Op::Conv(_) | Op::Linear(_) => {
            let conv = operation.op.as_conv().expect("both are convolutions");
            let [h, w, _] = operation.shape;
            let is_own_patches = conv.groups > 1 || conv.is_pointwise();
            let patches = if is_own_patches { 0 } else { h * w * conv.window.taps() * conv.input };
            let bias = if conv.bias { 3 * y } else { 0 };
            // Forwards x and y; backwards the gradient for both sides, x again, and its gradient. Patches
            // are written and read where x is, and once more for its gradient.
            3 * x + 3 * y + 6 * patches + bias
        }
        // Statistics, normalization; then sums, and the gradient from x, y and that of y.
        Op::BatchNorm(_) | Op::ScaleShift(_) => 10 * y,
        Op::Add(_) => 8 * y,
        // Forwards both and the result; backwards both again, the gradient twice, and their own.
        Op::Mul(_) => 3 * x + 3 * y,
        Op::Activation(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool(_)
        | Op::Blur(_)
        | Op::Concat(_)
        | Op::Split(_)
        | Op::Shuffle(_) => 2 * (x + y),
    }
}
