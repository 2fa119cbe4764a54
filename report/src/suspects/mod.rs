//! `report suspects`: pictures whose labels a teacher holds unlikely.

mod finding;

use anyhow::{Result, ensure};
use artifacts::{Images, Logits, artifact};
use common::calibration::probabilities;
use common::cli::{self, count};
use common::sheet::{self, Sheet};
use finding::Suspect;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// List the pictures whose labels are probably wrong: those that a teacher finds least likely.
///
/// The probability of a label is that of the logits, the mean over their views. What is counted as probably wrong goes
/// by confident learning (Northcutt et al. 2021): of the classes that reach the mean probability of their own pictures
/// the likeliest is not the label. It is told (likely) where it is not the answer, the likeliest of all: that may be the
/// label itself, of a class whose pictures are mostly surer.
///
/// A suspect is no verdict: look at the pictures (--html). Where one is wrong, move its photo to the folder of its class
/// (or rename it, where names begin with the class), or correct its row in the table of DATA (a CSV with the columns
/// file,label; the catalogue.csv of prepare catalogue is one, if it lies where the photos are); remove photos of nothing.
/// Then make again: all else follows. Only the pictures of --images are looked at, with make suspects the training split;
/// give another file and its logits for others.
///
/// The table has the columns file, label, probability, answer, answer_probability, likely (empty where no class reaches
/// its mean), probably_wrong (yes or no) and unseen: yes, or unknown where nothing says so.
///
/// It works where the teachers have not seen the pictures: train K of them with --fold 1/K to K/K and ask infer logits
/// with all. A teacher that has learnt a wrong label finds it likely; whether the logits are of such is said. Views
/// that are mixed show two pictures and are refused: plain ones, without --augment, do and take least time.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  make suspects FOLDS=3                           # all of what follows
  for i in 1 2 3; do
      train --images t.safetensors --validation v.safetensors --arch resnet18 --fold $i/3 --out teacher-$i.safetensors
  done
  infer logits --teacher teacher-1.safetensors --teacher teacher-2.safetensors --teacher teacher-3.safetensors \\
      --images t.safetensors --out plain.safetensors
  report suspects --images t.safetensors --logits plain.safetensors --csv suspects.csv --html suspects.html")]
pub(crate) struct Suspects {
    /// Images artifact with the labels in doubt.
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// What teachers say of these pictures (infer logits), in views that are not mixed.
    #[arg(long, value_name = "FILE")]
    logits: PathBuf,
    /// Write all labelled pictures as a table, the least likely label first.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the first of them as a page of pictures, as they were prepared.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Most pictures that are told and that the page shows; the table has all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// What was found, with what it was found among.
struct Found {
    images: Images,
    logits: Logits,
    suspects: Vec<Suspect>,
}

impl Suspects {
    pub(crate) fn run(self) -> Result<String> {
        let inputs = [self.images.as_path(), &self.logits];
        let outputs = [&self.csv, &self.html].into_iter().flatten();
        let _claims =
            outputs.map(|out| artifact::claim(out, &inputs)).collect::<Result<Vec<_>>>()?;
        let found = Found::load(&self.images, &self.logits)?;
        if let Some(out) = &self.csv {
            artifact::save_bytes(out, &found.table()?)?;
        }
        if let Some(out) = &self.html {
            artifact::save_bytes(out, found.page(self.limit)?.as_bytes())?;
        }
        found.summary(self.limit)
    }
}

impl Found {
    fn load(images: &Path, logits: &Path) -> Result<Self> {
        let (images, logits) = (Images::load(images)?, Logits::load(logits)?);
        let at = &images.source.name;
        ensure!(images.labels.iter().any(Option::is_some), "{at}: no picture has a label to doubt");
        logits.check(&images, images.classes.len())?;
        let policy = logits.views.policy;
        ensure!(
            !policy.mixes(),
            "{}: its views show two pictures each (--augment {policy}), which says little of the label of one: run infer \
             logits with the same teachers without mixup, cutmix and resizemix, plain views are enough",
            logits.source.name
        );
        let mean: Vec<Vec<f64>> = (0..images.len()).map(|i| mean(&logits, i)).collect();
        let suspects = finding::find(&mean, &images.labels);
        Ok(Self { images, logits, suspects })
    }

    fn wrong(&self) -> usize {
        self.suspects.iter().filter(|s| s.is_probably_wrong()).count()
    }

    /// Whether the teachers had seen what they were asked about.
    fn seen(&self) -> String {
        self.logits.views.folds.map_or_else(
            || {
                "The teachers may have learnt these labels: nothing says that they have not seen these pictures. If \
                 they have, the probabilities of the labels are too high, and wrong labels hide. For teachers that \
                 have not: train --fold 1/K to K/K, and infer logits with all of them (make suspects FOLDS=K)."
                    .to_owned()
            },
            |k| format!("Each picture was answered by teachers that had not seen it, nor its label ({k} folds)."),
        )
    }

    /// How many, among how many.
    fn counted(&self) -> String {
        let (wrong, n) = (self.wrong(), self.suspects.len());
        let share = 100.0 * wrong as f64 / n as f64;
        format!("probably wrong: {} of {} labels ({share:.1} %)", count(wrong), count(n))
    }

    /// A suspect in a line.
    fn line(&self, s: &Suspect) -> String {
        let Images { names, classes, .. } = &self.images;
        let told = |class: usize, p: f64| format!("{} ({p:.4})", classes[class]);
        let likely = s.confident.filter(|(class, _)| *class != s.answer);
        format!(
            "{}: labelled {}, answered {}{}",
            names[s.picture],
            told(s.label, s.probability),
            told(s.answer, s.answer_probability),
            likely.map_or_else(String::new, |(class, p)| format!(", likely {}", told(class, p)))
        )
    }

    fn summary(&self, limit: usize) -> Result<String> {
        let mut out = format!("{}: {}\n{}", self.images.source.name, self.counted(), self.seen());
        for suspect in self.suspects.iter().filter(|s| s.is_probably_wrong()).take(limit) {
            write!(out, "\n  {}", self.line(suspect))?;
        }
        if self.wrong() > limit {
            write!(out, "\n  … and {} more", count(self.wrong() - limit))?;
        }
        Ok(out)
    }

    fn table(&self) -> Result<Vec<u8>> {
        let Images { names, classes, .. } = &self.images;
        let unseen = if self.logits.views.folds.is_some() { "yes" } else { "unknown" };
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record([
            "file",
            "label",
            "probability",
            "answer",
            "answer_probability",
            "likely",
            "probably_wrong",
            "unseen",
        ])?;
        for s in &self.suspects {
            let [own, answer] = [s.probability, s.answer_probability].map(|p| format!("{p:.6}"));
            let wrong = if s.is_probably_wrong() { "yes" } else { "no" };
            let (file, label, likeliest) =
                (&names[s.picture], &classes[s.label], &classes[s.answer]);
            let likely = s.confident.map_or("", |(class, _)| &classes[class]);
            out.write_record([file, label, &own, likeliest, &answer, likely, wrong, unseen])?;
        }
        Ok(out.into_inner()?)
    }

    fn page(&self, limit: usize) -> Result<String> {
        let mut out = Sheet::new(&format!(
            "Suspect labels: {}",
            cli::name(Path::new(&self.images.source.name))
        ));
        out.paragraph(&self.seen());
        out.paragraph(
            "Only the pictures of this file were looked at. Where a label is wrong, move the photo to the folder of its \
             class (or rename it, where names begin with the class), or correct its row in the table of files and labels (file,label); remove photos of nothing; then \
             prepare the pictures again. \u{201c}Likely\u{201d} is the likeliest class among those that are as likely as \
             for their own pictures; it is told where it is not the answer.",
        );
        let (wrong, others): (Vec<&Suspect>, Vec<&Suspect>) =
            self.suspects.iter().partition(|s| s.is_probably_wrong());
        out.heading(&self.counted());
        let shown = wrong.len().min(limit);
        out.figures(&self.figures(&wrong[..shown])?);
        if wrong.len() > shown {
            out.paragraph(&format!("… and {} more.", count(wrong.len() - shown)));
        }
        let rest = &others[..others.len().min(limit - shown)];
        if !rest.is_empty() {
            out.heading("the least likely of the others: no other class is likely enough either");
            out.figures(&self.figures(rest)?);
        }
        Ok(out.end())
    }

    fn figures(&self, suspects: &[&Suspect]) -> Result<Vec<String>> {
        let figure = |s: &&Suspect| {
            let jpeg = photos::jpeg(self.images.pixels(s.picture), self.images.size())?;
            Ok(sheet::figure([(jpeg, self.images.names[s.picture].as_str())], &self.line(s)))
        };
        suspects.iter().map(figure).collect()
    }
}

/// Probabilities of picture `i`, the mean over the views.
fn mean(logits: &Logits, i: usize) -> Vec<f64> {
    let views = logits.views.views;
    let mut sum = probabilities(logits.of(0, i), 1.0);
    for k in 1..views {
        sum.iter_mut().zip(probabilities(logits.of(k, i), 1.0)).for_each(|(a, b)| *a += b);
    }
    sum.iter_mut().for_each(|p| *p /= views as f64);
    sum
}
