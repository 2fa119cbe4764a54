//! What making a file cost: `X.cost.csv` beside artifact `X`. It holds times, so it is no artifact: nothing
//! is made from it but tables, and no hash covers it.

use anyhow::{Context, Result};
use artifacts::artifact;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

/// When this process began.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The one row of `X.cost.csv`, about the run that finished `X`: what earlier, interrupted runs spent on
/// it is not counted, nor are their pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Stage, e.g. `infer logits`.
    pub stage: String,
    /// Wall time of the process, seconds.
    pub seconds: f64,
    /// Pictures that went through the network or were prepared, each time counted; of a training those of
    /// the training set.
    pub pictures: usize,
    /// Largest resident memory, bytes; 0 where the system does not tell.
    pub peak_bytes: usize,
    /// Threads.
    pub threads: usize,
}

/// Begin to count; the first thing a process does.
pub(crate) fn begin() {
    LazyLock::force(&BEGAN);
}

/// The largest memory this process has had resident, bytes; None where the system does not tell
/// (it does on Linux).
pub fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

impl Cost {
    /// What `stage` has spent so far, on so many `pictures`.
    pub fn so_far(stage: &str, pictures: usize) -> Self {
        Self {
            stage: stage.to_owned(),
            seconds: (BEGAN.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            pictures,
            peak_bytes: peak_memory().unwrap_or_default(),
            threads: rayon::current_num_threads(),
        }
    }

    /// Where the cost of `out` is.
    pub fn beside(out: &Path) -> PathBuf {
        artifact::beside(out, "cost.csv")
    }

    /// Write it beside `out`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, out: &Path) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(self)?;
        artifact::save_bytes(&Self::beside(out), &writer.into_inner()?)
    }

    /// Read a `.cost.csv`.
    ///
    /// # Errors
    /// A file that cannot be read or has other columns.
    pub fn load(path: &Path) -> Result<Self> {
        let wrong = || format!("{}: not the cost of a stage", path.display());
        let mut reader = csv::Reader::from_path(path).with_context(wrong)?;
        let row = reader.deserialize().next().with_context(wrong)?;
        row.with_context(wrong)
    }
}
