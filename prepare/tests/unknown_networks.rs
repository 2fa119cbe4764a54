//! A network that no family is: the draft that is printed, and what becomes of it as `--graph`.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::Model;
use graph::{Array, Graph};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// All that a draft gets right by itself.
const GRAPH: &str = "input 3;body.0:conv 3>8 k3 p1;body.1:bn 8;relu;max k2 s2;\
                     body.4:conv 8>8 k3 p1 g8 bias;relu;body.6:conv 8>12 k1;body.7:bn 12;relu;\
                     head.0:linear 12>6 k4 bias;relu;head.2:linear 6>5 bias";

fn prepare(folder: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prepare"));
    command.current_dir(folder).args(["model", "x.pt", "--size", "8", "--out"]).args(flags);
    command.output().unwrap()
}

/// A folder with the network as a PyTorch file, wrapped as DataParallel and others wrap it.
fn folder(graph: &Graph) -> tempfile::TempDir {
    let weights = graph::init::weights(graph, 1);
    let entry = |name: String| (format!("module.net.{name}"), weights[&name].clone());
    let entries: Vec<(String, Array)> = graph.parameters().map(|p| entry(p.name)).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint::state_dict::encode(&entries).unwrap();
    fs::write(folder.path().join("x.pt"), file).unwrap();
    folder
}

#[test]
fn a_draft_is_printed_and_read_back() {
    let graph: Graph = GRAPH.parse().unwrap();
    let folder = folder(&graph);
    let folder = folder.path();
    let bundle = prepare(folder, &["bundle.safetensors"]);
    assert!(bundle.status.success(), "{bundle:?}");
    fs::write(folder.join("net.txt"), &bundle.stdout).unwrap();
    let made = prepare(folder, &["model.safetensors", "--graph", "net.txt"]);
    assert!(made.status.success(), "{made:?}");
    let (model, _) = Model::load(&folder.join("model.safetensors")).unwrap();
    assert_eq!(model.graph, graph, "{}", String::from_utf8_lossy(&bundle.stdout));
    assert_eq!(model.weights, graph::init::weights(&graph, 1));
}

#[test]
fn a_wrong_graph_is_an_error_that_names_it() {
    let folder = folder(&GRAPH.parse().unwrap());
    let other = GRAPH.replace("8>12", "8>13").replace("12", "13");
    for (graph, said) in [
        ("nothing.txt", "--graph: cannot read nothing.txt"),
        ("input 3;a:warp 3", "--graph: node 1, \"a:warp 3\": unknown operation \"warp\""),
        (&other, "--graph: tensor body.6.weight"),
    ] {
        let refused = prepare(folder.path(), &["m.safetensors", "--graph", graph]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && error.contains(said), "{graph}: {error}");
        assert!(!folder.path().join("m.safetensors").exists());
    }
}

/// Squeeze-and-excitation: as a chain the tensors fit, and the network would be another. Settled as the draft
/// says, it is read.
#[test]
fn a_draft_of_another_network_is_refused_until_it_is_settled() {
    let chain = "input 3;stem.0:conv 3>16 k3 p1;stem.1:bn 16;relu;\
                 body.0.0:conv 16>16 k3 p1 g16;body.0.1:bn 16;relu;\
                 body.1.fc1:conv 16>8 k1 bias;body.1.fc2:conv 8>16 k1 bias;\
                 body.2.0:conv 16>24 k1;body.2.1:bn 24;gap;fc:linear 24>5 bias";
    let graph: Graph = chain.parse().unwrap();
    let folder = folder(&graph);
    let folder = folder.path();
    let bundle = prepare(folder, &["bundle.safetensors"]);
    assert!(bundle.status.success(), "{bundle:?}");
    fs::write(folder.join("net.txt"), &bundle.stdout).unwrap();
    let made = || prepare(folder, &["model.safetensors", "--graph", "net.txt"]);
    let refused = made();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{error}");
    assert!(error.contains("body.1.fc1: squeeze-and-excitation"), "{error}");
    assert!(!folder.join("model.safetensors").exists());
    let draft = String::from_utf8(bundle.stdout).unwrap();
    let kept: Vec<&str> = draft.lines().filter(|l| !l.starts_with("? ")).collect();
    let mut settled = kept.join("\n");
    // Behind the last of the two layers the draft has an activation.
    for (drafted, written) in [
        ("body.1.fc1:", "gap;body.1.fc1:"),
        ("body.1.fc2:", "relu;body.1.fc2:"),
        ("# 8\nrelu", "\nhardsigmoid;mul @6,11"),
    ] {
        assert!(settled.contains(drafted), "{draft}");
        settled = settled.replace(drafted, written);
    }
    fs::write(folder.join("net.txt"), settled).unwrap();
    let read = made();
    assert!(read.status.success(), "{read:?}");
    let (model, _) = Model::load(&folder.join("model.safetensors")).unwrap();
    let expected = chain
        .replace("body.1.fc1:", "gap;body.1.fc1:")
        .replace("body.1.fc2:", "relu;body.1.fc2:")
        .replace("body.2.0:", "hardsigmoid;mul @6,11;body.2.0:")
        .replace("bn 24;", "bn 24;relu;");
    assert_eq!(model.graph.to_string(), expected);
}

/// Of a network that is kept as a bundle nothing but the tensors is read: flags for models are named, those
/// that were given.
#[test]
fn flags_that_do_nothing_are_said() {
    let folder = folder(&GRAPH.parse().unwrap());
    let run = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prepare"));
        command.current_dir(folder.path()).args(["model", "x.pt", "--out", "out.safetensors"]);
        let made = command.args(flags).output().unwrap();
        (made.status.success(), String::from_utf8_lossy(&made.stderr).into_owned())
    };
    for (flags, named) in [
        (&["--threads", "1"][..], None),
        // Also what would have been so by itself.
        (&["--size", "256"], Some("--size")),
        (
            &[
                "--photos",
                "/nonexistent",
                "--classes",
                "a,b",
                "--mean",
                "0,0,1",
                "--colour",
                "bgr",
                "--eps=1e-3",
            ],
            Some("--photos, --classes, --mean, --colour, --epsilon"),
        ),
        (
            &[
                "--exif",
                "--std=1,1,2",
                "--fit",
                "squash",
                "--max-pixels",
                "9",
                "--unreadable",
                "0.5",
            ],
            Some("--unreadable, --max-pixels, --fit, --std, --exif"),
        ),
    ] {
        let (is_made, said) = run(flags);
        assert!(is_made, "{said}");
        let lines: Vec<&str> = said.lines().filter(|l| l.contains("nothing is done")).collect();
        let expected = named.map(|n| format!("nothing is done with {n}: the network is unknown"));
        assert_eq!(lines, expected.as_deref().into_iter().collect::<Vec<_>>(), "{said}");
    }
    for epsilon in ["7", "0", "-1e-3", "NaN", "inf"] {
        let (is_made, said) = run(&[&format!("--epsilon={epsilon}")]);
        assert!(!is_made && said.contains("expected a number from 1e-12 to 1"), "{said}");
    }
}

/// By --graph, and as a family of known names.
#[test]
fn a_single_logit_is_refused_with_what_to_do() {
    let one = GRAPH.replace("6>5", "6>1").parse().unwrap();
    let mut family = graph::families::resnet18([4, 4, 8, 8], 2).unwrap().to_string();
    family = family.replace(">2 bias", ">1 bias");
    for (graph, flags) in [(&one, vec!["--graph", "net.txt"]), (&family.parse().unwrap(), vec![])] {
        let folder = folder(graph);
        fs::write(folder.path().join("net.txt"), graph.to_string()).unwrap();
        let refused = prepare(folder.path(), &[&["m.safetensors"], &flags[..]].concat());
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success(), "{error}");
        assert!(error.contains("x.pt: the network gives 1 logit"), "{error}");
        assert!(error.contains("a row of zeros before that of its last weight"), "{error}");
        assert!(!folder.path().join("m.safetensors").exists());
    }
}
