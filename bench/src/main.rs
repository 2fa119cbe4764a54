//! Time of a training step, a forward pass, or of coding weights, one line of JSON. bench/compare.py runs it and PyTorch
//! in turns.

use anyhow::{Context, Result};
use clap::Parser;
use common::cli;
use common::codec::{self, Grids, Quantized, Rows, Spec};
use common::model::{Input, Model};
use common::nets::{self, Arch};
use common::network::{Inference, Training};
use common::photos::{Fit, Preparation};
use common::rng::Rng;
use common::view::Normalization;
use kernels::optim::AdamW;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

/// Time training steps (forward, cross-entropy, backward, AdamW), forward passes, or the coding of the
/// network's weights at 4 bits.
#[derive(Parser)]
struct Bench {
    /// Network family.
    #[arg(long, value_enum, default_value = "studentnet")]
    arch: Arch,
    /// What to time.
    #[arg(long, value_enum, default_value = "train")]
    mode: Mode,
    /// Side of the pictures, pixels.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Pictures per step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Steps that are timed, after two that are not.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    #[command(flatten)]
    compute: cli::Compute,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    Train,
    Forward,
    Code,
}

const CLASSES: usize = 11;

fn main() -> ExitCode {
    cli::main(|| run(&Bench::parse()))
}

fn run(args: &Bench) -> Result<String> {
    args.compute.start()?;
    let graph = args.arch.build(1.0, CLASSES)?;
    let weights = nets::initial_weights(&graph, 1);
    let preparation = Preparation { size: args.size, fit: Fit::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..CLASSES).map(|c| c.to_string()).collect();
    let model = Model { graph, weights, input, classes, grids: Grids::new() };
    if args.mode == Mode::Code {
        return code(&model, args.steps);
    }
    let mut rng = Rng::new(1, "pictures", 0);
    let n = args.batch * 3 * args.size * args.size;
    let x: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
    let times = match args.mode {
        Mode::Forward | Mode::Code => {
            let network = Inference::new(&model)?;
            time(args.steps, || network.logits(&x).map(|_| ()))?
        }
        Mode::Train => {
            let mut step = Step::new(&model)?;
            time(args.steps, || step.run(&x))?
        }
    };
    let middle = times[times.len() / 2];
    let per_second = |seconds: f64| args.batch as f64 / seconds;
    let line = serde_json::json!({
        "median": per_second(middle),
        "best": per_second(times[0]),
        "megabytes": cli::peak_memory().unwrap_or(0) / 1_000_000,
    });
    Ok(line.to_string())
}

/// Milliseconds of encoding and of decoding the network's file.
fn code(model: &Model, steps: usize) -> Result<String> {
    let model = model.folded()?;
    let choices = codec::uniform_choices(&model.graph, Rows::Channel, 4);
    let quantized = Quantized::new(&model.graph, &model.weights, &choices)?;
    let payload = quantized.encode(&model.graph)?;
    let encode = time(steps, || quantized.encode(&model.graph).map(|_| ()))?;
    let decode = time(steps, || codec::decode(&model.graph, Spec::Grids, &payload).map(|_| ()))?;
    let line = serde_json::json!({
        "weights": model.graph.parameter_count(),
        "bytes": payload.len(),
        "encode_ms": 1e3 * encode[encode.len() / 2],
        "decode_ms": 1e3 * decode[decode.len() / 2],
    });
    Ok(line.to_string())
}

/// Seconds of each of `steps` runs, ascending.
fn time(steps: usize, mut f: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    f()?;
    f()?;
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps.max(1) {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// A training step as PyTorch's side of the comparison makes it.
struct Step {
    network: Training,
    moments: BTreeMap<String, [Vec<f32>; 2]>,
    count: i32,
}

impl Step {
    fn new(model: &Model) -> Result<Self> {
        let network = Training::new(model)?;
        let zeros = |n: usize| [vec![0.0; n], vec![0.0; n]];
        let moments =
            network.variables.iter().map(|(n, v)| (n.clone(), zeros(v.values.len()))).collect();
        Ok(Self { network, moments, count: 0 })
    }

    fn run(&mut self, x: &[f32]) -> Result<()> {
        let logits: Vec<f32> = self.network.forward(x.to_vec())?.flatten_all()?.to_vec1()?;
        let grad = cross_entropy_gradient(&logits);
        self.network.backward(&grad, 0.0)?;
        self.count += 1;
        let rule = AdamW {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 1e-2,
            step: self.count,
            grad_scale: 1.0,
        };
        let mut missing = None;
        self.network.update(|name, variable, gradient| match self.moments.get_mut(name) {
            Some([m, v]) => rule.step(&mut variable.values, gradient, m, v),
            None => missing = Some(name.to_owned()),
        });
        missing.map_or(Ok(()), |name| Err(anyhow::anyhow!("{name} appeared"))).context("optimizer")
    }
}

/// Of the mean cross-entropy with class 0 for every picture.
fn cross_entropy_gradient(logits: &[f32]) -> Vec<f32> {
    let b = (logits.len() / CLASSES) as f32;
    let mut grad = Vec::with_capacity(logits.len());
    for row in logits.chunks(CLASSES) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        let sum: f32 = row.iter().map(|v| (v - largest).exp()).sum();
        for (c, v) in row.iter().enumerate() {
            let target = if c == 0 { 1.0 } else { 0.0 };
            grad.push(((v - largest).exp() / sum - target) / b);
        }
    }
    grad
}
