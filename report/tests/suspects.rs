//! `report suspects`: tables and pages of logits that are known.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::logits::Views;
use artifacts::{Framing, Images, Logits, Preparation, Provenance};
use graph::Array;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Four pictures of 8 px, two of "cat" and two of "<dog>", and what `report suspects` says of them.
struct Work(PathBuf);

/// .9 and .7; .3 and .1; .2 and .2; .6 and .6.
const CATS: [f64; 8] = [0.9, 0.3, 0.2, 0.6, 0.7, 0.1, 0.2, 0.6];

impl Work {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Unsaved {
            preparation: Preparation { size: 8, framing: Framing::Crop, exif: false },
            classes: ["cat", "<dog>"].map(String::from).into(),
            labels: [0, 0, 1, 1].map(Some).into(),
            names: ["a,1.png", "b.png", "c.png", "d.png"].map(String::from).into(),
            pixels: Data::Bytes((0..4 * 192).map(|p| (p / 3) as u8).collect()),
        }
        .save(&folder.join("images"), &Provenance::new("test", &()).unwrap())
        .unwrap();
        Self(folder)
    }

    /// `cats`: how likely each of the four is a cat, in two views.
    fn logits(&self, policy: &str, folds: Option<usize>, cats: [f64; 8]) {
        let images = Images::load(&self.0.join("images")).unwrap().source.hash;
        let views = Views { policy: policy.parse().unwrap(), seed: 0, views: 2, images, folds };
        let of = |p: f64| [(p / (1.0 - p)).ln() as f32, 0.0];
        let logits = cats.map(of).concat();
        let logits = Array::new(vec![2, 4, 2], logits).unwrap();
        let made = Provenance::new("infer logits", &()).unwrap();
        Logits::save(&self.0.join("logits"), &views, &made, &logits).unwrap();
    }

    fn report(&self, flags: &str) -> (bool, String) {
        let mut report = Command::new(env!("CARGO_BIN_EXE_report"));
        report.current_dir(&self.0).args("suspects --images images --logits logits".split(' '));
        let done = report.args(flags.split_whitespace()).output().unwrap();
        let told = if done.status.success() { done.stdout } else { done.stderr };
        (done.status.success(), String::from_utf8(told).unwrap())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

/// By hand, means over two views: of a cat .8 and .2, so its pictures have .5 on average; of a dog .8 and .4, so .6. b is
/// a dog with .8, which reaches .6, and a cat with .2, which does not reach .5: wrong. d is a cat with .6, which reaches
/// .5, and a dog with .4: wrong.
#[test]
fn labels_that_unseen_teachers_doubt() {
    let work = Work::new("doubts");
    work.logits("flip", Some(2), CATS);
    let (done, told) = work.report("--csv s.csv --html s.html --limit 3");
    assert!(done, "{told}");
    assert!(told.contains("probably wrong: 2 of 4 labels (50.0 %)"), "{told}");
    assert!(told.contains("teachers that had not seen it, nor its label (2 folds)"), "{told}");
    assert!(told.contains("\n  b.png: labelled cat (0.2000), answered <dog> (0.8000)\n"), "{told}");
    assert_eq!(
        work.read("s.csv"),
        "file,label,probability,answer,answer_probability,likely,probably_wrong,unseen\n\
         b.png,cat,0.200000,<dog>,0.800000,<dog>,yes,yes\n\
         d.png,<dog>,0.400000,cat,0.600000,cat,yes,yes\n\
         \"a,1.png\",cat,0.800000,cat,0.800000,cat,no,yes\n\
         c.png,<dog>,0.800000,<dog>,0.800000,<dog>,no,yes\n"
    );
    let page = work.read("s.html");
    assert_eq!(page.matches("<img src=\"data:image/jpeg;base64,").count(), 3);
    assert!(page.contains("answered &lt;dog&gt; (0.8000)") && !page.contains("<dog>"));
    assert!(page.find("b.png").unwrap() < page.find("d.png").unwrap());
    let (_, told) = work.report("--limit 1");
    assert!(told.ends_with("  … and 1 more\n"), "{told}");
}

/// By hand, both views alike: cats have .4 and .2 of a cat, mean .3; dogs .9 and .6 of a dog, mean .75. d is a dog with
/// .6, which is the likeliest and does not reach .75, and a cat with .4, which reaches .3: cat is what makes it suspect,
/// and is told. a, with the same probabilities, is labelled so.
#[test]
fn what_makes_a_label_suspect_is_told() {
    let work = Work::new("likely");
    work.logits("none", Some(2), [0.4, 0.2, 0.1, 0.4].repeat(2).try_into().unwrap());
    let (done, told) = work.report("--csv s.csv --html s.html --limit 9");
    let line = "d.png: labelled <dog> (0.6000), answered <dog> (0.6000), likely cat (0.4000)";
    assert!(done && told.contains(line), "{told}");
    assert_eq!(
        work.read("s.csv").lines().skip(1).collect::<Vec<_>>(),
        [
            "b.png,cat,0.200000,<dog>,0.800000,<dog>,yes,yes",
            "\"a,1.png\",cat,0.400000,<dog>,0.600000,cat,no,yes",
            "d.png,<dog>,0.600000,<dog>,0.600000,cat,yes,yes",
            "c.png,<dog>,0.900000,<dog>,0.900000,<dog>,no,yes",
        ]
    );
    assert!(work.read("s.html").contains(", likely cat (0.4000)"));
}

/// Of teachers that may have seen the pictures this is said; views of two pictures are refused with what to do.
#[test]
fn doubts_that_mean_little_are_named() {
    let work = Work::new("seen");
    work.logits("none", None, CATS);
    let (done, told) = work.report("--csv s.csv --html s.html");
    assert!(done && told.contains("may have learnt these labels"), "{told}");
    assert!(told.contains("train --fold 1/K to K/K"), "{told}");
    assert!(work.read("s.html").contains("<p>The teachers may have learnt"));
    assert!(work.read("s.csv").contains("b.png,cat,0.200000,<dog>,0.800000,<dog>,yes,unknown\n"));
    work.logits("flip,cutmix=1,plain=0.5", Some(2), CATS);
    let (done, told) = work.report("");
    assert!(!done && told.contains("plain views are enough"), "{told}");
}
