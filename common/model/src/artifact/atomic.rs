//! Files that appear under their name complete or not at all.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Write a file that is no artifact, whole or not at all.
///
/// # Errors
/// What the file system says, with the path.
pub fn save_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    save_bytes_checked(path, bytes, |_| Ok(()))
}

/// [`save_bytes`], with a last look at the finished file before it gets its name: where `check`
/// fails, nothing is left.
///
/// # Errors
/// What the file system or `check` says, with the path.
pub fn save_bytes_checked(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    write_atomically(path, |out| Ok(out.write_all(bytes)?), check)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// An unnamed file in the folder of `path`, gone when closed.
///
/// # Errors
/// What the file system says, with the folder.
pub fn scratch(path: &Path) -> Result<File> {
    let dir = parent(path);
    tempfile::tempfile_in(dir).with_context(|| format!("cannot write in {}", dir.display()))
}

/// Where the bytes of an unfinished file go.
pub(super) type Writer<'a> = BufWriter<&'a mut File>;

/// `body` fills a temporary file, `check` looks at it once it is on the disk, then it is renamed.
pub(super) fn write_atomically(
    path: &Path,
    body: impl FnOnce(&mut Writer<'_>) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let write = || -> Result<()> {
        ensure!(!path.is_dir(), "is a folder: name a file");
        let mut file = tempfile::NamedTempFile::new_in(parent(path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        body(&mut out)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        check(file.path())?;
        // Temporary files are private; artifacts are as readable as any other file.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
