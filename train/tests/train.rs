//! The program: flags that go together, and what it says while it works.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Folds, Framing, Images, Model, Preparation, Provenance};
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../common/tests/reference/flags.rs"]
mod flags;
#[path = "../../common/tests/reference/recipes.rs"]
mod recipes;

const TRAIN: &str = env!("CARGO_BIN_EXE_train");

#[test]
fn flags_that_exclude_each_other_are_refused() {
    let table = [
        ("--width 1 --params 9", "'--width <WIDTH>' cannot be used with '--params <N>'"),
        ("--width 1 --bytes 9", "'--width <WIDTH>' cannot be used with '--bytes <N>'"),
        ("--params 9 --bytes 9", "'--params <N>' cannot be used with '--bytes <N>'"),
        ("--bits-per-weight 3", "not provided:\n  --bytes <N>"),
        ("--bits-per-weight 3 --width 1", "cannot be used with '--width <WIDTH>'"),
        ("--bits-per-weight 3 --params 9", "cannot be used with '--params <N>'"),
    ];
    let files = "--images none --validation none --out none/x --arch plain";
    let table = table.map(|(flags, told)| (format!("{files} {flags}"), told));
    flags::refused(TRAIN, &table.each_ref().map(|(flags, told)| (flags.as_str(), *told)));
    let table = [
        ("--init m --arch plain", "'--init <FILE>' cannot be used with '--arch <ARCH>'"),
        ("--init m --graph Cargo.toml", "'Cargo.toml' for '--graph <FILE>': line 1, node 0"),
        ("--graph none", "'none' for '--graph <FILE>': cannot read none"),
        ("--init m --width 1", "cannot be used with"),
        ("--init m --params 9", "cannot be used with"),
        ("--init m --bytes 9", "cannot be used with"),
        ("--init m --stem-stride 1", "cannot be used with"),
        ("--init m --raw-pixels", "cannot be used with '--raw-pixels'"),
        ("--arch plain --freeze 1", "cannot be used with"),
        ("--arch plain --body-lr 1", "cannot be used with"),
        ("", "not provided:\n  --arch <ARCH>"),
    ];
    let files = "--images none --validation none --out none/x";
    let table = table.map(|(flags, told)| (format!("{files} {flags}").trim().to_owned(), told));
    flags::refused(TRAIN, &table.each_ref().map(|(flags, told)| (flags.as_str(), *told)));
}

/// What a recipe says is understood: what is missing then is the pictures.
#[test]
fn the_flags_of_every_recipe_are_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (name, recipe) in recipes::all(root) {
        // A recipe without a family goes on from weights that its user gives.
        let fresh = recipe["TEACHER"].iter().any(|word| word == "--arch");
        let init: &[&str] = if fresh { &[] } else { &["--init", "none.safetensors"] };
        let done = Command::new(TRAIN)
            .args(init)
            .args(["--images", "none.safetensors", "--validation", "none.safetensors", "--out"])
            .arg(folder("recipes").join("x"))
            .args(&recipe["TEACHER"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(told.contains("cannot read none.safetensors"), "{name}: {told}");
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Pictures of 16 px, of two classes: bright and dark. Those of more numbers than two differ in a pixel.
fn pictures(path: &Path, chosen: &[usize]) {
    let value = |i: usize, p: usize| if p == 0 { i } else { i % 2 * 120 + p * 7 % 100 };
    let pixels = chosen.iter().flat_map(|i| (0..768).map(move |p| value(*i, p) as u8));
    Unsaved {
        preparation: Preparation { size: 16, framing: Framing::Crop, exif: false },
        classes: ["dark", "bright"].map(String::from).into(),
        labels: chosen.iter().map(|i| Some(i % 2)).collect(),
        names: chosen.iter().map(|i| format!("{}_{i}.png", i % 2)).collect(),
        pixels: Data::Bytes(pixels.collect()),
    }
    .save(path, &Provenance::new("test", &()).unwrap())
    .unwrap();
}

/// `train` on the pictures of `folder`; what it said on stderr.
fn train(folder: &Path, flags: &str) -> String {
    let images = folder.join("images.safetensors");
    let done = Command::new(TRAIN)
        .current_dir(folder)
        .arg("--images")
        .arg(&images)
        .arg("--validation")
        .arg(&images)
        .args(flags.split(' '))
        .output()
        .unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{flags}: {told}");
    told
}

/// Going on from a model: what is said, what the header keeps, what stays, and that a run given again is kept.
#[test]
fn training_goes_on_from_a_model() {
    let folder = folder("init");
    pictures(&folder.join("images.safetensors"), &[0, 1].repeat(10));
    train(&folder, "--arch plain --width 0.2 --batch 10 --epochs 1 --out a.safetensors");
    let load = |name: &str| Model::load(&folder.join(name)).unwrap();
    let (fresh, source) = load("a.safetensors");
    let settings = &source.provenance.settings;
    assert!(settings.get("freeze").is_none() && settings.get("body_lr").is_none());

    let flags =
        "--init a.safetensors --batch 10 --epochs 2 --freeze 2 --seed 3 --out b.safetensors";
    let told = train(&folder, flags);
    assert!(told.contains("a.safetensors: its last layer is kept"), "{told}");
    let (tuned, made) = load("b.last.safetensors");
    for (name, array) in &tuned.weights {
        assert_eq!(*array == fresh.weights[name], !name.starts_with("fc."), "{name}");
    }
    let settings = &made.provenance.settings;
    assert_eq!(settings["freeze"].to_string(), "2");
    assert_eq!(settings["body_lr"], f64::from(0.1f32));
    assert!(settings.get("arch").is_none() && settings.get("width").is_none());
    assert_eq!(made.provenance.parents["init"], source.hash);
    let before = std::fs::read(folder.join("b.safetensors")).unwrap();
    train(&folder, &format!("{flags} --reuse"));
    assert!(before == std::fs::read(folder.join("b.safetensors")).unwrap());

    // The same model, of three classes.
    let classes = ["x", "y", "z"].map(String::from).into();
    let text = fresh.graph.to_string().replace(">2 bias", ">3 bias");
    let graph: graph::Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 5);
    let views = "flip,zoom=2".parse().unwrap();
    let other = Model { graph, weights, classes, views, ..fresh };
    other.save(&folder.join("c.safetensors"), &Provenance::new("test", &()).unwrap()).unwrap();
    let told = train(&folder, "--init c.safetensors --batch 10 --epochs 1 --out d.safetensors");
    assert!(
        told.contains("its last layer, for 3 classes, is drawn anew for the pictures' 2"),
        "{told}"
    );
    let (last, _) = load("d.safetensors");
    assert_eq!(last.classes, ["dark", "bright"]);
    assert_eq!(last.views, views, "the pictures have the same size");
}

/// What is said of it, what the header keeps, and that the very network is trained; --arch and sizes exclude it.
#[test]
fn a_network_of_ones_own_is_trained() {
    let folder = folder("graph");
    pictures(&folder.join("images.safetensors"), &[0, 1].repeat(10));
    let net = "# mine\n\ninput 3\na:conv 3>4 k3 s2 p1 bias  # 8 x 8\nrelu\n\nb:conv 4>4 k3 p1 g4\n\
               add @3,2\ngap\nf:linear 4>2 bias\n";
    let write = |text: &str| std::fs::write(folder.join("net.txt"), text).unwrap();
    write(net);
    let flags = "--graph net.txt --batch 10 --epochs 1 --raw-pixels --out a.safetensors";
    train(&folder, flags);
    let (model, source) = Model::load(&folder.join("a.safetensors")).unwrap();
    let graph =
        "input 3;a:conv 3>4 k3 s2 p1 bias;relu;b:conv 4>4 k3 p1 g4;add @3,2;gap;f:linear 4>2 bias";
    assert_eq!(model.graph.to_string(), graph);
    // By hand: 3·4·9 + 4, 4·9, 4·2 + 2.
    assert_eq!(model.graph.parameter_count(), 158);
    let settings = &source.provenance.settings;
    assert_eq!(settings["graph"], graph);
    assert_eq!(settings["raw_pixels"], true);
    assert!(settings.get("arch").is_none() && settings.get("width").is_none(), "{settings}");
    // The same network in other words is the same run; another is another.
    let before = std::fs::read(folder.join("a.safetensors")).unwrap();
    write(&net.replace("# mine", "# still mine"));
    std::fs::remove_file(folder.join("a.epochs.csv")).unwrap();
    train(&folder, &format!("{flags} --reuse"));
    assert!(before == std::fs::read(folder.join("a.safetensors")).unwrap());
    assert!(!folder.join("a.epochs.csv").exists(), "nothing was trained");
    write(&net.replace("relu", "relu6"));
    train(&folder, &format!("{flags} --reuse"));
    let (other, _) = Model::load(&folder.join("a.safetensors")).unwrap();
    assert_eq!(other.graph.to_string(), graph.replace("relu", "relu6"));

    let refused = |text: &str, flags: &str, told: &str| {
        write(text);
        let flags = format!("--images images.safetensors --validation images.safetensors {flags}");
        let done =
            Command::new(TRAIN).current_dir(&folder).args(flags.split(' ')).output().unwrap();
        let found = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && found.contains(told), "{flags}: {found}");
    };
    for (word, other, told) in [
        ("4>4 k3", "5>5 k3", "line 7, node 3: \"conv 5>5 k3 p1 g4\""),
        (
            "relu",
            "rely",
            "line 5, node 2, \"rely\": unknown operation \"rely\"; known: input, conv",
        ),
        ("linear 4>2", "linear 4>3", "net.txt: its last node gives 3 logits, the pictures have 2"),
        ("k3 s2", "s2", "line 4, node 1, \"a:conv 3>4 s2 p1 bias\": expected a window kN"),
    ] {
        refused(&net.replace(word, other), "--graph net.txt --out x", told);
    }
    let excluded = "'--graph <FILE>' cannot be used with";
    for more in ["--arch plain", "--width 1", "--params 9", "--stem-stride 1"] {
        refused(net, &format!("--graph net.txt --out x {more}"), excluded);
    }
    refused(net, "--graph net.txt --out net.txt", "net.txt");
    assert!(std::fs::read_to_string(folder.join("net.txt")).unwrap() == net);
}

/// Where there is no terminal: a line per epoch, with the numbers of the CSV. Two steps an epoch; after
/// a warm-up of one epoch the cosine goes from 0.01 to 0 in six steps, of which the second, fourth and sixth
/// end an epoch: ½(1 + cos 60°) = 0.75, ½(1 + cos 120°) = 0.25, ½(1 + cos 180°) = 0.
#[test]
fn every_epoch_is_told() {
    let folder = folder("epochs");
    let at = |name: &str| folder.join(name);
    pictures(&at("images.safetensors"), &[0, 1].repeat(10));
    let done = Command::new(TRAIN)
        .args("--arch plain --width 0.2 --batch 10 --epochs 4 --lr 0.01 --warmup 1".split(' '))
        .arg("--images")
        .arg(at("images.safetensors"))
        .arg("--validation")
        .arg(at("images.safetensors"))
        .arg("--out")
        .arg(at("x.safetensors"))
        .output()
        .unwrap();
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{told}");
    let csv = std::fs::read_to_string(at("x.epochs.csv")).unwrap();
    let rows = csv.lines().skip(1).zip(["1.00e-2", "7.50e-3", "2.50e-3", "0.00e0"]);
    let wanted: Vec<String> = rows
        .map(|(row, lr)| {
            let [epoch, loss, top1] = row.split(',').collect::<Vec<_>>()[..] else {
                panic!("{row}")
            };
            let [loss, top1] = [loss, top1].map(|v| v.parse::<f64>().unwrap());
            format!(
                "epoch {epoch} of 4: loss {loss:.3}, validation top-1 {top1:.4}, learning rate {lr}"
            )
        })
        .collect();
    let (found, left): (Vec<&str>, Vec<&str>) =
        told.lines().map(|l| l.split_once(", about ").unwrap_or((l, ""))).unzip();
    assert_eq!(found, wanted);
    // How long the rest takes is told while there is a rest.
    assert!(left[..3].iter().all(|l| l.ends_with("left")) && left[3].is_empty(), "{told}");
}

/// Without the pictures of a fold a network learns what it learns of a file that has the others alone, weight by weight;
/// the header says which fold that was. Going on from what has seen the fold is refused, from what left it out is not.
#[test]
fn a_fold_is_left_out() {
    let folder = folder("fold");
    pictures(&folder.join("images.safetensors"), &(0..20).collect::<Vec<_>>());
    let images = Images::load(&folder.join("images.safetensors")).unwrap();
    let folds = Folds::new(&images, 2).unwrap();
    std::fs::create_dir_all(folder.join("rest")).unwrap();
    pictures(&folder.join("rest/images.safetensors"), folds.members(0));
    let flags = "--arch plain --width 0.2 --raw-pixels --batch 5 --epochs 3 --out a.safetensors";
    train(&folder, &format!("{flags} --fold 2/2"));
    train(&folder.join("rest"), flags);
    let load = |name: &str| Model::load(&folder.join(name)).unwrap();
    let (model, source) = load("a.last.safetensors");
    assert_eq!(model.weights, load("rest/a.last.safetensors").0.weights);
    assert_eq!(source.provenance.settings["fold"], "2/2");
    assert!(load("rest/a.last.safetensors").1.provenance.settings.get("fold").is_none());

    let on = "--init a.safetensors --batch 5 --epochs 1 --out b.safetensors";
    train(&folder, &format!("{on} --fold 2/2"));
    for (flags, expected) in [
        ("--init a.safetensors --fold 1/2", "a.safetensors: it was made with these pictures"),
        ("--init a.safetensors --fold 3/2", "the folds are 1/2 to 2/2"),
        ("--arch plain --fold 1/30", "30 folds of 20 pictures, 20 of them different: take fewer"),
    ] {
        let mut train = Command::new(TRAIN);
        train.current_dir(&folder).args("--images images.safetensors --validation".split(' '));
        train.args("images.safetensors --out c.safetensors".split(' ')).args(flags.split(' '));
        let told = String::from_utf8(train.output().unwrap().stderr).unwrap();
        assert!(told.contains(expected), "{flags}: {told}");
    }
}
