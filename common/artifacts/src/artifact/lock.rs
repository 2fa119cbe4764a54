//! Who may write a file: one run at a time.

use super::atomic::parent;
use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lock of a file: `.X.lock` beside X, as long as this lives.
pub(super) struct Lock {
    path: PathBuf,
    /// What the system locks, until it is closed.
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Lock {
    /// The lock of `path`.
    ///
    /// # Errors
    /// Another run holds it; a folder that cannot be written.
    pub(super) fn of(path: &Path) -> Result<Self> {
        Self::by(File::try_lock, path)
    }

    /// [`Lock::of`] by the system's `try_lock`. Some network file systems have no locks: there the file is
    /// the lock by being there, and holds who made it.
    fn by(try_lock: impl Fn(&File) -> Result<(), TryLockError>, path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let lock = path.with_file_name(format!(".{name}.lock"));
        loop {
            let (file, is_new) = open(&lock)
                .with_context(|| format!("no file can be made in {}", parent(path).display()))?;
            let locked = try_lock(&file);
            if matches!(locked, Err(TryLockError::WouldBlock)) {
                bail!(
                    "another run is writing it (it holds {}): wait for it, or name another file",
                    lock.display()
                );
            }
            // A run that ended meanwhile may have removed the file that was opened here.
            if !is_at(&file, &lock) {
                continue;
            }
            let is_locked = locked.is_ok();
            if !is_new {
                let mut owner = String::new();
                (&file).read_to_string(&mut owner)?;
                if is_held(&owner, &file, is_locked) {
                    let owner = if owner.is_empty() { "of unknown number" } else { &owner };
                    bail!(
                        "another run is writing it (process {owner} holds {0}, where the file system has no \
                         locks): wait for it, or name another file; if it has ended, remove {0}",
                        lock.display()
                    );
                }
                if !is_locked {
                    remove(&file, &lock)?;
                    continue;
                }
                file.set_len(0)?;
            }
            // From here on the file goes with an error, too.
            let lock = Self { path: lock, file };
            if !is_locked {
                (&lock.file).write_all(own_name().as_bytes())?;
            }
            return Ok(lock);
        }
    }
}

/// So long a lock file may be about to get its name, and a removal take.
const NAMED_AFTER: Duration = Duration::from_secs(60);

/// Whether a lock file that was there already is somebody's. One without a name is a system's lock, which
/// others cannot have; or it is about to get its name, or older programs, which wrote none, have left it.
fn is_held(owner: &str, file: &File, is_locked: bool) -> bool {
    if !owner.is_empty() {
        return !has_ended(owner);
    }
    let age = file.metadata().and_then(|m| m.modified()).map(|t| t.elapsed().unwrap_or_default());
    !is_locked && age.is_ok_and(|age| age < NAMED_AFTER)
}

/// Removes the lock at `path` if it still is `file`. One at a time: between a look at the file and its removal
/// nobody may put another in its place.
fn remove(file: &File, path: &Path) -> Result<()> {
    let mut turn = path.as_os_str().to_owned();
    turn.push(".turn");
    let turn = PathBuf::from(turn);
    match OpenOptions::new().write(true).create_new(true).open(&turn) {
        Ok(_) => {
            let removed = if is_at(file, path) { std::fs::remove_file(path) } else { Ok(()) };
            std::fs::remove_file(&turn)?;
            removed.context("a lock that nobody holds cannot be removed")
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            // Another run is at it; for one that was killed there nobody waits for ever.
            let age = turn.metadata().and_then(|m| m.modified()).map(|t| t.elapsed());
            if matches!(age, Ok(Ok(age)) if age > NAMED_AFTER) {
                let _ = std::fs::remove_file(&turn);
            }
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        }
        Err(e) => Err(e).context("a lock that nobody holds cannot be removed"),
    }
}

/// The file at `path`, and whether it was not there before.
fn open(path: &Path) -> std::io::Result<(File, bool)> {
    loop {
        let options = OpenOptions::new().read(true).write(true).clone();
        match options.clone().create_new(true).open(path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (file, true)),
        }
        match options.open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            found => return found.map(|file| (file, false)),
        }
    }
}

/// Whether an open file is the one that `path` leads to.
#[cfg(unix)]
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |m: &std::fs::Metadata| (m.dev(), m.ino());
    matches!((&file.metadata(), &path.metadata()), (Ok(a), Ok(b)) if id(a) == id(b))
}

/// Elsewhere a file that is open stays where it is.
#[cfg(not(unix))]
pub(super) fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// What this process is called in a lock.
#[cfg(unix)]
fn own_name() -> String {
    format!("{}@{}", std::process::id(), host())
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether the process that is called so ran on this machine and runs no more. Of other machines nothing
/// is known.
#[cfg(unix)]
fn has_ended(owner: &str) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let Some((process, at)) = owner.split_once('@') else { return false };
    let process = process.parse().ok().and_then(Pid::from_raw);
    let ended = |p| test_kill_process(p) == Err(rustix::io::Errno::SRCH);
    at == host() && process.is_some_and(ended)
}

#[cfg(not(unix))]
fn own_name() -> String {
    std::process::id().to_string()
}

#[cfg(not(unix))]
fn has_ended(_: &str) -> bool {
    false
}

#[cfg(all(test, unix))]
#[allow(clippy::disallowed_methods)] // tests write files as they please
mod tests {
    use super::*;

    /// What NFS without its lock daemon says: "No locks available".
    fn none(_: &File) -> Result<(), TryLockError> {
        Err(TryLockError::Error(rustix::io::Errno::NOLCK.into()))
    }

    #[test]
    fn without_locks_the_file_itself_keeps_runs_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (out, lock) = (dir.path().join("x.bin"), dir.path().join(".x.bin.lock"));
        let refused = || format!("{:#}", Lock::by(none, &out).err().expect("a second lock"));
        let first = Lock::by(none, &out).unwrap();
        let name = std::fs::read_to_string(&lock).unwrap();
        assert_eq!(name.split_once('@').unwrap().0, std::process::id().to_string());
        let told = refused();
        assert!(told.contains(&name) && told.contains("another run is writing it"), "{told}");
        drop(first);
        assert!(!lock.exists());
        // Of a killed run of this machine nothing stays.
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        std::fs::write(&lock, format!("{}@{}", ended.id(), host())).unwrap();
        drop(Lock::by(none, &out).unwrap());
        assert!(!lock.exists());
        // What another machine's processes do, and whose a lock without a name is, nobody knows.
        for (owner, told_as) in
            [(format!("{}@elsewhere", ended.id()), ""), (String::new(), "unknown")]
        {
            std::fs::write(&lock, &owner).unwrap();
            let told = refused();
            assert!(told.contains(&owner) && told.contains(told_as), "{told}");
            assert!(told.contains("if it has ended, remove "), "{told}");
        }
        // Nor is there a wait for one that was killed while it removed a lock.
        let turn = dir.path().join(".x.bin.lock.turn");
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        std::fs::write(&turn, "").unwrap();
        File::options().write(true).open(&turn).unwrap().set_modified(hour_ago).unwrap();
        std::fs::write(&lock, format!("{}@{}", ended.id(), host())).unwrap();
        drop(Lock::by(none, &out).unwrap());
        assert!(!turn.exists() && !lock.exists());
        // Programs that knew no names left such files, which are older than any that is about to get one.
        std::fs::write(&lock, "").unwrap();
        File::options().write(true).open(&lock).unwrap().set_modified(hour_ago).unwrap();
        drop(Lock::by(none, &out).unwrap());
        assert!(!lock.exists());
        // Who has the system's lock still minds one that was taken by name.
        let by_name = Lock::by(none, &out).unwrap();
        assert!(format!("{:#}", Lock::of(&out).err().unwrap()).contains(&name));
        drop(by_name);
        std::fs::write(&lock, format!("{}@{}", ended.id(), host())).unwrap();
        drop(Lock::of(&out).unwrap());
        assert!(!lock.exists());
    }

    /// Of many that come at the same time, one gets it, whether or not a killed run has left its own.
    #[test]
    fn one_of_many_gets_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (out, lock) = (dir.path().join("x.bin"), dir.path().join(".x.bin.lock"));
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let start = std::sync::Barrier::new(8);
        let (start, out) = (&start, &out);
        for i in 0..100 {
            if i % 2 == 0 {
                std::fs::write(&lock, format!("{}@{}", ended.id(), host())).unwrap();
            }
            let got = std::thread::scope(|s| {
                let all: Vec<_> = (0..8)
                    .map(|_| {
                        s.spawn(move || {
                            start.wait();
                            Lock::by(none, out)
                        })
                    })
                    .collect();
                all.into_iter().filter_map(|t| t.join().unwrap().ok()).collect::<Vec<_>>()
            });
            assert_eq!(got.len(), 1);
        }
    }
}
