//! Time of a training step, of a training run, of a forward pass or of coding weights, one line of JSON.
//! bench/compare.py runs it and PyTorch in turns.

// A new operation or activation is to be asked about, not to be taken for another.
#![deny(clippy::wildcard_enum_match_arm)]

mod layers;
mod queue;
mod timing;
mod traffic;

use anyhow::{Context, Result, ensure};
use artifacts::artifact::{self, Data};
use artifacts::images::Unsaved;
use artifacts::{Framing, Images, Input, Model, Preparation, Provenance};
use clap::Parser;
use codec::{Quantized, Rows, Spec};
use common::cli;
use common::device::Device;
use common::sizing::Sizing;
use common::training::{Optimizer, Pictures, Settings, Sizes, Targets, Training};
use engine::pass::{self, Engine};
use executor::{Batch, Executor, Loss, Rule, Update};
use graph::grid::Grids;
use graph::rng::Rng;
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use timing::Times;
use views::{FixedViews, Normalization};

/// Time training steps, training with views, forward passes, or the coding of the network's weights
/// at 4 bits; or print how the engine runs the network.
#[derive(Parser)]
struct Bench {
    /// Network family.
    #[arg(long, default_value = "studentnet", value_parser = cli::families())]
    arch: String,
    #[command(flatten)]
    sizing: Sizing,
    /// What to time.
    #[arg(long, value_enum, default_value = "train")]
    mode: Mode,
    /// Side of the pictures, pixels.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Pictures per step; training takes two at least.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Steps that are timed, after two that are not; answers begin when five in a row were not the fastest
    /// by 5 %, at the earliest after 0.2 s.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Write the network, its weights random, as a model: infer export makes ONNX of it.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    products: cli::Products,
    #[command(flatten)]
    compute: cli::Compute,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// A step: forward, cross-entropy, backward, AdamW, as PyTorch's side of the comparison. With --device cuda five
    /// rounds of so many steps, each queued behind the last; the pictures lie on the device.
    Train,
    /// Steps as train makes them: views (crop, flip, rotation, colour, CutMix) and the moving average
    /// besides.
    #[value(alias = "fit")]
    Training,
    /// Answers to pictures.
    Forward,
    /// Encoding and decoding the network's file.
    Code,
    /// No time: megabytes that a training step of a picture moves through a GPU's memory, at least would
    /// have to, and keeps; and its operations. Counted, not measured.
    Traffic,
    /// Answers, operation by operation, all pictures as one group: multiplications, time, share of what a core can do,
    /// which --threads 1 is to be compared with.
    Layers,
    /// No time: the engine's fused operations and how each convolution is computed, in training and for answers.
    #[value(alias = "plan")]
    Schedule,
}

const CLASSES: usize = 11;

fn main() -> ExitCode {
    cli::main(|| run(&Bench::parse()))
}

fn run(args: &Bench) -> Result<String> {
    let is_training = matches!(args.mode, Mode::Train | Mode::Training);
    ensure!(
        args.batch > 1 || !is_training,
        "--batch 1 is too few to train with: batch norm takes mean and variance over a batch, and where maps \
         are one pixel large, a single picture has no variance; give 2 at least, or --mode forward"
    );
    let device = args.compute.start()?;
    let precision = args.products.precision;
    device.multiplies(precision)?;
    let is_cuda = matches!(device, Device::Cuda(_));
    let graph = args.sizing.graph(&args.arch, CLASSES)?;
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size: args.size, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..CLASSES).map(|c| c.to_string()).collect();
    let model =
        Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN };
    if let Some(path) = &args.save {
        let _claim = artifact::claim(path, &[])?;
        model.save(path, &Provenance::new("bench", &())?)?;
    }
    let mut rng = Rng::new(1, "pictures", 0);
    let batch = args.batch as usize;
    let x: Vec<f32> = (0..batch * preparation.bytes()).map(|_| rng.normal()).collect();
    let times = match args.mode {
        Mode::Code => return code(&model, args.steps),
        Mode::Traffic => return traffic::traffic(&model, args.size),
        Mode::Layers => return layers::layers(model, args, &x),
        Mode::Schedule => {
            let engine = |graph, mode| {
                Ok::<_, anyhow::Error>(Engine::new(graph, args.size, mode)?.at(precision))
            };
            let training = engine(&model.graph, pass::Mode::Training)?;
            let answers = engine(&model.folded()?.graph, pass::Mode::Inference)?;
            return Ok(format!("Training:\n{training}\nAnswers:\n{answers}"));
        }
        Mode::Forward => {
            let mut executor = device.executor_at(&model, args.products.precision)?;
            let mut answer = || executor.logits(&x).map(|_| ());
            timing::warm_up(&mut answer)?;
            Times::of(args.steps, answer)?
        }
        Mode::Train if is_cuda => queue::steps(&model, args, device)?,
        Mode::Train => {
            let mut executor = device.executor_at(&model, args.products.precision)?;
            time(args.steps, || step(&mut *executor, &x, batch))?
        }
        Mode::Training => training(model, args, device)?,
    };
    let per_second = |seconds: f64| f64::from(args.batch) / seconds;
    let line = serde_json::json!({
        "median": per_second(times.median()),
        "best": per_second(times.best()),
        "latency_ms": { "median": 1e3 * times.percentile(50), "p99": 1e3 * times.percentile(99) },
        "megabytes": common::cost::peak_memory().unwrap_or(0) / 1_000_000,
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
        "encode_ms": 1e3 * encode.median(),
        "decode_ms": 1e3 * decode.median(),
    });
    Ok(line.to_string())
}

/// `steps` calls, after two that are not timed.
fn time(steps: usize, mut f: impl FnMut() -> Result<()>) -> Result<Times> {
    f()?;
    f()?;
    Times::of(steps, f)
}

/// What a training step is given, as PyTorch's side of the comparison makes it: `pictures`, `n` of them, all of
/// class 0.
fn batch_and_update(pictures: Vec<f32>, n: usize) -> (Batch, Update) {
    let mut labels = vec![0.0; n * CLASSES];
    labels.iter_mut().step_by(CLASSES).for_each(|l| *l = 1.0);
    let update = Update { weight_decay: 1e-2, ..Update::new(Rule::AdamW, 1e-3) };
    (Batch { pictures, labels, teacher: Vec::new() }, update)
}

/// A training step that is waited for.
fn step(executor: &mut dyn Executor, x: &[f32], n: usize) -> Result<()> {
    let (batch, update) = batch_and_update(x.to_vec(), n);
    executor.step(batch, Loss::LABELS, &update)?;
    executor.losses()?; // waits for the device
    Ok(())
}

/// Bytes of noise, as pixels.
fn noise(n: usize) -> Vec<u8> {
    let mut rng = Rng::new(1, "pixels", 0);
    (0..n).map(|_| (rng.bits() >> 56) as u8).collect()
}

/// The times between the steps of a run of `train` on pictures of noise.
fn training(model: Model, args: &Bench, device: Device) -> Result<Times> {
    let folder = tempfile::tempdir().context("a folder for pictures")?;
    let path = folder.path().join("images.safetensors");
    let (n, preparation) = (args.batch as usize * (args.steps.max(1) + 2), model.input.preparation);
    let pixels = noise(n * preparation.bytes());
    Unsaved {
        preparation,
        classes: model.classes.clone(),
        labels: (0..n).map(|i| Some(i % CLASSES)).collect(),
        names: (0..n).map(|i| i.to_string()).collect(),
        pixels: Data::Bytes(pixels),
    }
    .save(&path, &Provenance::new("bench", &())?)?;
    let images = Images::load(&path)?;
    let settings = Settings {
        epochs: 1,
        batch: args.batch,
        optimizer: Optimizer::Adamw,
        lr: 1e-3,
        warmup: 0.0,
        weight_decay: 1e-2,
        clip: 0.0,
        label_smoothing: 0.0,
        ema: 0.999,
        slim: 0.0,
        sizes: Sizes::FULL,
        seed: 1,
        precision: args.products.precision,
    };
    let targets = Targets::Labels("flip,scale=0.4,rotate=15,colour=0.2,cutmix=1".parse()?);
    let pictures = Pictures { train: &images, validation: &images };
    let mut training = Training::new(model, pictures, &targets, &settings, None, device)?;
    let ticks = RefCell::new(Vec::new());
    let tick = |_: &Training| {
        ticks.borrow_mut().push(Instant::now());
        Ok(())
    };
    training.run(tick, |_, _| Ok(()))?;
    let ticks = ticks.into_inner();
    let between = ticks.windows(2).skip(1).map(|t| (t[1] - t[0]).as_secs_f64());
    Ok(Times::new(between.collect()))
}
