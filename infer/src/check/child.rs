//! Another program that answers pictures: pieces of bytes to it and from it, each behind its length (u32, low byte
//! first).

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

/// Most bytes of a name: what begins with a longer piece speaks another language.
const NAME: usize = 1000;

/// A program that runs; it ends when this goes.
pub(super) struct Child {
    process: process::Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// What it says beside, read while it runs: it would wait once the pipe is full.
    beside: Option<JoinHandle<String>>,
    /// What it calls itself: its first piece.
    pub(super) name: String,
}

impl Child {
    /// Starts `program` with these arguments and waits for its name.
    ///
    /// # Errors
    /// A program that is not there, or ends before it has said who it is: what it lacks.
    pub(super) fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process =
            command.spawn().with_context(|| format!("{program} cannot be started"))?;
        let input = process.stdin.take();
        let output = process.stdout.take().context("a program without output")?;
        let mut errors = process.stderr.take().context("a program without a second output")?;
        let beside = std::thread::spawn(move || {
            let mut told = Vec::new();
            let _ = errors.read_to_end(&mut told);
            String::from_utf8_lossy(&told).into_owned()
        });
        let beside = Some(beside);
        let mut child = Self { process, input, output, beside, name: String::new() };
        child.name = String::from_utf8_lossy(&child.take_at_most(NAME)?).into_owned();
        Ok(child)
    }

    /// Hands over a piece made of these.
    ///
    /// # Errors
    /// A program that has ended: its last words.
    pub(super) fn give(&mut self, parts: &[&[u8]]) -> Result<()> {
        let length = u32::try_from(parts.iter().map(|p| p.len()).sum::<usize>())?;
        let input = self.input.as_mut().context("a program without input")?;
        let mut given = input.write_all(&length.to_le_bytes());
        for part in parts {
            given = given.and_then(|()| input.write_all(part));
        }
        if given.and_then(|()| input.flush()).is_ok() {
            return Ok(());
        }
        bail!(self.last_words())
    }

    /// The next piece.
    ///
    /// # Errors
    /// A program that has ended: its last words.
    pub(super) fn take(&mut self) -> Result<Vec<u8>> {
        self.take_at_most(u32::MAX as usize)
    }

    fn take_at_most(&mut self, most: usize) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        if self.output.read_exact(&mut length).is_err() {
            bail!(self.last_words());
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > most {
            let _ = self.process.kill();
            bail!("it says something else before its name");
        }
        let mut piece = vec![0; length];
        if self.output.read_exact(&mut piece).is_err() {
            bail!(self.last_words());
        }
        Ok(piece)
    }

    /// The line in which a program that fails says why: its last, or that with an error.
    fn last_words(&mut self) -> String {
        self.input = None;
        let beside = self.beside.take().and_then(|thread| thread.join().ok());
        let told = beside.unwrap_or_default();
        let lines: Vec<&str> = told.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let error = lines.iter().rfind(|l| l.contains("Error: ")).or(lines.last());
        error.map_or_else(|| "it ended without a word".to_owned(), |line| (*line).to_owned())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.input = None;
        // It may be in the midst of something; nobody wants to know any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
