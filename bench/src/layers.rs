//! What each fused operation of an answer takes, beside what one core can do.

use super::Bench;
use anyhow::Result;
use artifacts::Model;
use engine::parallel::together;
use engine::pass::{Engine, Mode};
use engine::simd::{LANES, multiply_and_add};
use graph::Layout;
use graph::schedule::Fused;
use std::fmt::Write;
use std::time::Instant;

/// Multiplications of operation `i` for a picture, in millions; those of a depthwise convolution count where it is
/// made.
fn millions(operations: &[Fused], i: usize) -> f64 {
    let made = |j: &usize| if operations[*j].lazy { millions(operations, *j) } else { 0.0 };
    let before: f64 = operations[i].inputs.iter().map(made).sum();
    let own = operations[i].op.as_conv().map_or(0.0, |conv| {
        let [h, w, _] = operations[operations[i].inputs[0]].shape;
        let [h, w] = [h, w].map(|side| conv.window.output(side));
        (h * w * conv.output * conv.input / conv.groups * conv.window.taps()) as f64 / 1e6
    });
    before + own
}

/// Billions of multiplications a second, each with its addition, that a core does in registers: the best of ten.
fn peak() -> f64 {
    const ROUNDS: usize = 200_000;
    let mut best = f64::INFINITY;
    for _ in 0..10 {
        let start = Instant::now();
        std::hint::black_box(multiply_and_add(ROUNDS));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (ROUNDS * 12 * LANES) as f64 / best / 1e9
}

/// A line per operation: its number and name, millions of multiplications and microseconds per picture (the best of
/// all answers to `x`), billions a second, share of the peak of one core.
///
/// # Errors
/// Pictures that do not fit the network.
pub(crate) fn layers(model: Model, args: &Bench, x: &[f32]) -> Result<String> {
    let model = model.folded()?;
    let mut engine =
        Engine::new(&model.graph, args.size, Mode::Inference)?.at(args.products.precision);
    let parameters = Layout::of(&model.graph).pack_all(model.weights)?;
    let operations = engine.schedule().operations.clone();
    let pictures = (x.len() / operations[0].floats()) as f64;
    let mut best = vec![f64::INFINITY; operations.len()];
    together(|| -> Result<()> {
        for _ in 0..args.steps.max(1) + 2 {
            let pictures = x.to_vec();
            let mut last = Instant::now();
            engine.forward_each(&parameters, pictures, |i| {
                best[i] = best[i].min(last.elapsed().as_secs_f64());
                last = Instant::now();
            })?;
        }
        Ok(())
    })?;
    let peak = peak();
    let mut text = String::new();
    let mut line = |i: usize, name: &str, millions: f64, seconds: f64| {
        let (micros, billions) = (1e6 * seconds / pictures, millions * pictures / seconds / 1e3);
        let share = 100.0 * billions / peak;
        writeln!(
            text,
            "{i:>4}  {name:<40} {millions:>9.3} {micros:>9.1} {billions:>7.1} {share:>5.0} %"
        )
    };
    let (mut all, mut seconds) = (0.0, 0.0);
    for (i, operation) in operations.iter().enumerate().skip(1).filter(|(_, o)| !o.lazy) {
        let millions = millions(&operations, i);
        let [h, w, c] = operation.shape;
        let made = operation.inputs.iter().any(|j| operations[*j].lazy);
        let name = operation.op.about().text() + if made { ", depthwise before" } else { "" };
        line(i, &format!("{name} → {c} × {h} × {w}"), millions, best[i])?;
        all += millions;
        seconds += best[i];
    }
    line(operations.len() - 1, "all", all, seconds)?;
    Ok(format!("{text}One core: {peak:.1} billion multiplications and additions a second."))
}
