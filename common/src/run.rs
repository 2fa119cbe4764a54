//! A training run on disk: a progress bar, the files it writes, going on after an interruption.

use crate::cli;
use crate::fit::{Fit, Saved, Summary};
use anyhow::{Context, Result};
use model::Provenance;
use model::artifact::save_bytes;
use std::path::{Path, PathBuf};

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
            last: out.with_extension("last.safetensors"),
            epochs: out.with_extension("epochs.csv"),
            state: out.with_extension("state.safetensors"),
        }
    }
}

/// Runs `fit` to its end and writes the network of its best epoch to `out`.
///
/// The last weights are written after every epoch, the best ones at the end, so that the artifact
/// appears only when training is over. A run that was interrupted goes on after its last epoch.
///
/// # Errors
/// What training or the file system says; no epoch that kept to its budget.
pub fn run(mut fit: Fit, epochs: u32, out: &Path, provenance: &Provenance) -> Result<Summary> {
    let files = Files::beside(out);
    if let Some(saved) = Saved::load(&files.state, provenance)? {
        eprintln!("continuing after epoch {} of {epochs}", saved.epochs);
        fit.resume(saved).with_context(|| format!("{}", files.state.display()))?;
    }
    let per_epoch = fit.steps_per_epoch()?;
    let bar = cli::progress(epochs as usize * per_epoch, "training");
    bar.inc((fit.epochs() * per_epoch) as u64);
    fit.run(
        || bar.inc(1),
        |fit, epoch| {
            fit.last()?.save(&files.last, provenance)?;
            save_bytes(&files.epochs, fit.log().as_bytes())?;
            fit.saved()?.save(&files.state, provenance)?;
            bar.set_message(format!("loss {:.3} top-1 {:.4}", epoch.loss, epoch.validation_top1));
            Ok(())
        },
    )?;
    bar.finish_and_clear();
    let best = fit.best()?.with_context(|| {
        format!(
            "after no epoch did the network keep to the budget: raise --settle or --rate; \
             the last weights are in {}",
            files.last.display()
        )
    })?;
    best.save(&files.best, provenance)?;
    let _ = std::fs::remove_file(&files.state);
    Ok(fit.summary().clone())
}
