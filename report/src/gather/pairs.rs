//! Which experiments differ.

use super::stages;
use super::trials::{Draws, Trial, top1};
use crate::statistics::{self as st, Paired};
use rows::{Pair, Way};

/// Every pair that a question is about.
pub(super) fn all(trials: &[Trial], ways: &[Way], draws: &Draws) -> Vec<Pair> {
    let pair = |a: &Way, b: &Way| pair(trials, draws, a, b);
    let mut pairs = Vec::new();
    for question in ["stages", "q1", "q2", "q4"] {
        let mut of: Vec<_> = ways.iter().filter(|w| w.question == question).collect();
        if question == "stages" {
            of.sort_by_key(|w| stages::ORDER.iter().position(|s| *s == w.way));
        }
        for (i, a) in of.iter().enumerate() {
            for b in &of[i + 1..] {
                pairs.push(pair(a, b));
            }
        }
    }
    pairs.extend(chains(ways).into_iter().map(|(a, b)| pair(a, b)));
    let bits = |way: &str, cut: u32| {
        ways.iter().find(|w| w.question == "bits" && w.way == way && w.cut == cut)
    };
    for rounded in ways.iter().filter(|w| w.question == "bits" && w.way == "rounded") {
        if let Some(trained) = bits("trained", rounded.cut) {
            pairs.push(pair(rounded, trained));
        }
    }
    // Teachers stand beside the students of question 2.
    let teacher = ways.iter().find(|w| w.question == "stages" && w.way == "teacher");
    for student in ways.iter().filter(|w| w.question == "q2") {
        pairs.extend(teacher.map(|t| pair(t, student)));
    }
    let mut pairs: Vec<Pair> = pairs.into_iter().flatten().collect();
    let mut questions: Vec<String> = pairs.iter().map(|p| p.question.clone()).collect();
    questions.sort();
    questions.dedup();
    for question in questions {
        let mut of: Vec<&mut Pair> = pairs.iter_mut().filter(|p| p.question == question).collect();
        let adjusted = st::holm(&of.iter().map(|p| p.p).collect::<Vec<_>>());
        for (pair, holm) in of.iter_mut().zip(adjusted) {
            pair.holm = holm;
            if holm >= LEVEL {
                pair.better = "none".to_owned();
            }
        }
    }
    pairs
}

/// At which a difference is one.
const LEVEL: f64 = 0.05;

/// Of every two chains of question 3 the cuts that are nearest in size.
fn chains(ways: &[Way]) -> Vec<(&Way, &Way)> {
    let cuts: Vec<&Way> = ways.iter().filter(|w| w.question == "q3").collect();
    let mut names: Vec<&str> = cuts.iter().map(|w| w.way.as_str()).collect();
    names.dedup();
    let mut found = Vec::new();
    for (i, a) in names.iter().enumerate() {
        for b in &names[i + 1..] {
            let apart = |x: &Way, y: &Way| (x.parameters / y.parameters).ln().abs();
            let of = |name: &str| cuts.iter().filter(move |w| w.way == name).collect::<Vec<_>>();
            let all = of(a).into_iter().flat_map(|x| of(b).into_iter().map(move |y| (*x, *y)));
            found.extend(all.min_by(|(a, b), (c, d)| apart(a, b).total_cmp(&apart(c, d))));
        }
    }
    found
}

/// Two experiments side by side; `holm` is `p`, and `better` says which is so with every seed whatever `p` is: all pairs
/// of a question must be known for more.
fn pair(trials: &[Trial], draws: &Draws, a: &Way, b: &Way) -> Option<Pair> {
    let of = |w: &Way| -> Vec<usize> {
        let is = |t: &Trial| t.question == w.question && t.way == w.way && t.cut == w.cut;
        (0..trials.len()).filter(|i| is(&trials[*i])).collect()
    };
    let (of_a, of_b) = (of(a), of(b));
    // A model without a seed stands beside every seed of the other.
    let is_matched = |x: &Trial, y: &Trial| x.seed == y.seed || x.seed == 0 || y.seed == 0;
    let all = of_a.iter().flat_map(|x| of_b.iter().map(move |y| (*x, *y)));
    let places: Vec<(usize, usize)> =
        all.filter(|(x, y)| is_matched(&trials[*x], &trials[*y])).collect();
    let matched = || places.iter().map(|(x, y)| (&trials[*x], &trials[*y]));
    let tests: Vec<Paired> = matched().map(|(x, y)| st::paired(&x.answers, &y.answers)).collect();
    let n = tests.len();
    if n == 0 {
        return None;
    }
    let better = match () {
        () if tests.iter().all(|t| t.only_a > t.only_b) => "a",
        () if tests.iter().all(|t| t.only_b > t.only_a) => "b",
        () => "none",
    };
    let p = tests.iter().map(|t| t.p).fold(0.0, f64::max);
    let (low, high) = draws.validation.difference(&places);
    let test = draws.tested_difference(&places);
    let on_test = |(x, y): (&Trial, &Trial)| Some(top1(y.test.as_ref()?) - top1(x.test.as_ref()?));
    let tested = matched().filter_map(on_test).sum::<f64>();
    Some(Pair {
        question: if a.question == b.question { &a.question } else { &b.question }.clone(),
        a: a.way.clone(),
        a_cut: a.cut,
        b: b.way.clone(),
        b_cut: b.cut,
        seeds: n,
        difference: matched().map(|(x, y)| y.top1() - x.top1()).sum::<f64>() / n as f64,
        low,
        high,
        only_a: tests.iter().map(|t| t.only_a).sum(),
        only_b: tests.iter().map(|t| t.only_b).sum(),
        p,
        holm: p,
        better: better.to_owned(),
        test_difference: test.map(|_| tested / n as f64),
        test_low: test.map(|t| t.0),
        test_high: test.map(|t| t.1),
    })
}
