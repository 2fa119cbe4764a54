//! Labelled pictures + a teacher's logits → a student. See `distill --help`.

use anyhow::{Context, Result, ensure};
use artifacts::{Artifact, Images, Logits, Model, Plan, Provenance, artifact};
use clap::Parser;
use common::cli;
use common::device::Device;
use common::fresh::Fresh;
use common::run::{self, run as train_to};
use common::sizing::FRESH;
use common::training::{OnGrids, Pictures, Settings, Targets, Training};
use executor::Loss;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Train a student on labels and a teacher's logits.
///
/// The loss is (1 − α)·CE(student, label) + α·T²·KL(teacher/T ‖ student/T). The student sees the
/// very views the teacher saw: they are stored in the logits artifact, augmentation included.
/// With --init an existing model is trained further, e.g. after prune cut it; with --quant besides,
/// while its weights are rounded to the grids of a plan, so that it learns to live with them. An
/// interrupted run goes on where it stopped when the same command is given again.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  distill --images t.safetensors --validation v.safetensors --logits logits.safetensors \\
      --arch studentnet --epochs 200 --out student.safetensors
  distill --images t.safetensors --validation v.safetensors --logits logits.safetensors \\
      --init pruned.safetensors --epochs 5 --lr 1e-3 --out tuned.safetensors
  distill --images t.safetensors --validation v.safetensors --logits logits.safetensors \\
      --init student.safetensors --quant plan.safetensors --epochs 20 --out quantized.safetensors"
)]
struct Distill {
    /// Images artifact to train on.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// Images artifact that decides which epoch was best.
    #[arg(long, value_name = "FILE")]
    validation: PathBuf,
    /// The teacher's logits for the training pictures (infer logits).
    #[arg(long, value_name = "FILE")]
    logits: PathBuf,
    /// Model to start from, instead of a fresh network.
    #[arg(long, value_name = "FILE", conflicts_with_all = FRESH)]
    init: Option<PathBuf>,
    /// Plan to train for (quantize plan), made for the model given as --init.
    #[arg(long, value_name = "PLAN", requires = "init", conflicts_with_all = FRESH)]
    quant: Option<PathBuf>,
    /// Where to write the student.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Do nothing if --out was made by this very command from these very files before.
    #[arg(long)]
    reuse: bool,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    student: Student,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    compute: cli::Compute,
}

/// What decides the result besides files and [`Settings`].
#[derive(Serialize, clap::Args)]
struct Student {
    /// Weight of the teacher in the loss, 0 to 1. At 1 labels weigh nothing: --images may have none.
    #[arg(long, default_value_t = 0.5)]
    alpha: f32,
    /// Temperature T that softens teacher and student.
    #[arg(long, default_value_t = 20.0)]
    temperature: f32,
    /// With --quant: share of the epochs, the last ones, in which integers are settled and only
    /// scales and biases are trained.
    #[arg(long, default_value_t = 0.25, requires = "quant", conflicts_with_all = FRESH)]
    settle: f32,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    fresh: Option<&'a Fresh>,
    #[serde(flatten)]
    student: &'a Student,
    #[serde(flatten)]
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

fn main() -> ExitCode {
    cli::main(|| run(&Distill::parse()))
}

/// The network to start from, how it is trained on grids, and what it comes from.
struct Start {
    model: Model,
    on_grids: Option<OnGrids>,
    provenance: Provenance,
}

fn start(args: &Distill, train: &Images, device: Device) -> Result<Start> {
    let record = Record {
        fresh: args.init.is_none().then_some(&args.fresh),
        student: &args.student,
        settings: &args.settings,
        device,
    };
    let provenance = Provenance::new("distill", &record)?;
    let Some(path) = &args.init else {
        let model = args.fresh.model(train, args.settings.seed)?;
        return Ok(Start { model, on_grids: None, provenance });
    };
    let (mut model, init) = Model::load(path)?;
    model.grids.clear(); // what is trained leaves the grids it may have been on
    let provenance = provenance.from("init", &init);
    let Some(plan_path) = &args.quant else {
        return Ok(Start { model, on_grids: None, provenance });
    };
    let (plan, quant) = Plan::load(plan_path)?;
    quant.check_made_for("model", &init)?;
    let mut model = model.folded()?;
    let rounded = plan.quantized(&model).with_context(|| quant.name.clone())?;
    (model.weights, model.grids) = (rounded.weights()?, rounded.grids());
    let on_grids = Some(OnGrids { budget: plan.budget, settle: args.student.settle });
    Ok(Start { model, on_grids, provenance: provenance.from("quant", &quant) })
}

fn run(args: &Distill) -> Result<String> {
    let device = args.compute.start()?;
    let inputs = [Some(&args.images), Some(&args.validation), Some(&args.logits)];
    let inputs = inputs.into_iter().chain([args.init.as_ref(), args.quant.as_ref()]);
    let inputs = inputs.flatten().map(PathBuf::as_path).chain(args.fresh.file());
    let inputs: Vec<&Path> = inputs.collect();
    let _claim = artifact::claim(&args.out, &inputs)?;
    let Student { alpha, temperature, .. } = args.student;
    ensure!((0.0..=1.0).contains(&alpha), "--alpha {alpha}: expected 0 to 1");
    let is_positive = temperature.is_finite() && temperature > 0.0;
    ensure!(is_positive, "--temperature {temperature}: expected more than 0");
    let mut train = Images::load(&args.images)?;
    let validation = Images::load(&args.validation)?;
    if alpha < 1.0 {
        train.labels_to_learn_from().context("labels weigh something but at --alpha 1")?;
    } else if train.all_labels().is_err() {
        train.classes.clone_from(&validation.classes);
    }
    let logits = Logits::load(&args.logits)?;
    let Start { model, on_grids, provenance } = start(args, &train, device)?;
    logits.check(&train, model.graph.classes())?;
    let parameters = model.graph.parameter_count();

    let provenance = provenance
        .from("images", &train.source)
        .from("validation", &validation.source)
        .from("logits", &logits.source);
    if args.reuse && Artifact::is_made_by(&args.out, &provenance) {
        return Ok(cli::keep(&args.out));
    }
    artifact::check_room(&args.out, run::bytes(parameters))?;
    let targets = Targets::Teacher { logits: &logits, loss: Loss { alpha, temperature } };
    let pictures = Pictures { train: &train, validation: &validation };
    let training = Training::new(model, pictures, &targets, &args.settings, on_grids, device)?;
    let summary = train_to(training, args.settings.epochs, &args.out, &provenance)?;
    Ok(format!("{}: {} parameters, {summary}", args.out.display(), cli::count(parameters)))
}
