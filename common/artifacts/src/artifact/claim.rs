//! The place of an output: looked at before work begins, locked until it is done.

use super::atomic::{PART, parent, target};
use super::lock::{Lock, is_at};
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The right to write an output; ends when it is dropped.
#[must_use = "the output is locked as long as this lives"]
pub struct Claim(#[expect(dead_code, reason = "held, not looked at")] Lock);

/// An output that is kept counts as new from now on, so that make, which goes by times, does not ask for it again
/// and again; where the system does not allow that, make asks.
pub fn renew(out: &Path) {
    let _ = File::open(out).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Files of a run beside its output `out`: `X.safetensors` → `X.END`, any other `X` → `X.END` too, so
/// that `run.1` and `run.2` share none.
pub fn beside(out: &Path, end: &str) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
    out.with_file_name(format!("{stem}.{end}"))
}

/// Checks what can be checked before hours of work: that the folder of `out` can be written, that `out`
/// is, or can become, an ordinary file, that it is none of `inputs`, and that no other run is about to
/// write it. What killed runs left half written is removed. See also [`check_room`].
///
/// # Errors
/// The first of these that does not hold.
pub fn claim(out: &Path, inputs: &[&Path]) -> Result<Claim> {
    let check = || -> Result<Claim> {
        let path = target(out)?;
        let folder = parent(&path);
        ensure!(folder.is_dir(), "the folder {} does not exist: make it first", folder.display());
        for input in inputs {
            ensure!(
                !is_same_file(&path, input),
                "it is an input, {}, and would be lost",
                input.display()
            );
        }
        let lock = Lock::of(&path)?;
        remove_parts(&path);
        tempfile::tempfile_in(folder)
            .with_context(|| format!("no file can be made in {}", folder.display()))?;
        Ok(Claim(lock))
    };
    check().with_context(|| format!("cannot write {}", out.display()))
}

/// Checks that the folder of `out` has room for `bytes`, as far as the system tells.
///
/// # Errors
/// Less room.
pub fn check_room(out: &Path, bytes: u64) -> Result<()> {
    let path = target(out)?;
    let folder = parent(&path);
    if let Some(free) = free(folder)
        && free < bytes
    {
        let (needed, free) = (bytes / 1_000_000 + 1, free / 1_000_000);
        bail!(
            "cannot write {}: {} has {free} MB free, about {needed} are needed",
            out.display(),
            folder.display()
        );
    }
    Ok(())
}

/// Whether two paths lead to one file, by links of any kind.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let by_name = matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    by_name || cfg!(unix) && File::open(a).is_ok_and(|file| is_at(&file, b))
}

/// Removes what killed runs left half written of `out` and the files beside it.
fn remove_parts(out: &Path) {
    let ends = ["last.safetensors", "state.safetensors", "epochs.csv", "cost.csv"];
    let names: Vec<String> = ends
        .iter()
        .map(|end| beside(out, end))
        .chain([out.to_owned()])
        .filter_map(|p| Some(format!(".{}.", p.file_name()?.to_str()?)))
        .collect();
    let Ok(entries) = std::fs::read_dir(parent(out)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let random = names.iter().find_map(|n| name.strip_prefix(n)?.strip_suffix(PART));
        if random.is_some_and(|r| !r.contains('.')) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Bytes that can be written in `folder`; None where the system does not tell.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(folder).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}
