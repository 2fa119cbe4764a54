//! Labelled pictures + a teacher's logits → a student. See `distill --help`.

use anyhow::{Result, bail, ensure};
use clap::Parser;
use common::cli;
use common::fit::{self, Files, Provenance, Settings, Targets};
use common::images::Images;
use common::logits::Logits;
use common::model::Model;
use common::nets::Arch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Train a student on labels and a teacher's logits.
///
/// The loss is (1 − α)·CE(student, label) + α·T²·KL(teacher/T ‖ student/T). The student sees the
/// very views the teacher saw: they are stored in the logits artifact, augmentation included.
/// With --init an existing model is trained further, e.g. after prune cut it. An interrupted run
/// goes on where it stopped when the same command is given again.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  distill --images t.safetensors --validation v.safetensors --logits logits.safetensors \\
      --arch studentnet --epochs 200 --out student.safetensors
  distill --images t.safetensors --validation v.safetensors --logits logits.safetensors \\
      --init pruned.safetensors --epochs 5 --lr 1e-3 --out tuned.safetensors"
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

/// The model to start from and, with --init, its hash.
fn start(args: &Distill, train: &Images) -> Result<(Model, Option<String>)> {
    if let Some(path) = &args.init {
        let (model, origin) = Model::load(path)?;
        return Ok((model, Some(origin.hash)));
    }
    let Some(arch) = args.student.arch else { bail!("either --init or --arch is needed") };
    let model =
        Model::fresh(arch, args.student.width, train, args.student.raw_pixels, args.settings.seed)?;
    Ok((model, None))
}

fn run(args: &Distill) -> Result<String> {
    args.compute.start()?;
    let Student { alpha, temperature, .. } = args.student;
    ensure!((0.0..=1.0).contains(&alpha), "--alpha {alpha}: expected 0 to 1");
    ensure!(temperature > 0.0, "--temperature {temperature}: expected more than 0");
    let train = Images::load(&args.images)?;
    let validation = Images::load(&args.validation)?;
    let logits = Logits::load(&args.logits)?;
    let (model, init) = start(args, &train)?;
    logits.check(&args.logits, &train, model.graph.classes())?;
    let parameters = model.graph.parameter_count();

    let record = Record { student: &args.student, settings: &args.settings };
    let mut parents = BTreeMap::from([
        ("images".to_owned(), train.hash().to_owned()),
        ("validation".to_owned(), validation.hash().to_owned()),
        ("logits".to_owned(), logits.hash.clone()),
    ]);
    if let Some(hash) = init {
        parents.insert("init".to_owned(), hash);
    }
    let summary = fit::fit(
        model,
        &train,
        &validation,
        &Targets::Teacher { logits: &logits, alpha, temperature },
        &args.settings,
        &Files::beside(&args.out),
        &Provenance::new("distill", &record, parents)?,
    )?;
    Ok(format!("{}: {} parameters, {summary}", args.out.display(), cli::thousands(parameters),))
}
