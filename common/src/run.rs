//! A training run on disk: a progress bar, the files it writes, going on after an interruption.

use crate::cli;
use crate::interrupt::{self, Watch};
use crate::training::{Epoch, Progress, Saved, Summary, Training};
use anyhow::{Context, Result};
use artifacts::Provenance;
use artifacts::artifact::{self, save_bytes};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the results go.
struct Files {
    best: PathBuf,
    last: PathBuf,
    epochs: PathBuf,
    state: PathBuf,
}

impl Files {
    /// `X.safetensors` for the best weights; beside it `X.last.safetensors`, `X.epochs.csv` and,
    /// until training is over, `X.state.safetensors`.
    fn beside(out: &Path) -> Self {
        Self {
            best: out.to_owned(),
            last: artifact::beside(out, "last.safetensors"),
            epochs: artifact::beside(out, "epochs.csv"),
            state: artifact::beside(out, "state.safetensors"),
        }
    }
}

/// Between the ends of two epochs at which the state is kept. Where an epoch is one step, writing its state, the largest
/// of the files, took longer than the step: 0.1 s for a teacher of 2.8 million parameters on 28 photos.
const KEPT: Duration = Duration::from_secs(2);

/// Bytes that a run writes besides its inputs, about: five sets of parameters and the state.
pub fn bytes(parameters: usize) -> u64 {
    40 * parameters as u64
}

/// Goes on from the state there is; one that cannot be gone on from is set aside.
fn go_on(
    training: &mut Training,
    files: &Files,
    epochs: u32,
    provenance: &Provenance,
) -> Result<()> {
    if !files.state.exists() {
        return Ok(());
    }
    match Saved::load(&files.state, provenance).and_then(|saved| training.resume(saved)) {
        Ok(()) => {
            let Progress { epochs: done, steps, .. } = training.progress();
            let steps = if steps > 0 { format!(" and {steps} steps") } else { String::new() };
            cli::note(&format!("continuing after epoch {done}{steps} of {epochs}"));
        }
        Err(reason) => interrupt::set_aside(&files.state, &reason)?,
    }
    Ok(())
}

/// Runs `training` to its end and writes the network of its best epoch to `out`.
///
/// The last weights are written after every epoch, the best ones at the end, so that the artifact
/// appears only when training is over. The state is kept after an epoch, where the last time is two seconds ago, every
/// few minutes within one, and when the run is interrupted, and it goes on from there.
///
/// # Errors
/// What training or the file system says; no epoch that kept to its budget.
pub fn run(
    mut training: Training,
    epochs: u32,
    out: &Path,
    provenance: &Provenance,
) -> Result<Summary> {
    let files = Files::beside(out);
    go_on(&mut training, &files, epochs, provenance)?;
    let per_epoch = training.steps_per_epoch()?;
    let whole = Progress { epochs: epochs as usize, ..Progress::default() };
    let bar = cli::progress(training.work(whole, per_epoch) as usize, "training");
    let mut worked = training.work(training.progress(), per_epoch);
    bar.skip(worked);
    let done = training.progress().epochs * per_epoch + training.progress().steps;
    let mut watch = Watch::start()?;
    let mut kept: Option<Instant> = None;
    training.run(
        |training| {
            let work = training.work(training.progress(), per_epoch);
            bar.inc(work - worked);
            worked = work;
            watch.between(|| training.saved()?.save(&files.state, provenance))
        },
        |training, epoch| {
            training.last()?.save(&files.last, provenance)?;
            save_bytes(&files.epochs, training.log().as_bytes())?;
            let Epoch { epoch, loss, validation_top1: top1, lr } = epoch;
            if *epoch == epochs as usize || kept.is_none_or(|at| at.elapsed() >= KEPT) {
                training.saved()?.save(&files.state, provenance)?;
                kept = Some(Instant::now());
            }
            bar.say(
                format!("loss {loss:.3} top-1 {top1:.4}"),
                &format!(
                    "epoch {epoch} of {epochs}: loss {loss:.3}, validation top-1 {top1:.4}, \
                     learning rate {lr:.2e}"
                ),
            );
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    let best = training.best()?.with_context(|| {
        format!(
            "after no epoch did the network keep to the budget: raise --settle, or plan for fewer bytes; \
             the last weights are in {}",
            files.last.display()
        )
    })?;
    best.save(&files.best, provenance)?;
    let _ = std::fs::remove_file(&files.state);
    let steps = epochs as usize * per_epoch - done;
    cli::record(out, &provenance.stage, steps * training.batch());
    Ok(training.summary().clone())
}
