//! Evaluations: one row each, and one for all seeds of an experiment.

use super::passes::{Ancestry, Passes};
use crate::bootstrap::Resampled;
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
    /// To the test pictures, where their labels are known.
    pub(super) test: Option<Answers>,
    /// How often the pictures were seen that it learnt from.
    pub(super) passes: Passes,
}

/// Pictures that are answered rightly.
fn correct(answers: &Answers) -> usize {
    st::hits(answers).iter().filter(|h| **h).count()
}

/// Their share.
pub(super) fn top1(answers: &Answers) -> f64 {
    correct(answers) as f64 / answers.labels.len() as f64
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
        let (question, way) = (question.to_owned(), way.to_owned());
        Ok(Self { question, way, seed, cut, answers, test: None, passes: Passes::default() })
    }

    /// What it is called by, in this order.
    fn place(&self) -> (String, String, u32, u32) {
        (self.question.clone(), self.way.clone(), self.seed, self.cut)
    }

    pub(super) fn top1(&self) -> f64 {
        top1(&self.answers)
    }

    pub(super) fn row(&self) -> rows::Trial {
        let (pictures, correct) = (self.answers.labels.len(), correct(&self.answers));
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
            wilson_low: low,
            wilson_high: high,
            calibration_error: calibration.error,
            nll: calibration.nll,
            passes: self.passes.own,
            inherited: self.passes.inherited,
            test_top1: self.test.as_ref().map(top1),
        }
    }
}

/// Every evaluation in `folder/eval` and one folder deeper, in the order of their names, with those of the same names in
/// `folder/test`.
pub(super) fn load(folder: &Path, ancestry: &Ancestry<'_>) -> Result<Vec<Trial>> {
    let mut trials = read(&folder.join("eval"))?;
    let eval = folder.join("eval");
    ensure!(!trials.is_empty(), "{}: no answers in it: run make experiments", eval.display());
    let test = folder.join("test");
    let tested = if test.exists() { read(&test)? } else { Vec::new() };
    let mut tests: BTreeMap<_, Answers> =
        tested.into_iter().map(|t| (t.place(), t.answers)).collect();
    for trial in &mut trials {
        // Answers of the model that was there before say nothing of this one.
        trial.test = tests.remove(&trial.place());
        let model = &trial.answers.about.model;
        trial.test = trial.test.take().filter(|t| t.about.model == *model);
        trial.passes = ancestry.passes(model, &trial.question);
    }
    for trial in &trials[1..] {
        trial.answers.check_same_pictures(&trials[0].answers)?;
    }
    let mut tested = trials.iter().filter_map(|t| t.test.as_ref());
    if let Some(first) = tested.next() {
        tested.try_for_each(|t| t.check_same_pictures(first))?;
    }
    Ok(trials)
}

/// Every answers artifact in `root` and one folder deeper, in the order of their names.
fn read(root: &Path) -> Result<Vec<Trial>> {
    let mut folders = vec![("stages".to_owned(), root.to_owned())];
    let wrong = || format!("cannot read {}: run make experiments", root.display());
    for entry in std::fs::read_dir(root).with_context(wrong)? {
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
    trials.sort_by_key(Trial::place);
    Ok(trials)
}

/// All models in every resample of the pictures.
pub(super) struct Draws {
    /// Of the validation pictures, a model for each trial.
    pub(super) validation: Resampled,
    /// Of the test pictures, a model for each trial that has answers to them.
    test: Resampled,
    /// Which of those models each trial is.
    tested: Vec<Option<usize>>,
}

impl Draws {
    pub(super) fn of(trials: &[Trial]) -> Self {
        let hits: Vec<_> = trials.iter().map(|t| st::hits(&t.answers)).collect();
        let tests: Vec<_> = trials.iter().filter_map(|t| t.test.as_ref().map(st::hits)).collect();
        let mut next = 0..;
        let tested = trials.iter().map(|t| t.test.as_ref().and_then(|_| next.next())).collect();
        Self { validation: Resampled::of(&hits), test: Resampled::of(&tests), tested }
    }

    /// On the test pictures, the interval of the mean of these trials; None unless all have answers to them.
    fn tested_mean(&self, trials: &[usize]) -> Option<(f64, f64)> {
        let models: Option<Vec<usize>> = trials.iter().map(|t| self.tested[*t]).collect();
        models.map(|m| self.test.mean(&m))
    }

    /// The same of the difference of these pairs.
    pub(super) fn tested_difference(&self, pairs: &[(usize, usize)]) -> Option<(f64, f64)> {
        let models = pairs.iter().map(|(a, b)| self.tested[*a].zip(self.tested[*b]));
        models.collect::<Option<Vec<_>>>().map(|m| self.test.difference(&m))
    }
}

pub(super) fn ways(trials: &[Trial], draws: &Draws) -> Vec<Way> {
    let mut groups = BTreeMap::<_, Vec<usize>>::new();
    for (i, t) in trials.iter().enumerate() {
        groups.entry((t.question.clone(), t.way.clone(), t.cut)).or_default().push(i);
    }
    let way = |((question, way, cut), places): ((String, String, u32), Vec<usize>)| {
        let of: Vec<&Trial> = places.iter().map(|i| &trials[*i]).collect();
        let mean = |f: &dyn Fn(&Trial) -> usize| {
            of.iter().map(|t| f(t) as f64).sum::<f64>() / of.len() as f64
        };
        let spread = st::spread(&of.iter().map(|t| t.top1()).collect::<Vec<_>>());
        let n = of[0].answers.labels.len();
        let (wilson_low, wilson_high) = score::wilson((spread.mean * n as f64).round() as usize, n);
        let (low, high) = draws.validation.mean(&places);
        let test = draws.tested_mean(&places);
        let tests = of.iter().filter_map(|t| t.test.as_ref().map(top1)).sum::<f64>();
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
            low,
            high,
            student_half: spread.half,
            wilson_low,
            wilson_high,
            passes: of[0].passes.own,
            inherited: of[0].passes.inherited,
            test_top1: test.map(|_| tests / of.len() as f64),
            test_low: test.map(|t| t.0),
            test_high: test.map(|t| t.1),
        }
    };
    groups.into_iter().map(way).collect()
}
