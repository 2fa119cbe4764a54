//! Evaluations: one row each, and one for all seeds of an experiment.

use crate::statistics as st;
use anyhow::{Context, Result, ensure};
use artifacts::Answers;
use common::score;
use rows::Way;
use std::collections::BTreeMap;
use std::path::Path;

/// The answers of one model, and the experiment it is of.
pub(super) struct Trial {
    /// `q1` to `q4`, `bits`, or `stages` for what is in no folder.
    pub(super) question: String,
    /// Which of the question's ways: `pruning`, `0.1`, `plain_grouped`, `rounded`.
    pub(super) way: String,
    /// Its seed; 0 where nothing is random.
    pub(super) seed: u32,
    /// Cuts so far, in a chain of question 3; bits per weight, of `bits`; else 0.
    pub(super) cut: u32,
    pub(super) answers: Answers,
}

impl Trial {
    /// Of the file `eval/QUESTION/NAME.answers.safetensors`.
    ///
    /// # Errors
    /// A name that does not say its share, seed and cut, or its bits.
    fn new(question: &str, name: &str, answers: Answers) -> Result<Self> {
        let number = |text: &str| text.parse::<u32>().ok();
        let (way, seed, cut) = match (question, name.rsplit_once('-')) {
            ("q3", found) => {
                let read = found.and_then(|(rest, cut)| {
                    let (way, seed) = rest.split_once('-')?;
                    way.parse::<f64>().ok()?;
                    Some((way, number(seed)?, number(cut)?))
                });
                read.context("expected a name of share, seed and cut, as in 0.1-2-3")?
            }
            ("bits", found) => {
                let read = found.and_then(|(way, bits)| Some((way, 0, number(bits)?)));
                read.context("expected a name that ends in its bits, as in rounded-4")?
            }
            ("stages", _) | (_, None) => (name, 0, 0),
            (_, Some((way, seed))) => match number(seed) {
                Some(seed) => (way, seed, 0),
                None => (name, 0, 0),
            },
        };
        Ok(Self { question: question.to_owned(), way: way.to_owned(), seed, cut, answers })
    }

    pub(super) fn correct(&self) -> usize {
        st::hits(&self.answers).iter().filter(|h| **h).count()
    }

    pub(super) fn top1(&self) -> f64 {
        self.correct() as f64 / self.answers.labels.len() as f64
    }

    pub(super) fn row(&self) -> rows::Trial {
        let (pictures, correct) = (self.answers.labels.len(), self.correct());
        let (low, high) = score::wilson(correct, pictures);
        let calibration = st::calibration(&self.answers);
        let about = &self.answers.about;
        rows::Trial {
            question: self.question.clone(),
            way: self.way.clone(),
            seed: self.seed,
            cut: self.cut,
            parameters: about.parameters,
            bytes: about.bytes,
            multiplications: about.multiplications,
            pictures,
            correct,
            top1: self.top1(),
            low,
            high,
            calibration_error: calibration.error,
            nll: calibration.nll,
        }
    }
}

/// Every evaluation in `folder/eval` and one folder deeper, in the order of their names.
pub(super) fn load(folder: &Path) -> Result<Vec<Trial>> {
    let eval = folder.join("eval");
    let mut folders = vec![("stages".to_owned(), eval.clone())];
    let wrong = || format!("cannot read {}: run make experiments", eval.display());
    for entry in std::fs::read_dir(&eval).with_context(wrong)? {
        let path = entry.with_context(wrong)?.path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            folders.push((name, path));
        }
    }
    let mut trials = Vec::new();
    for (question, folder) in folders {
        for entry in std::fs::read_dir(&folder).with_context(wrong)? {
            let path = entry.with_context(wrong)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".answers.safetensors") {
                let trial = Trial::new(&question, name, Answers::load(&path)?);
                trials.push(trial.with_context(|| path.display().to_string())?);
            }
        }
    }
    ensure!(!trials.is_empty(), "{}: no answers in it: run make experiments", eval.display());
    let place = |t: &Trial| (t.question.clone(), t.way.clone(), t.seed, t.cut);
    trials.sort_by_key(place);
    for trial in &trials[1..] {
        trial.answers.check_same_pictures(&trials[0].answers)?;
    }
    Ok(trials)
}

pub(super) fn ways(trials: &[Trial]) -> Vec<Way> {
    let mut groups = BTreeMap::<_, Vec<&Trial>>::new();
    for t in trials {
        groups.entry((t.question.clone(), t.way.clone(), t.cut)).or_default().push(t);
    }
    let way = |((question, way, cut), of): ((String, String, u32), Vec<&Trial>)| {
        let mean = |f: &dyn Fn(&Trial) -> usize| {
            of.iter().map(|t| f(t) as f64).sum::<f64>() / of.len() as f64
        };
        let spread = st::spread(&of.iter().map(|t| t.top1()).collect::<Vec<_>>());
        let n = of[0].answers.labels.len();
        let (low, high) = score::wilson((spread.mean * n as f64).round() as usize, n);
        Way {
            question,
            way,
            cut,
            seeds: of.len(),
            parameters: mean(&|t| t.answers.about.parameters),
            bytes: mean(&|t| t.answers.about.bytes),
            multiplications: mean(&|t| t.answers.about.multiplications),
            top1: spread.mean,
            deviation: spread.deviation,
            half: spread.half,
            low,
            high,
        }
    };
    groups.into_iter().map(way).collect()
}
