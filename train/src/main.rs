//! Labelled pictures → a model. See `train --help`.

use anyhow::{Context, Result, ensure};
use artifacts::{Artifact, Fold, Head, Images, Model, Provenance, Source, artifact};
use clap::Parser;
use common::cli;
use common::device::Device;
use common::fresh::Fresh;
use common::run::{self, run as train_to};
use common::sizing::FRESH;
use common::training::{Pictures, Settings, Targets, Training, Tuning};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use views::Policy;

/// Train a network on labelled pictures.
///
/// The best weights on the validation pictures go to --out, the last ones to
/// OUT.last.safetensors, a line per epoch to OUT.epochs.csv. An interrupted run goes on where it
/// stopped when the same command is given again, and ends with the same bytes.
///
/// With --init training goes on from the weights of a model, one of prepare model or of any stage before
/// quantize: its network, how it scales pixels and how its pictures are prepared are kept, but for their size, which
/// may be any that the network takes. Where the pictures have other classes its last layer is drawn anew.
///
/// With --graph the network is one of your own: no line of Rust is needed for another architecture.
///
/// With --fold I/K the I-th of K parts of the pictures is left out: K such teachers answer every picture without having
/// seen it (infer logits with all of them), and so find wrong labels (report suspects). A student of theirs hears nothing
/// that was learnt by heart, but from teachers that have seen fewer pictures: where these are few, that costs more.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  train --images training.safetensors --validation validation.safetensors \\
      --arch resnet18 --epochs 60 --augment flip,shift=0.1,cutmix=1 --out teacher.safetensors
  train --images t.safetensors --validation v.safetensors --arch studentnet --out student.safetensors
  train --images t.safetensors --validation v.safetensors --graph net.txt --out mine.safetensors
  train --images t.safetensors --validation v.safetensors --init pretrained.safetensors \\
      --freeze 5 --epochs 30 --augment flip,shift=0.1 --out teacher.safetensors
  for i in 1 2 3; do
      train --images t.safetensors --validation v.safetensors --arch resnet18 --fold $i/3 --out teacher-$i.safetensors
  done"
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
    /// Model to go on from, instead of a fresh network.
    #[arg(long, value_name = "FILE", conflicts_with_all = FRESH)]
    init: Option<PathBuf>,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    tuning: Tuning,
    #[command(flatten)]
    views: Views,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    compute: cli::Compute,
}

/// What is shown.
#[derive(Serialize, clap::Args)]
struct Views {
    /// Random changes to the pictures: none, or a list of flip, shift=F, scale=F, rotate=DEG,
    /// colour=F, mixup=A, cutmix=A, resizemix=S (the partner made smaller, to at most S of a side, 0.8 in its
    /// paper), plain=F. Of several ways to mix each view draws one; a share F of the views is not mixed.
    #[arg(long, default_value = "none")]
    augment: Policy,
    /// Leave out the I-th of K folds of the pictures, 1/K to K/K: it is neither shown nor mixed into what is. Folds have
    /// as many pictures of each class; pictures of the same pixels are in one. What the pixels say decides, not names
    /// or order. (Copies that were saved anew or shrunk count as other pictures: prepare check finds them.) Of --init
    /// only the model itself is asked whether it has seen the fold, not those that it went on from in turn.
    #[arg(long, value_name = "I/K")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fold: Option<Fold>,
}

/// What decides the result besides files.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    fresh: Option<&'a Fresh>,
    #[serde(flatten)]
    tuning: Option<&'a Tuning>,
    #[serde(flatten)]
    views: &'a Views,
    #[serde(flatten)]
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Device::is_cpu")]
    device: Device,
}

fn main() -> ExitCode {
    cli::main(|| run(&Train::parse()))
}

/// The network to start from, how it is tuned, and what it comes from.
fn start(
    args: &Train,
    train: &Images,
    device: Device,
) -> Result<(Model, Option<Tuning>, Provenance)> {
    let Train { init, fresh, tuning, views, settings, .. } = args;
    let record = Record {
        fresh: init.is_none().then_some(fresh),
        tuning: init.is_some().then_some(tuning),
        views,
        settings,
        device,
    };
    let provenance = Provenance::new("train", &record)?;
    let Some(path) = init else {
        return Ok((fresh.model(train, settings.seed)?, None, provenance));
    };
    let (model, source) = Model::load(path)?;
    check_unseen(&source, train, views.fold)?;
    let (was, now) = (model.graph.classes(), train.classes.len());
    let (model, head) =
        model.for_images(train, settings.seed).with_context(|| source.name.clone())?;
    cli::note(&match head {
        Head::Kept => format!(
            "{}: its last layer is kept: it has as many classes, and none of another name",
            source.name
        ),
        Head::New => format!(
            "{}: its last layer, for {was} classes, is drawn anew for the pictures' {now}",
            source.name
        ),
    });
    Ok((model, Some(*tuning), provenance.from("init", &source)))
}

/// Checks that the model to go on from has not learnt from the fold that is left out.
fn check_unseen(init: &Source, train: &Images, fold: Option<Fold>) -> Result<()> {
    let Some(fold) = fold else { return Ok(()) };
    ensure!(
        !train.made(init) || Fold::left_out(init, train)? == Some(fold),
        "{}: it was made with these pictures, those of fold {fold} among them, and going on from it leaves nothing \
         out: go on from a model that has seen others, or was trained with --fold {fold}",
        init.name
    );
    Ok(())
}

fn run(args: &Train) -> Result<String> {
    let device = args.compute.start()?;
    let files = [Some(&args.images), Some(&args.validation), args.init.as_ref()];
    let files = files.into_iter().flatten().map(PathBuf::as_path);
    let inputs: Vec<&Path> = files.chain(args.fresh.file()).collect();
    let _claim = artifact::claim(&args.out, &inputs)?;
    let train = Images::load(&args.images)?;
    let validation = Images::load(&args.validation)?;
    let (model, tuning, provenance) = start(args, &train, device)?;
    let parameters = model.graph.parameter_count();

    let provenance =
        provenance.from("images", &train.source).from("validation", &validation.source);
    if args.reuse && Artifact::is_made_by(&args.out, &provenance) {
        return Ok(cli::keep(&args.out));
    }
    artifact::check_room(&args.out, run::bytes(parameters))?;
    let targets = Targets::Labels(args.views.augment);
    let pictures = Pictures { train: &train, validation: &validation };
    let mut training = Training::new(model, pictures, &targets, &args.settings, None, device)?;
    if let Some(tuning) = tuning {
        training = training.tuned(tuning)?;
    }
    if let Some(fold) = args.views.fold {
        training = training.without(fold)?;
    }
    let summary = train_to(training, args.settings.epochs, &args.out, &provenance)?;
    Ok(format!("{}: {} parameters, {summary}", args.out.display(), cli::count(parameters)))
}
