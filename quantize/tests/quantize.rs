//! The program: flags that go together, and what a file keeps.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Framing, Input, Model, Plan, Preparation, Provenance};
use graph::grid::Grids;
use std::path::{Path, PathBuf};
use std::process::Command;
use views::{FixedViews, Normalization};

#[path = "../../common/tests/reference/flags.rs"]
mod flags;

const QUANTIZE: &str = env!("CARGO_BIN_EXE_quantize");

/// A folder with the model `plain` in it, for pictures of 16 px of two classes.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let graph: graph::Graph =
        "input 3;a:conv 3>4 k3 bias;b:bn 4;relu;gap;f:linear 4>2 bias".parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let input = Input { preparation: PREPARATION, normalization: Normalization::NONE };
    Model {
        graph,
        weights,
        input,
        classes: classes(),
        grids: Grids::new(),
        views: FixedViews::PLAIN,
    }
    .save(&folder.join("plain"), &Provenance::new("test", &()).unwrap())
    .unwrap();
    folder
}

const PREPARATION: Preparation = Preparation { size: 16, framing: Framing::Crop, exif: false };

fn classes() -> Vec<String> {
    vec!["a".into(), "b".into()]
}

/// The program in `folder`; what it prints, or says where it fails.
fn quantize(folder: &Path, flags: &str) -> Result<String, String> {
    let done = Command::new(QUANTIZE).current_dir(folder).args(flags.split(' ')).output().unwrap();
    let [printed, told] = [done.stdout, done.stderr].map(|said| String::from_utf8(said).unwrap());
    if done.status.success() { Ok(printed) } else { Err(told) }
}

/// Files from before last layers were joined hold them apart: what is on grids keeps them, through plan and pack, and a
/// plan for layers that are joined today says what to do.
#[test]
fn what_is_on_grids_keeps_its_layers() {
    let folder = folder("apart");
    let text = "input 3;a:conv 3>4 k3 bias;relu;b:conv 4>4 k1 bias;gap;f:linear 4>2 bias";
    let graph: graph::Graph = text.parse().unwrap();
    let (mut model, _) = Model::load(&folder.join("plain")).unwrap();
    (model.weights, model.graph) = (graph::init::weights(&graph, 3), graph);
    let choices = codec::uniform_choices(&model.graph, codec::Rows::Tensor, 6);
    let rounded = codec::Quantized::new(&model.graph, &model.weights, &choices).unwrap();
    let save = |model: &Model, name: &str| {
        model.save(&folder.join(name), &Provenance::new("test", &()).unwrap()).unwrap();
    };
    save(&model, "float");
    let apart = Model { weights: rounded.weights().unwrap(), grids: rounded.grids(), ..model };
    save(&apart, "apart");
    quantize(&folder, "pack --model apart --out apart.bin").unwrap();
    quantize(&folder, "pack --model apart.bin --views flip --out views.bin").unwrap();
    quantize(&folder, "pack --model float --bits 6 --out joined.bin").unwrap();
    let stored = |name: &str| Model::load(&folder.join(name)).unwrap().0;
    assert_eq!(stored("apart.bin").weights, apart.weights);
    assert_eq!(stored("views.bin").weights, apart.weights);
    assert!(!stored("joined.bin").weights.contains_key("b.weight"));

    let (payload, sensitivity) = (rounded.encode(&apart.graph).unwrap(), None);
    let plan = Plan { budget: 9000, bytes: 1, lambda: 0.0, choices, payload, sensitivity };
    let (_, float) = Model::load(&folder.join("float")).unwrap();
    let made = Provenance::new("quantize plan", &()).unwrap().from("model", &float);
    plan.save(&folder.join("old"), &made).unwrap();
    let told = quantize(&folder, "pack --model float --plan old --out x").unwrap_err();
    assert!(told.contains("old: the plan is for b.bias") && told.contains("plan again"), "{told}");
}

/// What pack writes of a plan is the plan's own stream, which needs no labels, to the byte; for fewer bytes there must
/// be another plan.
#[test]
fn a_plan_is_packed_as_it_stands() {
    let folder = folder("plan");
    let pixels = (0..20 * 768u32).map(|i| (i * 7919 % 251) as u8).collect();
    Unsaved {
        preparation: PREPARATION,
        classes: Vec::new(),
        labels: vec![None; 20],
        names: (0..20).map(|i| format!("{i}.png")).collect(),
        pixels: Data::Bytes(pixels),
    }
    .save(&folder.join("pictures"), &Provenance::new("test", &()).unwrap())
    .unwrap();
    let plan = "plan --model plain --images pictures --budget 900";
    // Of the 20 pictures those that decide on a plan say little of others, and are not taken for them.
    for (flags, judged) in [
        ("", "; of 20 pictures that decided a share"),
        ("", "; there are no others, and the answers"),
        (" --pictures 12", "; of 8 other pictures a share"),
        (" --bits 8", "; of 20 pictures a share"),
    ] {
        let printed = quantize(&folder, &format!("{plan}{flags}")).unwrap();
        assert!(printed.contains(judged), "{flags}: {printed}");
    }
    quantize(&folder, &format!("{plan} --out p")).unwrap();
    quantize(&folder, "pack --model plain --plan p --out m.bin").unwrap();
    let (plan, _) = Plan::load(&folder.join("p")).unwrap();
    let file = std::fs::read(folder.join("m.bin")).unwrap();
    assert!(file.ends_with(&plan.payload) && !plan.payload.is_empty());
    assert_eq!(file.len(), plan.bytes);
    let told = quantize(&folder, "pack --model plain --plan p --budget 500 --out x").unwrap_err();
    assert!(told.contains("quantize plan --budget 500") && !folder.join("x").exists(), "{told}");
    let told = quantize(&folder, "plan --model plain --images pictures --budget 300").unwrap_err();
    assert!(told.contains("the network takes") && told.contains("the budget is 300"), "{told}");
}

/// Views are set, kept by what is made of the file, overridden, and refused where they are too wide.
#[test]
fn a_file_keeps_its_views() {
    let folder = folder("views");
    let views = |name: &str| Model::load(&folder.join(name)).unwrap().0.views.to_string();
    for (flags, made, expected) in [
        (
            "pack --model plain --views flip,shift=2,zoom=4 --out a.bin",
            "a.bin",
            "flip,shift=2,zoom=4",
        ),
        ("unpack --model a.bin --out b", "b", "flip,shift=2,zoom=4"),
        ("pack --model b --bits 5 --out c.bin", "c.bin", "flip,shift=2,zoom=4"),
        ("pack --model b --views flip --out d.bin", "d.bin", "flip"),
        ("pack --model b --views none --out e.bin", "e.bin", "none"),
    ] {
        quantize(&folder, flags).unwrap();
        assert_eq!(views(made), expected, "{flags}");
    }
    quantize(&folder, "pack --model b --format encode8 --out v.pkl").unwrap();
    let told = quantize(&folder, "pack --model plain --views zoom=5 --out x.bin").unwrap_err();
    assert!(told.contains("--views zoom=5: more than a quarter of a side of 16 px"), "{told}");
    assert!(!folder.join("x.bin").exists());
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/x");
    let course = "cannot be used with the course's formats";
    let table = [
        ("pack", "--plan none --bits 4", "'--plan <PLAN>' cannot be used with '--bits <BITS>'"),
        (
            "pack",
            "--grid tensor --plan none",
            "'--grid <GRID>' cannot be used with '--plan <PLAN>'",
        ),
        ("pack", "--format encode8 --bits 4", course),
        ("pack", "--format encode16 --plan none", course),
        ("pack", "--format encode8 --grid tensor", course),
        ("pack", "--format encode8 --calibrate none", course),
        ("pack", "--format encode16 --views flip", course),
        ("pack", "--views flop", "expected none, flip, shift=P, zoom=P"),
        ("pack", "--false-reject 0.1", "not provided:\n  --calibrate <IMAGES>"),
        // The usual form by name excludes nothing.
        ("pack", "--format crumb --bits 4", "cannot read none"),
        ("pack", "--format crumb --grid tensor", "cannot read none"),
        ("pack", "--format encode8", "cannot read none"),
        ("plan", "--images none --bits 4 --pictures 5", "cannot read none"),
        (
            "plan",
            "--images none --bits 4 --augment flip",
            "'--bits <BITS>' cannot be used with '--augment <AUGMENT>'",
        ),
        ("plan", "--images none --seed 1", "not provided:\n  --augment <AUGMENT>"),
    ];
    let table = table.map(|(command, flags, told)| {
        (format!("{command} --model none {flags} --out {out}"), told)
    });
    flags::refused(QUANTIZE, &table.each_ref().map(|(flags, told)| (flags.as_str(), *told)));
    flags::refused(
        QUANTIZE,
        &[("plan --model none --images none --reuse", "not provided:\n  --out <FILE>")],
    );
}
