//! What counts as the same, and that a fault is found.

use super::child::Child;
use super::ways::{Batch, Way};
use super::{Found, Line, compare, some, table, verdict};
use artifacts::{Framing, Input, Model, Preparation};
use common::device::Device;
use graph::Graph;
use graph::grid::Grids;
use std::path::{Path, PathBuf};
use views::{FixedViews, Normalization};

const SIZE: usize = 8;

fn model() -> Model {
    let text = "input 3;a:conv 3>6 k3 p1 bias;relu;b:conv 6>5 k1 bias;gap;f:linear 5>3 bias";
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size: SIZE, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = ["a", "b", "c"].map(String::from).into();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

/// How candle, with the weights of `other`, compares on 20 pictures.
fn candle(other: &Model) -> [Line; 1] {
    let model = model();
    let paths: Vec<PathBuf> = (0..20).map(|i| format!("{i}.png").into()).collect();
    let n = 3 * SIZE * SIZE;
    let planes = |i: usize| (0..n).map(|k| ((i * 97 + k * 31) * (k + i) % 256) as u8).collect();
    let planes: Vec<Vec<u8>> = (0..paths.len()).map(planes).collect();
    let mut engine = Way::here(Device::Cpu, &model).unwrap();
    let mut lines = [Line::new("candle", Way::here(Device::Candle, other))];
    compare(&mut engine, &mut lines, &Batch::new(&paths, planes, &model)).unwrap();
    lines
}

#[test]
fn a_wrong_weight_is_found() {
    let right = candle(&model());
    assert_eq!(verdict(&right).unwrap(), "the same logits by 2 ways, but for rounding");
    let mut broken = model();
    broken.weights.get_mut("b.weight").unwrap().values[7] += 0.1;
    let wrong = candle(&broken);
    let error = verdict(&wrong).unwrap_err().to_string();
    assert!(error.starts_with("candle answers ") && error.contains("of 20 pictures"), "{error}");
}

/// By hand, of tolerances 0.001 and 0.01.
#[test]
fn what_rounding_explains() {
    let off = |expected: [f32; 2], found: Option<[f32; 2]>| {
        let mut all = Found::default();
        let rows = [Some(expected), found].map(|row| vec![row.map(|r| r.to_vec())]);
        all.compare(&[PathBuf::from("p")], &rows[0], &rows[1]).unwrap();
        (all.pictures, all.refused, all.differ, all.wrong.len())
    };
    assert_eq!(off([0.5, 0.2], Some([0.5009, 0.2])), (1, 0, 0, 0));
    assert_eq!(off([0.5, 0.2], Some([0.5, 0.1985])), (1, 0, 0, 1));
    assert_eq!(off([0.5, 0.4995], Some([0.4995, 0.5])), (1, 0, 1, 0));
    assert_eq!(off([0.5, 0.49], Some([0.49, 0.5])), (1, 0, 1, 1));
    assert_eq!(off([-10.0, 4.0], Some([-10.0, 4.009])), (1, 0, 0, 0));
    assert_eq!(off([-10.0, 4.0], Some([-10.0, 4.02])), (1, 0, 0, 1));
    assert_eq!(off([0.5, 0.2], Some([f32::NAN, 0.2])).3, 1);
    assert_eq!(off([0.5, 0.2], None), (0, 1, 0, 0));
    let few = Found::default().compare(&[PathBuf::from("p")], &vec![Some(vec![1.0])], &vec![]);
    assert!(few.is_err(), "a picture without an answer");
}

#[test]
fn a_way_that_answers_nothing_is_a_failure_and_one_that_is_not_there_none() {
    let way = Way::here(Device::Candle, &model()).unwrap();
    let refused = Found { refused: 4, ..Found::default() };
    let lines = [Line { what: "candle", way: Ok((way, refused)) }];
    assert!(verdict(&lines).is_err());
    let absent = [
        Line::new("ONNX", Way::onnx("no-such-python")),
        Line::new("page", Way::page("no-such-node", Path::new("/none.wasm"), &model())),
    ];
    assert!(verdict(&absent).is_ok());
    let table = table(&absent, 7);
    assert!(
        table.contains("ONNX    -         not checked: no-such-python cannot be started"),
        "{table}"
    );
    assert!(table.contains("page    -         not checked: no /none.wasm"), "{table}");
}

/// `sh` writes the pieces byte by byte.
#[test]
fn a_program_says_who_it_is_or_why_not() {
    let start = |script| Child::start("sh", &["-c", script]);
    // What it gets it gives back: two parts, one piece.
    let mut child = start("printf '\\003\\000\\000\\000abc'; cat").unwrap();
    assert_eq!(child.name, "abc");
    child.give(&[b"to", b"gether"]).unwrap();
    assert_eq!(child.take().unwrap(), b"together");
    for (script, words) in [
        (
            "echo first >&2; echo 'ModuleNotFoundError: No module' >&2; echo at the end >&2",
            "No module",
        ),
        ("echo first >&2; echo last >&2", "last"),
        ("true", "it ended without a word"),
        ("printf '\\003\\000\\000\\000a'", "it ended without a word"),
    ] {
        let told = start(script).err().unwrap().to_string();
        assert!(told.contains(words), "{script}: {told}");
    }
}

#[test]
fn pictures_are_taken_at_equal_distances() {
    let all: Vec<PathBuf> = (0..10).map(|i| i.to_string().into()).collect();
    let taken =
        |n| some(all.clone(), n).iter().map(|p| p.display().to_string()).collect::<String>();
    assert_eq!(
        (taken(3).as_str(), taken(10).as_str(), taken(99).as_str()),
        ("036", "0123456789", "0123456789")
    );
}
