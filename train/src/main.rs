//! Labelled pictures → a model. See `train --help`.

use anyhow::Result;
use artifacts::{Artifact, Images, Model, Provenance, artifact};
use clap::Parser;
use common::cli;
use common::device::Device;
use common::run::{self, run as train_to};
use common::sizing::Sizing;
use common::training::{Pictures, Settings, Targets, Training};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use views::Policy;

/// Train a network on labelled pictures.
///
/// The best weights on the validation pictures go to --out, the last ones to
/// OUT.last.safetensors, a line per epoch to OUT.epochs.csv. An interrupted run goes on where it
/// stopped when the same command is given again, and ends with the same bytes.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  train --images training.safetensors --validation validation.safetensors \\
      --arch resnet18 --epochs 60 --augment flip,shift=0.1,cutmix=1 --out teacher.safetensors
  train --images t.safetensors --validation v.safetensors --arch studentnet --out student.safetensors"
)]
struct Train {
    /// Images artifact to train on.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// Images artifact that decides which epoch was best.
    #[arg(long, value_name = "FILE")]
    validation: PathBuf,
    /// Where to write the model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Do nothing if --out was made by this very command from these very files before.
    #[arg(long)]
    reuse: bool,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    compute: cli::Compute,
}

/// What decides the result besides files and [`Settings`].
#[derive(Serialize, clap::Args)]
struct Network {
    /// Network family.
    #[arg(long, value_parser = cli::families())]
    arch: String,
    #[command(flatten)]
    #[serde(flatten)]
    sizing: Sizing,
    /// Random changes to the pictures: none, or a list of flip, shift=F, scale=F, rotate=DEG,
    /// colour=F, mixup=A, cutmix=A.
    #[arg(long, default_value = "none")]
    augment: Policy,
    /// Feed pixel values in 0..1 as they are, instead of scaling by the training pictures' mean
    /// and standard deviation (the course's setting).
    #[arg(long)]
    raw_pixels: bool,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    network: &'a Network,
    #[serde(flatten)]
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

fn main() -> ExitCode {
    cli::main(|| run(&Train::parse()))
}

fn run(args: &Train) -> Result<String> {
    let device = args.compute.start()?;
    let _claim = artifact::claim(&args.out, &[&args.images, &args.validation])?;
    let train = Images::load(&args.images)?;
    let validation = Images::load(&args.validation)?;
    let Network { arch, sizing, augment, raw_pixels } = &args.network;
    let build = |classes| sizing.graph(arch, classes);
    let model = Model::fresh(build, &train, *raw_pixels, args.settings.seed)?;
    let parameters = model.graph.parameter_count();

    let record = Record { network: &args.network, settings: &args.settings, device };
    let provenance = Provenance::new("train", &record)?
        .from("images", &train.source)
        .from("validation", &validation.source);
    if args.reuse && Artifact::is_made_by(&args.out, &provenance) {
        return Ok(cli::keep(&args.out));
    }
    artifact::check_room(&args.out, run::bytes(parameters))?;
    let targets = Targets::Labels(*augment);
    let pictures = Pictures { train: &train, validation: &validation };
    let training = Training::new(model, pictures, &targets, &args.settings, None, device)?;
    let summary = train_to(training, args.settings.epochs, &args.out, &provenance)?;
    Ok(format!("{}: {} parameters, {summary}", args.out.display(), cli::count(parameters)))
}
