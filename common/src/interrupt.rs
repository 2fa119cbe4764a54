//! Ctrl-C and SIGTERM: a stage is asked to stop, saves what it has, and says how to go on.

use crate::cli;
use anyhow::{Context, Result, bail, ensure};
use artifacts::artifact::{self, Artifact, Data, Header, Kind, Provenance, Tensor};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often a long stage saves what it has, at least.
const EVERY: Duration = Duration::from_secs(120);

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// When to save.
pub struct Watch {
    saved: Instant,
}

impl Watch {
    /// Listen from now on; a second signal ends the process at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> Result<Self> {
        if ASKED.get().is_none() {
            let asked = Arc::new(AtomicBool::new(false));
            for signal in [SIGINT, SIGTERM] {
                let at = || "cannot listen to signals";
                let status = 128 + signal;
                signal_hook::flag::register_conditional_shutdown(signal, status, asked.clone())
                    .with_context(at)?;
                signal_hook::flag::register(signal, asked.clone()).with_context(at)?;
            }
            let _ = ASKED.set(asked);
        }
        Ok(Self { saved: Instant::now() })
    }

    /// Between two pieces of work: calls `save` when it is time, or when the stage is to stop.
    ///
    /// # Errors
    /// What `save` says; having been asked to stop.
    pub fn between(&mut self, save: impl FnOnce() -> Result<()>) -> Result<()> {
        let asked = ASKED.get().is_some_and(|a| a.load(Ordering::Relaxed));
        if asked || self.saved.elapsed() > EVERY {
            save()?;
            self.saved = Instant::now();
        }
        if asked {
            bail!("interrupted; what was done is kept, give the same command again to go on");
        }
        Ok(())
    }
}

/// Renames a state that cannot be gone on from: it is never lost, and never in the way.
///
/// # Errors
/// What the file system says.
pub fn set_aside(state: &Path, reason: &anyhow::Error) -> Result<()> {
    let mut aside = state.as_os_str().to_owned();
    aside.push(".old");
    std::fs::rename(state, &aside).with_context(|| format!("cannot rename {}", state.display()))?;
    cli::note(&format!(
        "starting anew: {reason:#}; it is kept as {}",
        PathBuf::from(aside).display()
    ));
    Ok(())
}

/// What a stage that was interrupted has so far, as bytes: `X.state.safetensors` beside its output.
pub struct Partial {
    path: PathBuf,
    header: Header,
}

impl Partial {
    /// Beside `out`, of a stage with this provenance and whatever else decides its result.
    ///
    /// # Errors
    /// Settings that JSON cannot hold.
    pub fn beside(out: &Path, provenance: &Provenance, settings: &impl Serialize) -> Result<Self> {
        let path = artifact::beside(out, "state.safetensors");
        Ok(Self { path, header: Header::new(Kind::State, provenance, settings)? })
    }

    /// What there is: nothing, unless the same command was interrupted before.
    ///
    /// # Errors
    /// What the file system says.
    pub fn load(&self) -> Result<Vec<u8>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let read = || -> Result<Vec<u8>> {
            let artifact = Artifact::load(&self.path, &[Kind::State])?;
            let Header { provenance, body, .. } = &self.header;
            let is_own = artifact.source.provenance == *provenance && artifact.json == *body;
            ensure!(is_own, "{}: of other settings or files", artifact.source.name);
            Ok(artifact.u8("done")?.1.to_vec())
        };
        match read() {
            Ok(bytes) => Ok(bytes),
            Err(reason) => set_aside(&self.path, &reason).map(|()| Vec::new()),
        }
    }

    /// Keep `bytes`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, bytes: Vec<u8>) -> Result<()> {
        let tensor = Tensor::u8("done", &[bytes.len()], Data::Bytes(bytes));
        artifact::save(&self.path, &self.header, vec![tensor])
    }

    /// The output is written.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
