//! What every stage's `main` shares: errors, threads, progress.

use crate::catalogue::{Catalogue, Split};
use crate::cost::{self, Cost};
use crate::device::{Device, Precision, Wanted};
use anyhow::{Context, Result};
use artifacts::{Framing, artifact, classes};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Large blocks come and go with every layer; glibc returns each to the kernel and spends a
/// quarter of the time on page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads of a stage.
#[derive(Clone, Debug, clap::Args)]
pub struct Threads {
    /// Threads to use, 1 to 256 [default: all cores], and while networks answer as many that prepare what they are
    /// asked next. Results do not depend on it.
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
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Wanted,
    #[command(flatten)]
    threads: Threads,
}

/// Flag of programs that ask networks.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Products {
    /// What factors of products are rounded to: f32 (not at all), bf16 (8 binary digits; sums stay f32), or tf32
    /// (11 binary digits, by tensor cores themselves). bf16 takes less time on CPUs with AVX512-BF16 and far more
    /// on others; the products have the same bits there. --device cpu has f32 and bf16, cuda all three, bf16
    /// and tf32 from compute capability 8.0 on.
    #[arg(long, value_name = "PRECISION", default_value_t)]
    pub precision: Precision,
}

/// Flag of every stage that brings in pictures or networks.
#[derive(Clone, Debug, clap::Args)]
pub struct Classes {
    /// Class names in the order of the class numbers and of the logits, separated by commas; spaces around
    /// a name are no part of it [default: the numbers].
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = trimmed)]
    classes: Vec<String>,
}

/// Flags of every stage that reads photos: a split of a catalogue instead of a folder of files.
#[derive(Clone, Debug, clap::Args)]
pub struct Listed {
    /// What prepare catalogue made of the folder: its pictures, their classes and splits.
    #[arg(long, value_name = "FILE", requires = "split")]
    catalogue: Option<PathBuf>,
    /// The split of the catalogue that is read.
    #[arg(long, value_name = "SPLIT", requires = "catalogue", value_parser = splits())]
    split: Option<Split>,
}

impl Listed {
    /// The file, where one was given.
    pub fn catalogue(&self) -> Option<&Path> {
        self.catalogue.as_deref()
    }

    /// The catalogue, the hash of its file, and the split; None where none was given.
    ///
    /// # Errors
    /// As [`Catalogue::load`].
    pub fn load(&self) -> Result<Option<(Catalogue, String, Split)>> {
        let (Some(path), Some(split)) = (&self.catalogue, self.split) else { return Ok(None) };
        let (catalogue, hash) = Catalogue::load_hashed(path)?;
        Ok(Some((catalogue, hash, split)))
    }
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

/// The names of network families.
pub fn families() -> PossibleValuesParser {
    one_of(graph::families::ALL.iter().map(|f| (f.name, f.about)))
}

/// The ways in which a picture becomes a square.
pub fn fits() -> impl TypedValueParser<Value = Framing> {
    one_of(Framing::ALL.map(|(_, name, about)| (name, about)))
        .try_map(|name| name.parse::<Framing>())
}

/// The splits of a catalogue.
pub fn splits() -> impl TypedValueParser<Value = Split> {
    one_of(Split::ALL.map(|s| (s.name(), ""))).try_map(|name| name.parse::<Split>())
}

/// Whether to print the peak memory at the end.
static VERBOSE: AtomicBool = AtomicBool::new(false);

impl Compute {
    /// As [`Threads::start`]; the device, which is said where it was left open.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn start(&self) -> Result<Device> {
        self.threads.start()?;
        let device = self.device.device();
        if self.device == Wanted::Fastest {
            note(&format!("device: {device}"));
        }
        Ok(device)
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

/// Exit code of a stage that looked for faults and found some.
const FOUND: u8 = 3;

/// What a stage says at its end.
pub struct Outcome {
    /// For stdout.
    pub summary: String,
    /// False where a stage was to look for faults, and has found what somebody should look at.
    pub is_clean: bool,
}

impl From<String> for Outcome {
    fn from(summary: String) -> Self {
        Self { summary, is_clean: true }
    }
}

/// Run a stage: its summary goes to stdout, an error to stderr with exit code 1; what is not clean has exit
/// code 3 (2 is that of a command line that makes no sense).
pub fn main<T: Into<Outcome>>(stage: impl FnOnce() -> Result<T>) -> ExitCode {
    cost::begin();
    let result = stage().map(T::into);
    if let (true, Some(bytes)) = (VERBOSE.load(Ordering::Relaxed), cost::peak_memory()) {
        note(&format!("peak memory {} kB", count(bytes / 1000)));
    }
    match result.and_then(|outcome| print(&outcome.summary).map(|()| outcome.is_clean)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
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

/// Keeps an output that is there already; what a stage says of it.
pub fn keep(out: &Path) -> String {
    artifact::renew(out);
    format!("{}: made by this very command before, kept", out.display())
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

/// How far a piece of work is, on stderr: a bar where that is a terminal, elsewhere a line now and then.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    began: Instant,
    /// Of the work, what was done before it began.
    before: AtomicU64,
    /// When the last line was written.
    told: Mutex<Instant>,
}

/// How long there is no line, at most, where there is no bar.
const SILENCE: Duration = Duration::from_secs(300);

impl Progress {
    /// So much of the work was done by an earlier run: the time that is left is not reckoned from it.
    pub fn skip(&self, n: u64) {
        self.before.fetch_add(n, Ordering::Relaxed);
        self.bar.inc(n);
        self.bar.reset_eta();
    }

    /// So much more is done.
    pub fn inc(&self, n: u64) {
        self.bar.inc(n);
        if let Some(line) = self.due(SILENCE) {
            self.line(&line);
        }
    }

    /// What came out so far: `short` beside the bar, where there is none a line of `long` and the time left.
    pub fn say(&self, short: String, long: &str) {
        if self.bar.is_hidden() {
            self.line(long);
        } else {
            self.bar.set_message(short);
        }
    }

    /// The end of the work: the bar goes.
    pub fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }

    /// What is to be written, after so much silence where there is no bar.
    fn due(&self, silence: Duration) -> Option<String> {
        let mut told = self.told.try_lock().ok()?;
        if !self.bar.is_hidden() || told.elapsed() < silence {
            return None;
        }
        *told = Instant::now();
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        Some(format!("{}: {} of {}", self.what, HumanCount(done), HumanCount(all)))
    }

    fn line(&self, text: &str) {
        if let Ok(mut told) = self.told.lock() {
            *told = Instant::now();
        }
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        let before = self.before.load(Ordering::Relaxed);
        let left =
            left(self.began.elapsed(), done.saturating_sub(before), all.saturating_sub(done));
        note(&format!("{text}{left}"));
    }
}

/// How long the rest takes if it goes on as it went.
fn left(elapsed: Duration, done: u64, rest: u64) -> String {
    if done == 0 || rest == 0 {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() * rest as f64 / done as f64;
    format!(", about {} left", HumanDuration(Duration::from_secs(seconds.ceil() as u64)))
}

/// The progress of `length` pieces of work of this kind, which begins now.
pub fn progress(length: usize, what: &'static str) -> Progress {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    let template = "{prefix:>10} {bar:30} {pos}/{len} {elapsed} ETA {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(what);
    let began = Instant::now();
    Progress { bar, what, began, before: AtomicU64::new(0), told: Mutex::new(began) }
}

/// A number with thousands separated by commas.
pub fn count(n: usize) -> HumanCount {
    HumanCount(n as u64)
}

/// The name of a file for messages, without its folders.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_reckoned_from_what_this_run_did() {
        let left = |seconds, done, rest| left(Duration::from_secs(seconds), done, rest);
        // Three of sixty epochs in three minutes: 57 minutes.
        assert_eq!(left(180, 3, 57), ", about 57 minutes left");
        assert_eq!(left(10, 1, 4), ", about 40 seconds left");
        assert_eq!(left(36_000, 1, 9), ", about 4 days left");
        assert_eq!((left(10, 0, 4), left(10, 4, 0)), (String::new(), String::new()));
    }

    #[test]
    fn without_a_terminal_there_is_a_line_after_some_silence() {
        let progress = Progress { bar: ProgressBar::hidden(), ..progress(98_660, "views") };
        progress.bar.set_length(98_660);
        progress.skip(1000);
        progress.inc(200);
        assert_eq!(progress.due(Duration::ZERO).as_deref(), Some("views: 1,200 of 98,660"));
        assert_eq!(progress.due(SILENCE), None);
    }
}
