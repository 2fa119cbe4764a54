//! Files that appear under their name complete or not at all.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

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

pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// The file that `path` names, symbolic links followed.
///
/// # Errors
/// A folder, a device, a pipe, a link to nowhere: what a rename would replace or could not reach.
pub(super) fn target(path: &Path) -> Result<PathBuf> {
    let Ok(found) = path.symlink_metadata() else { return Ok(path.to_owned()) };
    let real = if found.is_symlink() {
        path.canonicalize().context("it is a link to a file that does not exist")?
    } else {
        path.to_owned()
    };
    let found = real.metadata()?;
    ensure!(!found.is_dir(), "it is a folder: name a file");
    ensure!(
        found.is_file(),
        "it is a device or a pipe: name a file, results are renamed into place"
    );
    Ok(real)
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

/// How the names of unfinished files end; they begin with a dot and the file's name.
pub(super) const PART: &str = ".part";

/// `body` fills a temporary file, `check` looks at it once it is on the disk, then it is renamed.
pub(super) fn write_atomically(
    path: &Path,
    body: impl FnOnce(&mut Writer<'_>) -> Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let write = || -> Result<()> {
        let path = target(path)?;
        let name = path.file_name().context("it names no file")?.to_string_lossy();
        let mut builder = tempfile::Builder::new();
        let prefix = format!(".{name}.");
        builder.prefix(&prefix).suffix(PART);
        // Temporary files are private; artifacts are as readable as the user's other files.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(parent(&path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        body(&mut out)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        check(file.path())?;
        file.persist(&path)?;
        sync_folder(parent(&path))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The new name is on the disk, too.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    use std::io::ErrorKind;
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Not every file system can.
        Err(e) if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Err(e).context("the folder")
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}
