//! What besides accuracy was measured, and could explain it.

use super::passes::Ancestry;
use super::trials::Trial;
use crate::field::seen;
use crate::statistics as st;
use anyhow::{Context, Result};
use artifacts::{Answers, Model};
use common::calibration;
use common::score::argmax;
use common::share::Share;
use rows::{Evidence, Field, Gain, Way};
use std::path::Path;

/// The models of an experiment, one for each seed.
fn of<'a>(trials: &'a [Trial], way: &'a Way) -> impl Iterator<Item = &'a Trial> {
    trials.iter().filter(|t| t.question == way.question && t.way == way.way && t.cut == way.cut)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let all: Vec<f64> = values.collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

fn teacher(trials: &[Trial]) -> Option<&Trial> {
    trials.iter().find(|t| t.question == "stages" && t.way == "teacher")
}

/// Share of the pictures that both answer alike, rightly or wrongly.
fn agreement(a: &Answers, b: &Answers) -> f64 {
    let alike = a.logits().zip(b.logits()).filter(|(a, b)| argmax(a) == argmax(b)).count();
    alike as f64 / a.labels.len() as f64
}

pub(super) fn all(trials: &[Trial], ways: &[Way]) -> Result<Vec<Evidence>> {
    let teacher = teacher(trials);
    let row = |way: &Way| {
        let fitted = |t: &Trial| -> Result<f64> {
            let logits: Vec<f32> = t.answers.logits().flatten().copied().collect();
            Ok(calibration::fit(&logits, &t.answers.labels, Share::of_parts(0, 1))?.temperature)
        };
        let temperatures = of(trials, way).map(fitted).collect::<Result<Vec<_>>>()?;
        Ok(Evidence {
            question: way.question.clone(),
            way: way.way.clone(),
            cut: way.cut,
            agreement: teacher
                .map(|t| mean(of(trials, way).map(|x| agreement(&x.answers, &t.answers)))),
            calibration_error: mean(of(trials, way).map(|t| st::calibration(&t.answers).error)),
            temperature: mean(temperatures.into_iter()),
            multiplications_per_right: (way.top1 > 0.0).then(|| way.multiplications / way.top1),
        })
    };
    ways.iter().map(row).collect()
}

/// What the experiments of a question are compared with: what they were made from, or the plainest of them.
fn start<'a>(ways: &'a [Way], question: &str) -> Option<&'a Way> {
    let find =
        |question: &str, way: &str| ways.iter().find(|w| w.question == question && w.way == way);
    match question {
        "q2" => find("q2", "scratch"),
        "q3" => find("stages", "student"),
        "q4" => find("q4", "plain"),
        "bits" => find("stages", "pruned").or_else(|| find("stages", "student")),
        _ => find("stages", "teacher"),
    }
}

/// Top-1 of each class, mean over the models of an experiment.
fn by_class(trials: &[Trial], way: &Way) -> Vec<f64> {
    let classes = of(trials, way).next().map_or(0, |t| t.answers.about.classes.len());
    let all: Vec<_> = of(trials, way).map(|t| st::confusion(&t.answers)).collect();
    let share = |counts: &[usize], class: usize| {
        counts[class] as f64 / counts.iter().sum::<usize>().max(1) as f64
    };
    (0..classes).map(|class| mean(all.iter().map(|c| share(&c[class], class)))).collect()
}

pub(super) fn gains(trials: &[Trial], ways: &[Way]) -> Vec<Gain> {
    let mut gains = Vec::new();
    for way in ways {
        let from = start(ways, &way.question);
        let is_other = |f: &&Way| (&f.question, &f.way) != (&way.question, &way.way);
        let Some(from) = from.filter(is_other) else { continue };
        let names = &trials[0].answers.about.classes;
        let both = by_class(trials, way).into_iter().zip(by_class(trials, from));
        gains.extend(names.iter().zip(both).map(|(class, (top1, before))| Gain {
            question: way.question.clone(),
            way: way.way.clone(),
            cut: way.cut,
            than: from.way.clone(),
            class: class.clone(),
            difference: top1 - before,
        }));
    }
    gains
}

/// Of each twin of question 4 the layers with a window, for pictures as the models of the folder see them.
pub(super) fn fields(
    folder: &Path,
    trials: &[Trial],
    ways: &[Way],
    ancestry: &Ancestry<'_>,
) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    for way in ways.iter().filter(|w| w.question == "q4") {
        // Seeds have one graph.
        let Some(trial) = of(trials, way).next() else { continue };
        let about = &trial.answers.about;
        let Some(entry) = ancestry.entry(&about.model) else { continue };
        let (model, source) = Model::load(&folder.join(&entry.path))?;
        let seen = seen(&model.graph, model.input.preparation.size);
        let seen = seen.with_context(|| source.name.clone())?;
        fields.extend(seen.into_iter().map(|s| Field {
            way: way.way.clone(),
            layer: s.layer,
            kernel: s.kernel,
            stride: s.stride,
            channels: s.channels,
            map: s.map,
            field: s.field,
        }));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::answers;

    /// By hand: of four pictures two are answered alike, one of them wrongly by both.
    #[test]
    fn agreement_counts_shared_mistakes() {
        let a = answers(&[0, 1, 1, 0], &[[1., 0.], [1., 0.], [0., 1.], [0., 1.]]);
        let b = answers(&[0, 1, 1, 0], &[[1., 0.], [1., 0.], [1., 0.], [1., 0.]]);
        assert_eq!(agreement(&a, &b), 0.5);
    }
}
