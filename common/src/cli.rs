//! What every stage's `main` shares: errors, threads, progress.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Large blocks come and go with every layer; glibc returns each to the kernel and spends a
/// quarter of the time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Flags of every stage that computes.
#[derive(Clone, Debug, clap::Args)]
pub struct Compute {
    /// Threads to use [default: all cores]. Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the peak memory of the process at the end.
    #[arg(long)]
    pub verbose: bool,
}

/// Whether to print the peak memory at the end.
static VERBOSE: AtomicBool = AtomicBool::new(false);

impl Compute {
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
#[allow(unsafe_code)]
pub fn main(stage: impl FnOnce() -> Result<String>) -> ExitCode {
    // SAFETY: this is the first thing a stage's `main` does; no thread has been started.
    unsafe { kernels::parallel::one_candle_thread() };
    let result = stage();
    if let (true, Some(bytes)) = (VERBOSE.load(Ordering::Relaxed), peak_memory()) {
        eprintln!("peak memory {} kB", thousands(bytes / 1000));
    }
    match result {
        Ok(summary) => {
            print(&summary);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The largest memory this process has had resident, bytes; None where the system does not tell
/// (it does on Linux).
pub fn peak_memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The error and its causes on one line. Causes print their first line only: candle appends
/// backtraces.
fn chain(error: &anyhow::Error) -> String {
    let first_lines =
        error.chain().map(|e| e.to_string().lines().next().unwrap_or_default().to_owned());
    first_lines.collect::<Vec<_>>().join(": ")
}

/// Print a line to stdout; a reader that has gone away (`| head`) is not an error.
#[allow(clippy::print_stdout)]
pub fn print(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
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
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// The name of a file for messages, without its folders.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
