//! Labelled pictures + a teacher's logits → a student. See `distill --help`.

use anyhow::{Result, bail, ensure};
use clap::Parser;
use common::cli;
use common::codec::Quantized;
use common::fit::{self, Files, Pictures, Provenance, Rounding, Settings, Targets};
use common::images::Images;
use common::logits::Logits;
use common::model::Model;
use common::nets::Arch;
use common::plan::Plan;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    /// Model to start from, instead of a fresh --arch.
    #[arg(long, value_name = "FILE", conflicts_with = "arch")]
    init: Option<PathBuf>,
    /// Plan to train for (quantize plan), made for the model given as --init.
    #[arg(long, value_name = "PLAN", requires = "init")]
    quant: Option<PathBuf>,
    /// Where to write the student.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
    /// Network family of a fresh student.
    #[arg(long, value_enum, required_unless_present = "init")]
    arch: Option<Arch>,
    /// Factor on every inner width of the family.
    #[arg(long, default_value_t = 1.0)]
    width: f32,
    /// Weight of the teacher in the loss, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    alpha: f32,
    /// Temperature T that softens teacher and student.
    #[arg(long, default_value_t = 20.0)]
    temperature: f32,
    /// Feed pixel values in 0..1 as they are (fresh students only).
    #[arg(long)]
    raw_pixels: bool,
    /// With --quant: loss per bit of the average weight; more makes a smaller file.
    #[arg(long, default_value_t = 0.0)]
    rate: f32,
    /// With --quant: share of the epochs, the last ones, in which integers are settled and only
    /// steps and biases are trained.
    #[arg(long, default_value_t = 0.25)]
    settle: f32,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    student: &'a Student,
    #[serde(flatten)]
    settings: &'a Settings,
}

fn main() -> ExitCode {
    cli::main(|| run(&Distill::parse()))
}

/// The network to start from, how it is rounded, and the hashes of the files that say so.
struct Start {
    model: Model,
    rounding: Option<Rounding>,
    parents: BTreeMap<String, String>,
}

fn start(args: &Distill, train: &Images) -> Result<Start> {
    let mut parents = BTreeMap::new();
    let Some(path) = &args.init else {
        let Some(arch) = args.student.arch else { bail!("either --init or --arch is needed") };
        let Student { width, raw_pixels, .. } = args.student;
        let model = Model::fresh(arch, width, train, raw_pixels, args.settings.seed)?;
        return Ok(Start { model, rounding: None, parents });
    };
    let (mut model, origin) = Model::load(path)?;
    model.grids.clear(); // what is trained leaves the grids it may have been on
    parents.insert("init".to_owned(), origin.hash.clone());
    let Some(plan_path) = &args.quant else {
        return Ok(Start { model, rounding: None, parents });
    };
    let (plan, made_for, hash) = Plan::load(plan_path)?;
    ensure!(
        made_for.as_ref() == Some(&origin.hash),
        "{}: a plan for another model than {}; run quantize plan on this one",
        plan_path.display(),
        path.display()
    );
    parents.insert("quant".to_owned(), hash);
    let mut model = model.folded()?;
    model.grids = Quantized::new(&model.graph, &model.weights, &plan.choices)?.grids();
    let Student { rate, settle, .. } = args.student;
    let rounding = Some(Rounding { budget: plan.budget, rate, settle });
    Ok(Start { model, rounding, parents })
}

fn run(args: &Distill) -> Result<String> {
    args.compute.start()?;
    let Student { alpha, temperature, .. } = args.student;
    ensure!((0.0..=1.0).contains(&alpha), "--alpha {alpha}: expected 0 to 1");
    ensure!(temperature > 0.0, "--temperature {temperature}: expected more than 0");
    let train = Images::load(&args.images)?;
    let validation = Images::load(&args.validation)?;
    let logits = Logits::load(&args.logits)?;
    let Start { model, rounding, mut parents } = start(args, &train)?;
    logits.check(&args.logits, &train, model.graph.classes())?;
    let parameters = model.graph.parameter_count();

    let record = Record { student: &args.student, settings: &args.settings };
    parents.extend([
        ("images".to_owned(), train.hash().to_owned()),
        ("validation".to_owned(), validation.hash().to_owned()),
        ("logits".to_owned(), logits.hash.clone()),
    ]);
    let summary = fit::fit(
        model,
        &Pictures { train: &train, validation: &validation },
        &Targets::Teacher { logits: &logits, alpha, temperature },
        &args.settings,
        rounding,
        &Files::beside(&args.out),
        &Provenance::new("distill", &record, parents)?,
    )?;
    Ok(format!("{}: {} parameters, {summary}", args.out.display(), cli::thousands(parameters),))
}
