//! Which experiments differ.

use super::stages;
use super::trials::Trial;
use crate::statistics::{self as st, Paired};
use anyhow::Result;
use rows::{Pair, Way};

/// Every pair that a question is about.
pub(super) fn all(trials: &[Trial], ways: &[Way]) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for question in ["stages", "q1", "q2", "q4"] {
        let mut of: Vec<_> = ways.iter().filter(|w| w.question == question).collect();
        if question == "stages" {
            of.sort_by_key(|w| stages::ORDER.iter().position(|s| *s == w.way));
        }
        for (i, a) in of.iter().enumerate() {
            for b in &of[i + 1..] {
                pairs.push(pair(trials, a, b));
            }
        }
    }
    pairs.extend(chains(ways).into_iter().map(|(a, b)| pair(trials, a, b)));
    let bits = |way: &str, cut: u32| {
        ways.iter().find(|w| w.question == "bits" && w.way == way && w.cut == cut)
    };
    for rounded in ways.iter().filter(|w| w.question == "bits" && w.way == "rounded") {
        if let Some(trained) = bits("trained", rounded.cut) {
            pairs.push(pair(trials, rounded, trained));
        }
    }
    // Teachers stand beside the students of question 2.
    let teacher = ways.iter().find(|w| w.question == "stages" && w.way == "teacher");
    for student in ways.iter().filter(|w| w.question == "q2") {
        pairs.extend(teacher.map(|t| pair(trials, t, student)));
    }
    Ok(pairs.into_iter().flatten().collect())
}

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

fn pair(trials: &[Trial], a: &Way, b: &Way) -> Option<Pair> {
    let of = |w: &Way| -> Vec<&Trial> {
        let is = |t: &&Trial| t.question == w.question && t.way == w.way && t.cut == w.cut;
        trials.iter().filter(is).collect()
    };
    let (of_a, of_b) = (of(a), of(b));
    // A model without a seed stands beside every seed of the other.
    let is_matched = |x: &Trial, y: &Trial| x.seed == y.seed || x.seed == 0 || y.seed == 0;
    let all = of_a.iter().flat_map(|x| of_b.iter().map(move |y| (*x, *y)));
    let matched: Vec<(&Trial, &Trial)> = all.filter(|(x, y)| is_matched(x, y)).collect();
    let tests: Vec<Paired> =
        matched.iter().map(|(x, y)| st::paired(&x.answers, &y.answers)).collect();
    let n = tests.len();
    let all_say = |side: &dyn Fn(&Paired) -> bool| tests.iter().all(|t| t.differs() && side(t));
    let better = match () {
        () if all_say(&|t| t.only_a > t.only_b) => "a",
        () if all_say(&|t| t.only_b > t.only_a) => "b",
        () => "none",
    };
    (n > 0).then(|| Pair {
        question: if a.question == b.question { &a.question } else { &b.question }.clone(),
        a: a.way.clone(),
        a_cut: a.cut,
        b: b.way.clone(),
        b_cut: b.cut,
        seeds: n,
        difference: matched.iter().map(|(x, y)| y.top1() - x.top1()).sum::<f64>() / n as f64,
        only_a: tests.iter().map(|t| t.only_a).sum(),
        only_b: tests.iter().map(|t| t.only_b).sum(),
        p: tests.iter().map(|t| t.p).fold(0.0, f64::max),
        better: better.to_owned(),
    })
}
