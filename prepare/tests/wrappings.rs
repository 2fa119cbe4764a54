//! A network of a known family under the names that programs give its tensors, and beside other tensors:
//! `make_wrappings.py` writes down what PyTorch calls them.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::Model;
use artifacts::artifact::Artifact;
use graph::families::{self, Knobs};
use graph::{Array, Graph, Weights};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

include!("wrappings.in");

/// What is said to be left over of each wrapping, and of which other network.
const LEFT: &[(&str, &str, &str)] = &[
    ("AveragedModel", "left over: n_averaged", ""),
    ("Lightning, model and criterion", "plain under model; left over: criterion.weight", ""),
    ("Lightning, the module itself with a criterion", "plain; left over: criterion.weight", ""),
    ("m", "plain under m", ""),
    ("base_model", "plain under base_model", ""),
    ("module.student.base_model", "plain under student.base_model", ""),
    ("thop", "plain; left over: total_ops (", ""),
    (
        "student and a larger teacher",
        "under student; left over: teacher (",
        "teacher reads another: plain",
    ),
    (
        "MoCo",
        "left over: queue, queue_ptr, encoder_k (32 tensors)",
        "encoder_k reads another: plain",
    ),
    (
        "model and its average",
        "left over: model_ema.n_averaged, model_ema (32 tensors)",
        "model_ema reads another: plain",
    ),
    ("Sequential behind a scaling", "plain under 1; left over: 0 (2 tensors)", ""),
    ("with a projection of its own", "plain under net; left over: projection (2 tensors)", ""),
];

fn prepare(folder: &Path, flags: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prepare"));
    command.current_dir(folder).args(["model", "x.pt", "--out", "out.safetensors", "--size", "32"]);
    let output = command.args(flags).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// A folder with a PyTorch file of these tensors.
fn folder(entries: &[(String, Array)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint::state_dict::encode(entries).unwrap();
    fs::write(folder.path().join("x.pt"), file).unwrap();
    folder
}

fn family(name: &str, width: f32, classes: usize) -> (Graph, Weights) {
    let knobs = Knobs { width, ..Knobs::standard(classes) };
    let graph = families::find(name).unwrap().build(&knobs).unwrap();
    let weights = graph::init::weights(&graph, 1);
    (graph, weights)
}

/// The tensors of `graph` in its order, with something before their names.
fn entries(graph: &Graph, weights: &Weights, prefix: &str) -> Vec<(String, Array)> {
    graph.parameters().map(|p| (format!("{prefix}{}", p.name), weights[&p.name].clone())).collect()
}

/// The model that was written holds these weights, those of batch norms' counters aside.
fn holds(folder: &Path, graph: &Graph, weights: &Weights) {
    let (model, _) = Model::load(&folder.join("out.safetensors")).unwrap();
    assert_eq!(model.graph, *graph);
    for p in graph.parameters() {
        assert_eq!(model.weights[&p.name], weights[&p.name], "{}", p.name);
    }
}

#[test]
fn a_family_is_found_in_every_wrapping() {
    let (graph, weights) = family("plain", 0.125, 4);
    for (title, lines) in WRAPPINGS {
        let mut entries = Vec::new();
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let shape: Vec<usize> = words[2..].iter().map(|n| n.parse().unwrap()).collect();
            let own = words[1].parse::<usize>().ok().and_then(|at| weights.get(PLAIN[at]));
            let array = own.cloned().unwrap_or_else(|| Array::filled(&shape, 0.5));
            assert_eq!(array.shape, shape, "{title}: {line}");
            entries.push((words[0].to_owned(), array));
        }
        let folder = folder(&entries);
        let (made, said) = prepare(folder.path(), &[]);
        assert!(made.status.success(), "{title}: {said}");
        let summary = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(summary.contains(": plain of "), "{title}: {summary}{said}");
        holds(folder.path(), &graph, &weights);
        match LEFT.iter().find(|(t, ..)| t == title) {
            Some((_, left, other)) => {
                assert!(said.contains(left) && said.contains(other), "{title}: {said}");
            }
            None => assert!(!said.contains("left over"), "{title}: {said}"),
        }
    }
    assert_eq!(WRAPPINGS.len(), 20);
}

/// Another than the first of several is taken by its name.
#[test]
fn another_network_is_taken_by_its_name() {
    let (small, small_weights) = family("plain", 0.125, 4);
    let (large, large_weights) = family("plain", 0.25, 4);
    let both =
        [entries(&small, &small_weights, "student."), entries(&large, &large_weights, "teacher.")];
    let folder = folder(&both.concat());
    for (flags, graph, weights) in [
        (&[][..], &small, &small_weights),
        (&["--weights-of", "teacher"], &large, &large_weights),
        (&["--weights-of", "student"], &small, &small_weights),
    ] {
        let (made, said) = prepare(folder.path(), flags);
        assert!(made.status.success(), "{said}");
        holds(folder.path(), graph, weights);
    }
    let (made, said) = prepare(folder.path(), &["--weights-of", "ema"]);
    assert!(!made.status.success());
    assert!(
        said.contains("--weights-of: nothing is called ema: names begin with student, teacher"),
        "{said}"
    );
}

/// Which part of a file was read stands in what was made of it, model or bundle, and nothing where all was.
#[test]
fn the_part_that_was_read_is_recorded() {
    let (graph, weights) = family("plain", 0.125, 4);
    let known = [entries(&graph, &weights, "a."), entries(&graph, &weights, "b.")].concat();
    let other: Graph = "input 3;x:conv 3>4 k3;relu;gap;f:linear 4>2".parse().unwrap();
    let drawn = graph::init::weights(&other, 1);
    let unknown = [entries(&other, &drawn, "a."), entries(&other, &drawn, "b.")].concat();
    for tensors in [known, unknown] {
        let folder = folder(&tensors);
        for part in [Some("a"), Some("b"), None] {
            let flags: Vec<&str> = part.iter().flat_map(|p| ["--weights-of", p]).collect();
            let (made, said) = prepare(folder.path(), &flags);
            assert!(made.status.success(), "{said}");
            let made = Artifact::read(&folder.path().join("out.safetensors")).unwrap();
            let settings = &made.source.provenance.settings;
            let recorded = settings.get("weights_of").and_then(|v| v.as_str());
            assert_eq!(recorded, part, "{settings}");
        }
    }
}

/// A graph of one's own is found the same way.
#[test]
fn a_given_graph_is_found_under_any_name() {
    let text = "input 3;a:conv 3>4 k3 bias;relu;gap;f:linear 4>2 bias";
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 2);
    let mut tensors = entries(&graph, &weights, "module.encoder_q.m.");
    tensors.push(("module.encoder_q.m.total_ops".to_owned(), Array::filled(&[1], 0.0)));
    tensors.push(("module.queue".to_owned(), Array::filled(&[4, 2], 0.0)));
    let folder = folder(&tensors);
    let (made, said) = prepare(folder.path(), &["--graph", text]);
    assert!(made.status.success(), "{said}");
    holds(folder.path(), &graph, &weights);
    assert!(said.contains("left over: encoder_q.m.total_ops, queue"), "{said}");
}

/// torchvision's own download of DenseNet-121 has names that its code no longer has.
#[test]
fn densenets_first_names_are_known() {
    for (was, name) in DENSENET {
        assert_eq!(families::current_name(was), *name);
        assert_eq!(families::current_name(name), *name);
    }
    let (graph, weights) = family("densenet121", 0.07, 3);
    let renamed: Vec<(String, Array)> = entries(&graph, &weights, "")
        .into_iter()
        .map(|(name, array)| {
            let halves = [
                (".norm1.", ".norm.1."),
                (".norm2.", ".norm.2."),
                (".conv1.", ".conv.1."),
                (".conv2.", ".conv.2."),
            ];
            (halves.iter().fold(name, |n, (from, to)| n.replace(from, to)), array)
        })
        .collect();
    assert!(
        renamed
            .iter()
            .filter(|(n, _)| n.contains("denselayer"))
            .all(|(n, _)| !weights.contains_key(n))
    );
    let folder = folder(&renamed);
    let (made, said) = prepare(folder.path(), &[]);
    assert!(made.status.success(), "{said}");
    holds(folder.path(), &graph, &weights);
}

/// A network that has a family's names and computes something else is none: what differs is said.
#[test]
fn what_differs_is_always_said() {
    let (graph, weights) = family("resnet18", 0.1, 7);
    let own = entries(&graph, &weights, "");
    let with = |more: &[(&str, &[usize])]| -> Vec<(String, Array)> {
        let more = more.iter().map(|(n, s)| ((*n).to_owned(), Array::filled(s, 0.5)));
        own.iter().cloned().chain(more).collect()
    };
    let without_head: Vec<_> = own.iter().filter(|(n, _)| !n.starts_with("fc")).cloned().collect();
    let backbone = |tensors: Vec<(String, Array)>| -> Vec<(String, Array)> {
        tensors.into_iter().map(|(n, a)| (format!("backbone.{n}"), a)).collect()
    };
    let mut read = backbone(own.clone());
    read.push(("fc.weight".to_owned(), Array::filled(&[3, 7], 0.5)));
    let other: Graph = "input 3;a:conv 3>4 k3 bias;relu;gap;f:linear 4>2 bias".parse().unwrap();
    let other = entries(&other, &graph::init::weights(&other, 1), "");
    let tensors = own.len();
    for (tensors, said_of_it) in [
        // Squeeze-and-excitation inside its blocks.
        (
            with(&[("layer1.0.se.fc1.weight", &[1, 6]), ("layer1.0.se.fc2.weight", &[6, 1])]),
            format!("nearest is resnet18: of its {tensors} tensors {tensors} are here; not of it: layer1.0.se.fc1.weight, layer1.0.se.fc2.weight"),
        ),
        // A layer beside its own ones.
        (
            with(&[("attention.weight", &[6, 6])]),
            "all tensors of a resnet18 are here; if attention.weight beside them are no part of what it \
             computes, --arch resnet18 takes it without them".to_owned(),
        ),
        // A layer that reads the answers.
        (
            read.clone(),
            "all tensors of a resnet18 are here under backbone, and fc.weight may read its 7 answers; if not, \
             --weights-of backbone takes it alone".to_owned(),
        ),
        // The head is missing, or another.
        (
            backbone(without_head),
            format!("nearest is resnet18 (under backbone): of its {tensors} tensors {} are here; missing: fc.weight, fc.bias", tensors - 2),
        ),
        // Nothing is called as in any family.
        (other, "tensors 0 are here; missing: ".to_owned()),
    ] {
        let folder = folder(&tensors);
        let (made, said) = prepare(folder.path(), &[]);
        assert!(made.status.success(), "{said}");
        assert!(said.contains("none of the known networks; ") && said.contains(&said_of_it), "{said}");
        assert!(String::from_utf8_lossy(&made.stdout).contains("input 3"), "a draft");
    }
    // What was doubted is taken where it is asked for.
    let beside = folder(&with(&[("attention.weight", &[6, 6])]));
    let (made, said) = prepare(beside.path(), &["--arch", "resnet18"]);
    assert!(made.status.success() && said.contains("left over: attention.weight"), "{said}");
    holds(beside.path(), &graph, &weights);
    let read = folder(&read);
    let (made, said) = prepare(read.path(), &["--weights-of", "backbone"]);
    assert!(made.status.success(), "{said}");
    holds(read.path(), &graph, &weights);
    let (made, said) = prepare(read.path(), &["--arch", "plain"]);
    assert!(
        !made.status.success() && said.contains("not --arch plain: nearest is plain"),
        "{said}"
    );
}

/// A file of very many small modules, and of very deep ones, is looked through in no time.
#[test]
fn many_modules_take_no_time() {
    let start = std::time::Instant::now();
    let small = |name: String| (name, Array::filled(&[1, 1], 0.5));
    let deep = format!("{}weight", "a.".repeat(2000));
    let names = (0..10_000).map(|i| format!("m{}.b{i}.weight", i / 40));
    let tensors: Vec<_> = names.chain((0..60).map(|i| format!("{i}.{deep}"))).map(small).collect();
    let folder = folder(&tensors);
    let (made, said) = prepare(folder.path(), &[]);
    assert!(
        made.status.success() && said.contains("none of the known networks; nearest is"),
        "{said}"
    );
    // Hours would be a hang; machines differ, and this takes seconds.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// What no file says is said to be assumed, and what the flags say is kept.
#[test]
fn what_is_assumed_is_said() {
    let (graph, weights) = family("plain", 0.125, 4);
    let folder = folder(&entries(&graph, &weights, ""));
    let (made, said) = prepare(folder.path(), &[]);
    assert!(made.status.success(), "{said}");
    assert!(
        said.contains(
            "assumed: relu, 4 max pools, 0 strided convolutions, padded by 1, batch norms with ε 1e-5; \
             pictures of 32 px, center, not turned by EXIF; Rgb, mean [0.0, 0.0, 0.0], std [1.0, 1.0, 1.0]"
        ),
        "{said}"
    );
    let plain = fs::read(folder.path().join("out.safetensors")).unwrap();
    assert!(!String::from_utf8_lossy(&plain[..4096]).contains("epsilon"), "as it always was");
    // Flags of prepare images that mean nothing here without photos.
    let harmless = ["--unreadable", "0.05", "--max-pixels", "1000000", "--threads", "2"];
    let (made, said) = prepare(folder.path(), &harmless);
    assert!(made.status.success(), "{said}");
    assert_eq!(fs::read(folder.path().join("out.safetensors")).unwrap(), plain);
    let (made, said) = prepare(folder.path(), &["--exif", "--eps", "1e-3"]);
    assert!(made.status.success(), "{said}");
    assert!(
        said.contains("batch norms with ε 1e-3; pictures of 32 px, center, turned by EXIF"),
        "{said}"
    );
    let (model, _) = Model::load(&folder.path().join("out.safetensors")).unwrap();
    assert!(model.input.preparation.exif);
    assert_eq!(model.graph, graph.with_epsilon(1e-3).unwrap());
    for (flags, error) in
        [(["--epsilon", "0"], "--epsilon"), (["--unreadable", "2"], "expected a share from 0 to 1")]
    {
        let (made, said) = prepare(folder.path(), &flags);
        assert!(!made.status.success() && said.contains(error), "{said}");
    }
}

/// Where --photos reads pictures, the flags that prepare images has for them mean the same.
#[test]
fn photos_are_read_as_prepare_images_reads_them() {
    let (graph, weights) = family("plain", 0.125, 4);
    let folder = folder(&entries(&graph, &weights, ""));
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../common/photos/tests/pictures");
    for name in ["rgb.jpg", "grey.png", "rgb.png"] {
        fs::copy(pictures.join(name), photos.join(name)).unwrap();
    }
    fs::write(photos.join("broken.jpg"), b"not a picture").unwrap();
    let (made, said) = prepare(folder.path(), &["--photos", "photos"]);
    assert!(!made.status.success() && said.contains("--photos: photos/broken.jpg: "), "{said}");
    let (made, said) = prepare(folder.path(), &["--photos", "photos", "--unreadable", "0.25"]);
    assert!(made.status.success() && said.contains("unreadable: photos/broken.jpg: "), "{said}");
    let small = ["--photos", "photos", "--unreadable", "0.25", "--max-pixels", "4"];
    let (made, said) = prepare(folder.path(), &small);
    assert!(!made.status.success() && said.contains("--photos: photos/"), "{said}");
}
