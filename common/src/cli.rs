//! What every stage's `main` shares: errors, threads, progress.

use crate::cost::{self, Cost};
use crate::executor::Device;
use anyhow::{Context, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Fit, classes};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Large blocks come and go with every layer; glibc returns each to the kernel and spends a
/// quarter of the time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of a stage.
#[derive(Clone, Debug, clap::Args)]
pub struct Threads {
    /// Threads to use, 1 to 256 [default: all cores]. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// Print the peak memory of the process at the end.
    #[arg(long)]
    pub verbose: bool,
}

/// Flags of every stage that runs networks.
#[derive(Clone, Debug, clap::Args)]
pub struct Compute {
    /// Where the network runs: cpu (the engine of this project), cuda or cuda:N (the same on that CUDA
    /// device, in builds with CUDA), candle (its tensors and autograd on the CPU: the reference, slow), auto
    /// (the fastest that this build and this machine have; says which). Devices round differently: answers
    /// are equal but for that, and training takes another path.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = device)]
    pub device: Device,
    #[command(flatten)]
    threads: Threads,
}

/// Flag of every stage that brings in pictures or networks.
#[derive(Clone, Debug, clap::Args)]
pub struct Classes {
    /// Class names in the order of the class numbers and of the logits, separated by commas; spaces around
    /// a name are no part of it [default: the numbers].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = trimmed)]
    classes: Vec<String>,
}

fn trimmed(name: &str) -> Result<String> {
    Ok(name.trim().to_owned())
}

impl Classes {
    /// The names; none where none were given.
    ///
    /// # Errors
    /// An empty name, or one that two classes have.
    pub fn names(&self) -> Result<&[String]> {
        classes::check(&self.classes).context("--classes")?;
        Ok(&self.classes)
    }
}

/// A flag's value out of a list of names and what they mean.
fn one_of(names: impl IntoIterator<Item = (&'static str, &'static str)>) -> PossibleValuesParser {
    let value = |(name, about)| PossibleValue::new(name).help(about);
    PossibleValuesParser::new(names.into_iter().map(value))
}

fn device(name: &str) -> Result<Device> {
    let device: Device = name.parse()?;
    if name == "auto" {
        note(&format!("device: {device}"));
    }
    Ok(device)
}

/// The names of network families.
pub fn families() -> PossibleValuesParser {
    one_of(graph::families::ALL.iter().map(|f| (f.name, f.about)))
}

/// The ways in which a picture becomes a square.
pub fn fits() -> impl TypedValueParser<Value = Fit> {
    one_of(Fit::ALL.map(|(_, name, about)| (name, about))).try_map(|name| name.parse::<Fit>())
}

/// Whether to print the peak memory at the end.
static VERBOSE: AtomicBool = AtomicBool::new(false);

impl Compute {
    /// As [`Threads::start`].
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn start(&self) -> Result<()> {
        self.threads.start()
    }
}

impl Threads {
    /// Set the number of threads of this process.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn start(&self) -> Result<()> {
        VERBOSE.store(self.verbose, Ordering::Relaxed);
        if let Some(n) = self.threads {
            rayon::ThreadPoolBuilder::new()
                .num_threads(usize::from(n))
                .build_global()
                .context("cannot start the threads")?;
        }
        Ok(())
    }
}

/// Run a stage: its summary line goes to stdout, an error to stderr with exit code 1.
pub fn main(stage: impl FnOnce() -> Result<String>) -> ExitCode {
    cost::begin();
    let result = stage();
    if let (true, Some(bytes)) = (VERBOSE.load(Ordering::Relaxed), cost::peak_memory()) {
        note(&format!("peak memory {} kB", count(bytes / 1000)));
    }
    match result.and_then(|summary| print(&summary)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Write down beside `out`, which is finished, what `stage` spent on it and on how many `pictures`. Where
/// that cannot be written, a line on stderr says so: the artifact is none the worse for it.
pub fn record(out: &Path, stage: &str, pictures: usize) {
    if let Err(error) = Cost::so_far(stage, pictures).save(out) {
        note(&format!("the cost is not recorded: {error:#}"));
    }
}

/// The error and its causes on one line. Causes print their first line only: candle appends
/// backtraces.
fn chain(error: &anyhow::Error) -> String {
    let first_lines =
        error.chain().map(|e| e.to_string().lines().next().unwrap_or_default().to_owned());
    first_lines.collect::<Vec<_>>().join(": ")
}

/// Print a line to stdout; a reader that has gone away (`| head`) is not an error.
///
/// # Errors
/// A disk that is full.
pub fn print(text: &str) -> Result<()> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("cannot write to stdout"),
        _ => Ok(()),
    }
}

/// A line on stderr; where it cannot be written (the terminal is gone, the disk full), nobody is told,
/// and the work goes on.
pub fn note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A progress bar with ETA on stderr; silent when stderr is not a terminal.
pub fn progress(length: usize, what: &'static str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    let template = "{prefix:>10} {bar:30} {pos}/{len} {elapsed} ETA {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    bar
}

/// A number with thousands separated by commas.
pub fn count(n: usize) -> HumanCount {
    HumanCount(n as u64)
}

/// The name of a file for messages, without its folders.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
