//! What each stage of the pipeline did to the answers.

use super::trials::Trial;
use crate::statistics as st;
use rows::{Bin, Class, Confused};

/// The stages in their order.
pub(super) const ORDER: [&str; 4] = ["teacher", "student", "pruned", "shipped"];

/// The evaluations of the pipeline that there are, in order.
pub(super) fn of(trials: &[Trial]) -> Vec<&Trial> {
    let stage = |name: &&str| trials.iter().find(|t| t.question == "stages" && t.way == *name);
    ORDER.iter().filter_map(stage).collect()
}

pub(super) fn classes(stages: &[&Trial]) -> Vec<Class> {
    let mut rows = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let answers = &stage.answers;
        let hits = st::hits(answers);
        let before = i.checked_sub(1).map(|b| st::hits(&stages[b].answers));
        for (class, name) in answers.about.classes.iter().enumerate() {
            let of: Vec<usize> = (0..hits.len()).filter(|p| answers.labels[*p] == class).collect();
            let correct = of.iter().filter(|p| hits[**p]).count();
            let changed = before.as_ref().map(|before| {
                let times = |was: bool| {
                    of.iter().filter(|p| before[**p] == was && hits[**p] != was).count()
                };
                (times(true), times(false))
            });
            rows.push(Class {
                stage: stage.way.clone(),
                class,
                name: name.clone(),
                pictures: of.len(),
                correct,
                top1: correct as f64 / of.len().max(1) as f64,
                lost: changed.map(|c| c.0),
                won: changed.map(|c| c.1),
                p: changed.map(|(lost, won)| st::mcnemar(lost, won)),
            });
        }
    }
    rows
}

/// Of the last stage: what is taken for what.
pub(super) fn confusion(stages: &[&Trial]) -> Vec<Confused> {
    let Some(last) = stages.last() else { return Vec::new() };
    let names = &last.answers.about.classes;
    let counts = st::confusion(&last.answers);
    let row = |(class, row): (usize, &Vec<usize>)| {
        let (class, row) = (names[class].clone(), row.clone());
        row.into_iter().zip(names).map(move |(pictures, answered)| Confused {
            class: class.clone(),
            answered: answered.clone(),
            pictures,
        })
    };
    counts.iter().enumerate().flat_map(row).collect()
}

pub(super) fn calibration(stages: &[&Trial]) -> Vec<Bin> {
    let bins = |stage: &&Trial| {
        let way = stage.way.clone();
        let bins = st::calibration(&stage.answers).bins;
        bins.into_iter().zip(1..).map(move |(bin, i)| Bin {
            stage: way.clone(),
            up_to: f64::from(i) / 10.0,
            pictures: bin.pictures,
            accuracy: bin.accuracy,
            confidence: bin.confidence,
        })
    };
    stages.iter().flat_map(bins).collect()
}
