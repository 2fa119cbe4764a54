//! `infer logits` of several teachers: who answers what, and what is refused.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Folds, Framing, Images, Input, Logits, Model, Preparation, Provenance};
use graph::Graph;
use graph::grid::Grids;
use std::path::{Path, PathBuf};
use std::process::Command;
use views::{FixedViews, Normalization, Policy, View};

const SIDE: usize = 8;
const PICTURES: usize = 24;
const MIX: &str = "cutmix=1,mixup=0.5";

/// Pictures of one grey each, all different, and teachers of them.
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Self {
        let work = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        let _ = std::fs::remove_dir_all(&work.0);
        std::fs::create_dir_all(&work.0).unwrap();
        work.pictures(PICTURES);
        work
    }

    /// Makes the file of pictures, with the first `n`.
    fn pictures(&self, n: usize) {
        let grey = |i: usize| (i * 10) as u8;
        Unsaved {
            preparation: Preparation { size: SIDE, framing: Framing::Crop, exif: false },
            classes: ["a", "b"].map(String::from).into(),
            labels: (0..n).map(|i| Some(i % 2)).collect(),
            names: (0..n).map(|i| format!("{}_{i}.png", i % 2)).collect(),
            pixels: Data::Bytes((0..n).flat_map(|i| [grey(i); 3 * SIDE * SIDE]).collect()),
        }
        .save(&self.at("images"), &Provenance::new("test", &()).unwrap())
        .unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn images(&self) -> Images {
        Images::load(&self.at("images")).unwrap()
    }

    /// A teacher whose first logit is the mean of red, in 0..1, and whose second is `mark`.
    fn teacher(&self, name: &str, mark: f32, fold: Option<&str>) {
        let graph: Graph = "input 3;gap;f:linear 3>2 bias".parse().unwrap();
        let mut weights = graph::init::weights(&graph, 1);
        weights.get_mut("f.weight").unwrap().values = vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        weights.get_mut("f.bias").unwrap().values = vec![0.0, mark];
        let images = self.images();
        let input = Input { preparation: images.preparation, normalization: Normalization::NONE };
        let settings = fold.map(|fold| serde_json::json!({ "fold": fold }));
        let made = Provenance::new("train", &settings).unwrap().from("images", &images.source);
        let (classes, views) = (images.classes, FixedViews::PLAIN);
        Model { graph, weights, input, classes, grids: Grids::new(), views }
            .save(&self.at(name), &made)
            .unwrap();
    }

    /// What these teachers answer, or why they do not.
    fn ask(&self, teachers: &[&str], flags: &str) -> Result<Logits, String> {
        let mut infer = Command::new(env!("CARGO_BIN_EXE_infer"));
        infer.current_dir(&self.0).args(["logits", "--images", "images", "--out", "logits"]);
        teachers.iter().for_each(|teacher| {
            infer.args(["--teacher", teacher]);
        });
        let done = infer.args(flags.split_whitespace()).output().unwrap();
        if done.status.success() {
            return Ok(Logits::load(&self.at("logits")).unwrap());
        }
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

/// Each picture is answered by the teachers that left its fold out: their mark says so, of two the mean of both. In every
/// mixed view what the teacher sees is the picture and one of its fold, the very view that [`View::among`] draws; the
/// bytes are the same for any number of threads.
#[test]
fn teachers_answer_what_they_have_not_seen() {
    let work = Work::new("folds");
    for (name, mark, fold) in
        [("one", 1.0, "1/3"), ("two", 2.0, "2/3"), ("three", 3.0, "3/3"), ("third", 5.0, "3/3")]
    {
        work.teacher(name, mark, Some(fold));
    }
    let flags = format!("--augment {MIX} --views 3 --seed 4");
    let logits = work.ask(&["three", "one", "third", "two"], &flags).unwrap();
    let before = std::fs::read(work.at("logits")).unwrap();
    assert_eq!(logits.views.folds, Some(3));
    let parents = &logits.source.provenance.parents;
    assert_eq!(parents.keys().filter(|role| role.starts_with("teacher ")).count(), 4);
    let images = work.images();
    let folds = Folds::new(&images, 3).unwrap();
    let policy: Policy = MIX.parse().unwrap();
    let mut others = 0;
    for (k, i) in (0..3).flat_map(|k| (0..PICTURES).map(move |i| (k, i))) {
        let peers: Vec<usize> = (0..PICTURES).filter(|j| folds.of(*j) == folds.of(i)).collect();
        let view = View::among(&policy, 4, i, k, &peers, SIDE);
        others += usize::from(View::of(&policy, 4, i, k, PICTURES, SIDE).partner != view.partner);
        // Of one grey each: a mean of two.
        let grey = |i: usize| i as f32 * 10.0 / 255.0;
        let seen = view.weight * grey(i) + (1.0 - view.weight) * grey(view.partner.0);
        let mark = [1.0, 2.0, 4.0][folds.of(i)];
        let found = logits.of(k, i);
        assert!((found[0] - seen).abs() < 1e-5, "view {k} of {i}: {found:?}, {seen}");
        assert_eq!(found[1], mark, "view {k} of {i}");
    }
    assert!(others > 30, "{others} partners differ from those drawn of all");
    for threads in [1, 3] {
        std::fs::remove_file(work.at("logits")).unwrap();
        let flags = format!("{flags} --threads {threads}");
        work.ask(&["three", "one", "third", "two"], &flags).unwrap();
        assert!(std::fs::read(work.at("logits")).unwrap() == before, "{threads} threads");
    }
}

/// Teachers of everything: the mean of their logits, partners from all pictures, and a file as ever.
#[test]
fn teachers_of_everything_answer_together() {
    let work = Work::new("ensemble");
    work.teacher("one", 1.0, None);
    work.teacher("four", 4.0, None);
    let logits = work.ask(&["one", "four"], &format!("--augment {MIX} --views 2")).unwrap();
    assert_eq!(logits.views.folds, None);
    let policy: Policy = MIX.parse().unwrap();
    for (k, i) in (0..2).flat_map(|k| (0..PICTURES).map(move |i| (k, i))) {
        let view = View::of(&policy, 0, i, k, PICTURES, SIDE);
        let grey = |i: usize| i as f32 * 10.0 / 255.0;
        let seen = view.weight * grey(i) + (1.0 - view.weight) * grey(view.partner.0);
        let found = logits.of(k, i);
        assert!((found[0] - seen).abs() < 1e-5 && found[1] == 2.5, "view {k} of {i}: {found:?}");
    }
}

/// Lists that make no sense, each with what would.
#[test]
fn mixed_lists_are_refused() {
    let work = Work::new("mixed");
    for (name, fold) in
        [("all", None), ("one", Some("1/2")), ("two", Some("2/2")), ("third", Some("3/3"))]
    {
        work.teacher(name, 0.0, fold);
    }
    for (teachers, expected) in [
        (&["one"][..], "fold 2/2: all teachers have seen its pictures: give one more --teacher"),
        (&["one", "all", "two"], "all: has not left out a fold of these pictures"),
        (&["all", "one"], "take teachers of train --fold 1/2 to 2/2, or none of them"),
        (
            &["one", "third"],
            "third: left out fold 3/3, another teacher 1/2: all teachers must be of",
        ),
        (&["third"], "fold 1/3, 2/3: all teachers have seen"),
    ] {
        let told = work.ask(teachers, "").err().unwrap();
        assert!(told.contains(expected), "{teachers:?}: {told}");
        assert!(!work.at("logits").exists());
    }
    let logits = work.ask(&["one", "two"], "").unwrap();
    assert_eq!(logits.views.folds, Some(2));
    // One picture more is another file, of which the teachers of folds have seen nobody knows what.
    std::fs::remove_file(work.at("logits")).unwrap();
    work.pictures(PICTURES + 1);
    for teachers in [&["one", "two"][..], &["two"], &["all", "two"]] {
        let told = work.ask(teachers, "").err().unwrap();
        assert!(told.contains("of other pictures than images: ask about the very file"), "{told}");
        assert!(!work.at("logits").exists());
    }
    assert_eq!(work.ask(&["all"], "").unwrap().views.folds, None);
}
