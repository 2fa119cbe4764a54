//! The program: flags that go together, what it records, and pictures without labels.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::logits::Views;
use artifacts::{Artifact, Framing, Images, Logits, Model, Preparation, Provenance};
use graph::Array;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "../../common/tests/reference/flags.rs"]
mod flags;
#[path = "../../common/tests/reference/recipes.rs"]
mod recipes;

const DISTILL: &str = env!("CARGO_BIN_EXE_distill");

#[test]
fn flags_that_exclude_or_need_each_other_are_refused() {
    let with_init = [
        ("--arch plain", "--arch <ARCH>"),
        ("--width 1", "--width <WIDTH>"),
        ("--params 9", "--params <N>"),
        ("--bytes 9", "--bytes <N>"),
        ("--bytes 9 --bits-per-weight 3", "--bytes <N>"),
        ("--stem-stride 1", "--stem-stride <N>"),
        ("--extra-blocks 1", "--extra-blocks <N>"),
        ("--raw-pixels", "--raw-pixels"),
    ];
    let others = [
        ("--arch plain --settle 0.25", "'--arch <ARCH>' cannot be used with '--settle <SETTLE>'"),
        ("--arch plain --quant none", "'--arch <ARCH>' cannot be used with '--quant <PLAN>'"),
        ("--init none --settle 0.1", "not provided:\n  --quant <PLAN>"),
        ("--quant none --settle 0.1", "not provided:\n  --init <FILE>"),
        ("--quant none --width 1", "'--quant <PLAN>' cannot be used with"),
        ("--arch plain --width 1 --params 9", "cannot be used with"),
        ("--arch plain --bits-per-weight 3", "not provided:\n  --bytes <N>"),
        ("", "not provided:\n  --arch <ARCH>"),
        // These go together.
        ("--init none --quant none --settle 1", "cannot read none"),
        ("--arch plain --raw-pixels --extra-blocks 1 --stem-stride 1", "cannot read none"),
    ];
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/x");
    let files = format!("--images none --validation none --logits none --out {out}");
    for (flags, flag) in with_init {
        let all = format!("{files} --init none {flags}");
        for told in ["'--init <FILE>' cannot be used with", flag] {
            flags::refused(DISTILL, &[(&all, told)]);
        }
    }
    for (flags, told) in others {
        flags::refused(DISTILL, &[(&format!("{files} {flags}"), told)]);
    }
}

/// What a recipe says is understood: what is missing then is the pictures.
#[test]
fn the_flags_of_every_recipe_are_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/recipe");
    let files = format!("--images none.safetensors --validation none --logits none --out {out}");
    for (name, recipe) in recipes::all(root) {
        for (variable, more) in
            [("STUDENT", ""), ("TUNE", "--init none"), ("QUANT", "--init none --quant none")]
        {
            if recipe[variable].is_empty() {
                continue;
            }
            let flags = format!("{files} {more} {}", recipe[variable].join(" "));
            let done = Command::new(DISTILL).args(flags.split_whitespace()).output().unwrap();
            let told = String::from_utf8_lossy(&done.stderr);
            assert!(told.contains("cannot read none.safetensors"), "{name}, {variable}: {told}");
        }
    }
}

const PICTURES: usize = 20;

/// Pictures of two classes and a teacher's logits for two views of each.
struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let work = Self(folder);
        work.pictures("labelled", true);
        work.pictures("unlabelled", false);
        work
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn pictures(&self, name: &str, labelled: bool) {
        let bytes =
            (0..PICTURES).flat_map(|i| (0..768).map(move |p| (i % 2 * 120 + p * 7 % 100) as u8));
        let path = self.at(name);
        let classes =
            if labelled { vec!["dark".to_owned(), "bright".to_owned()] } else { Vec::new() };
        Unsaved {
            preparation: Preparation { size: 16, framing: Framing::Crop, exif: false },
            classes,
            labels: (0..PICTURES).map(|i| labelled.then_some(i % 2)).collect(),
            names: (0..PICTURES).map(|i| format!("{i}.png")).collect(),
            pixels: Data::Bytes(bytes.collect()),
        }
        .save(&path, &Provenance::new("test", &()).unwrap())
        .unwrap();
        let images = Images::load(&path).unwrap().source.hash;
        let views = Views {
            policy: "flip,cutmix=1".parse().unwrap(),
            seed: 1,
            views: 2,
            images,
            folds: None,
        };
        let logits =
            (0..2 * PICTURES).flat_map(|i| if i % 2 == 0 { [3.0, -2.0] } else { [-1.0, 2.5] });
        let logits = Array::new(vec![2, PICTURES, 2], logits.collect()).unwrap();
        let path = self.at(&format!("{name}.logits"));
        Logits::save(&path, &views, &Provenance::new("test", &()).unwrap(), &logits).unwrap();
    }

    fn distill(&self, images: &str, validation: &str, flags: &str, out: &str) -> Output {
        let mut distill = Command::new(DISTILL);
        distill.args("--epochs 3 --batch 10 --ema 0.999 --label-smoothing 0.1 --seed 4".split(' '));
        let flags = flags.replace("FOLDER", self.0.to_str().unwrap());
        distill.args(flags.split_whitespace());
        let logits = format!("{images}.logits");
        for (flag, name) in [
            ("--images", images),
            ("--validation", validation),
            ("--logits", &logits),
            ("--out", out),
        ] {
            distill.arg(flag).arg(self.at(name));
        }
        distill.output().unwrap()
    }
}

fn succeeded(done: &Output) {
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// At α = 1 the loss is the teacher's alone: pictures without labels make the same network, weight by
/// weight, as those with labels.
#[test]
fn a_teacher_alone_needs_no_labels() {
    let work = Work::new("unlabelled");
    let fresh = "--arch plain --width 0.2 --alpha 1";
    for images in ["labelled", "unlabelled"] {
        succeeded(&work.distill(images, "labelled", fresh, &format!("{images}.student")));
        let init = format!("--alpha 1 --init FOLDER/{images}.student");
        succeeded(&work.distill(images, "labelled", &init, &format!("{images}.tuned")));
    }
    for made in ["student", "tuned"] {
        let [a, b] = ["labelled", "unlabelled"]
            .map(|images| Model::load(&work.at(&format!("{images}.{made}"))).unwrap().0);
        assert_eq!(a.weights, b.weights, "{made}");
        assert_eq!((&a.classes, &a.input), (&b.classes, &b.input), "{made}");
    }
    let refused = |images, validation, alpha: &str, expected: &[&str]| {
        let flags = format!("--arch plain --width 0.2 --alpha {alpha}");
        let done = work.distill(images, validation, &flags, "refused");
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && !work.at("refused").exists());
        assert!(expected.iter().all(|e| told.contains(e)), "{told}");
    };
    let missing = "20 of 20 pictures have no label";
    refused("unlabelled", "labelled", "0.99", &["--alpha 1", "/unlabelled: ", missing]);
    // Which epoch was best is measured on labels.
    refused("labelled", "unlabelled", "1", &["/unlabelled: ", missing]);
}

/// What decides nothing is not recorded, and a run is known again.
#[test]
fn a_network_that_is_given_has_no_width() {
    let work = Work::new("records");
    succeeded(&work.distill("labelled", "labelled", "--arch plain --width 0.2", "fresh"));
    let init = "--init FOLDER/fresh";
    succeeded(&work.distill("labelled", "labelled", init, "tuned"));
    let settings = |name| Artifact::read(&work.at(name)).unwrap().source.provenance.settings;
    let fresh = settings("fresh");
    assert_eq!((&fresh["arch"], &fresh["raw_pixels"]), (&"plain".into(), &false.into()));
    assert_eq!(fresh["width"], f64::from(0.2f32));
    let bytes = std::fs::read(work.at("tuned")).unwrap();
    for key in ["arch", "width", "raw_pixels"] {
        let written = format!("\\\"{key}\\\"");
        assert!(!String::from_utf8_lossy(&bytes).contains(&written), "{key}");
    }
    let done = work.distill("labelled", "labelled", &format!("{init} --reuse"), "tuned");
    succeeded(&done);
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(told.contains("made by this very command before, kept"), "{told}");
}
