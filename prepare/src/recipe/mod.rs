//! `prepare recipe`: pictures and hours → the flags of every stage.

mod cut;
mod level;
mod speed;
mod text;

use anyhow::{Context, Result, ensure};
use artifacts::{Framing, Model, Preparation, Source, artifact};
use common::catalogue::{Catalogue, Split, folder_of};
use common::cli;
use common::device::Device;
use common::sizing::Sizing;
use level::{Counts, Level, Speed, Takes};
use photos::MAX_PIXELS;
use photos::fingerprint::Look;
use rayon::prelude::*;
use speed::Sample;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Write a recipe: the flags of every stage for these pictures, this machine and so many hours.
///
/// Larger pictures and longer training are more often right and take longer. What a step of training and an answer
/// take at each size is measured here and now, on some of the pictures, some seconds each; the largest size whose
/// least sensible number of epochs fits the hours is taken, and as many epochs as then fit. The expected time of
/// each stage stands in the recipe. What is measured differs from run to run, so the recipe does: make keeps
/// the first by --reuse.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  prepare recipe photos --catalogue catalogue.csv --hours 1 --out recipe.mk
  prepare recipe photos --catalogue catalogue.csv --hours 8 --budget 100000 --out recipe.mk
  prepare recipe photos --catalogue catalogue.csv --init pretrained.safetensors --out recipe.mk")]
pub(crate) struct Recipe {
    /// Folder that the catalogue's paths begin at.
    folder: PathBuf,
    /// The pictures: prepare catalogue.
    #[arg(long, value_name = "FILE")]
    catalogue: PathBuf,
    /// How long everything may take on this machine, hours; less where more would bring nothing.
    #[arg(long, value_name = "H", default_value_t = 1.0)]
    hours: f64,
    /// Largest size of the shipped file, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 300_000)]
    budget: usize,
    /// Weights that the teacher goes on from, as train --init does. The recipe then cuts the teacher itself for
    /// --budget and tunes it by its own answers; no student begins afresh, unless the network cannot be made so small.
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Do nothing if --out was written by this very command for this very catalogue before.
    #[arg(long)]
    reuse: bool,
    /// The recipe to write, a page of make variables.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    compute: cli::Compute,
}

/// A level and what was measured of it.
struct Measured {
    level: Level,
    speed: Speed,
}

impl Recipe {
    pub(crate) fn run(self) -> Result<String> {
        let device = self.compute.start()?;
        let inputs: Vec<&Path> = [Some(&self.catalogue), self.init.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let _claim = artifact::claim(&self.out, &inputs)?;
        ensure!(
            self.hours.is_finite() && self.hours > 0.0,
            "--hours {}: expected more than 0",
            self.hours
        );
        let made = self.made(device)?;
        let is_kept = |text: String| text.lines().next() == Some(made.as_str());
        if self.reuse && std::fs::read_to_string(&self.out).is_ok_and(is_kept) {
            return Ok(cli::keep(&self.out));
        }
        let catalogue = Catalogue::load(&self.catalogue)?;
        let paths = self.training_paths(&catalogue);
        let init = self.init.as_deref().map(Model::load).transpose()?.map(|(model, _)| model);
        let counts = counts(&catalogue, &paths, init.as_ref(), self.budget)?;
        let classes = catalogue.classes().len();
        ensure!(
            classes >= 2,
            "{}: {classes} classes, and there is nothing to learn of fewer than two: put each photo into a folder \
             called as its class",
            self.folder.display()
        );
        let seconds = self.hours * 3600.0;
        let preparation = init.as_ref().map_or(UPRIGHT, |model| model.input.preparation);
        let task = Task { paths: &paths, classes, preparation, init: init.as_ref(), device };
        let began = Instant::now();
        let Measured { level, speed } = self.measure(&counts, &task)?;
        // Measuring is a part of what everything may take.
        let left = (seconds - began.elapsed().as_secs_f64()).max(seconds / 2.0);
        let epochs = level::epochs(&counts, &speed, left);
        let takes = Takes::of(&counts, &speed, epochs);
        let recipe = text::Recipe {
            made: &made,
            counts: &counts,
            classes,
            is_tested: is_tested(&catalogue),
            level,
            preparation,
            budget: self.budget,
            epochs,
            takes: &takes,
            threads: rayon::current_num_threads(),
        };
        artifact::save_bytes(&self.out, recipe.text().as_bytes())?;
        let told = level::told(takes.total());
        if takes.total() > 1.1 * seconds {
            cli::note(&format!(
                "{} hours are too few for {} pictures: the shortest recipe takes about {told}",
                self.hours, counts.training
            ));
        }
        Ok(format!(
            "{}: {} px, teacher {} epochs, {} {} epochs, about {told}",
            self.out.display(),
            level.size,
            epochs.teacher,
            if counts.cut_to.is_some() { "tuned" } else { "student" },
            epochs.student
        ))
    }

    fn training_paths(&self, catalogue: &Catalogue) -> Vec<PathBuf> {
        let folder = folder_of(&self.folder);
        catalogue.of(Split::Training).map(|entry| folder.join(&entry.file)).collect()
    }

    /// The recipe's first line: the command, and the contents of what it was given.
    fn made(&self, device: Device) -> Result<String> {
        let read = |path: &PathBuf| {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok::<_, anyhow::Error>(Source::hash(&bytes))
        };
        let Self { hours, budget, .. } = self;
        let init = self
            .init
            .as_ref()
            .map(|f| read(f).map(|hash| format!(" --init {hash}")))
            .transpose()?;
        Ok(format!(
            "# Written by prepare recipe --catalogue {} --hours {hours} --budget {budget}{}{}",
            read(&self.catalogue)?,
            init.unwrap_or_default(),
            if device.is_cpu() { String::new() } else { format!(" --device {device}") }
        ))
    }

    /// The dearest level that fits, measured; the cheapest where none does. A level may take less time than the one
    /// before it, as students differ: two in a row that do not fit end the search.
    fn measure(&self, counts: &Counts, task: &Task) -> Result<Measured> {
        let levels = counts.levels();
        let bar = cli::progress(levels.len(), "measuring");
        let (mut best, mut misses) = (None, 0);
        for level in levels.iter().copied() {
            let how = Preparation { size: level.size.into(), ..task.preparation };
            let sample = Sample::of(task.paths, how, task.classes, &self.out)?;
            let teacher = task.teacher(level, &sample)?;
            let student = self.student(level, counts, &sample, &teacher)?;
            let is_trained = counts.cut_to.is_none();
            let speed = sample.speed(teacher, student, is_trained, task.device)?;
            bar.inc(1);
            let fits = level::fits(counts, &speed, self.hours * 3600.0);
            misses = if fits { 0 } else { misses + 1 };
            if fits || best.is_none() {
                best = Some(Measured { level, speed });
            }
            if misses == 2 {
                break;
            }
        }
        bar.finish_and_clear();
        best.context("no level")
    }

    /// What is planned and shipped, as far as its speed goes.
    fn student(
        &self,
        level: Level,
        counts: &Counts,
        sample: &Sample,
        teacher: &Model,
    ) -> Result<Model> {
        if let Some(most) = counts.cut_to {
            let cut = cut::to_parameters(teacher, most)?;
            return cut.with_context(|| {
                format!(
                    "--budget {}: with as many classes the network cannot be made so small",
                    self.budget
                )
            });
        }
        let sizing = Sizing { bytes: Some(self.budget), ..Sizing::default() };
        sample.fresh(|n| sizing.graph(level.student, n))
    }
}

/// What is measured, at any level.
struct Task<'a> {
    /// Of the training pictures.
    paths: &'a [PathBuf],
    classes: usize,
    /// How pictures become squares, of whatever size.
    preparation: Preparation,
    /// What the teacher goes on from.
    init: Option<&'a Model>,
    device: Device,
}

/// Cut out of the middle, and turned as cameras say.
const UPRIGHT: Preparation = Preparation { size: 0, framing: Framing::Crop, exif: true };

impl Task<'_> {
    fn teacher(&self, level: Level, sample: &Sample) -> Result<Model> {
        if let Some(model) = self.init {
            return sample.go_on(model.clone());
        }
        let stem_stride = Some(level.stem_stride.into());
        let sizing = Sizing { width: 0.5, stem_stride, ..Sizing::default() };
        sample.fresh(|n| sizing.graph("resnet18", n))
    }
}

fn counts(
    catalogue: &Catalogue,
    training: &[PathBuf],
    init: Option<&Model>,
    budget: usize,
) -> Result<Counts> {
    let count = |split| catalogue.of(split).count();
    ensure!(!training.is_empty(), "no training pictures in the catalogue");
    // Some tell: photos of a folder mostly come from one camera or one program.
    let some = training.len().min(200);
    let look = |i: usize| -> Option<u32> {
        let bytes = photos::read(&training[i * training.len() / some]).ok()?;
        Look::of(&bytes, MAX_PIXELS).ok()?.sides.into_iter().min()
    };
    let mut sides: Vec<u32> = (0..some).into_par_iter().filter_map(look).collect();
    sides.sort_unstable();
    let side = *sides.get(sides.len() / 2).context("none of the training pictures can be read")?;
    let most = level::cut_for(budget);
    let cut = init.map(|model| cut::to_parameters(model, most)).transpose()?.flatten();
    Ok(Counts {
        training: training.len(),
        has_init: init.is_some(),
        cut_to: cut.map(|_| most),
        validation: count(Split::Validation),
        testing: count(Split::Testing),
        side,
    })
}

fn is_tested(catalogue: &Catalogue) -> bool {
    let mut testing = catalogue.of(Split::Testing).peekable();
    testing.peek().is_some() && testing.all(|entry| entry.label.is_some())
}
