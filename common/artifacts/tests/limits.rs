//! Files of a few bytes that ask for a machine's memory, or answer nothing: refused as they are read.

use artifacts::{Artifact, Framing, Input, Model, Preparation, Provenance};
use graph::grid::Grids;
use graph::{Array, Graph, Weights};
use std::path::Path;
use views::{FixedViews, Normalization};

fn model(text: &str, size: usize) -> Model {
    let graph: Graph = text.parse().unwrap();
    let zero = |p: graph::Parameter| (p.name, Array::filled(&p.shape, 0.0));
    let weights: Weights = graph.parameters().map(zero).collect();
    let preparation = Preparation { size, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

/// The bytes of `model` as a plain file and as shipped ones, by the codings that are asked for.
fn files(model: &Model, folder: &Path, bits: &[u8]) -> Vec<Vec<u8>> {
    let path = folder.join("m");
    let provenance = Provenance::new("test", &()).unwrap();
    model.save(&path, &provenance).unwrap();
    let mut files = vec![std::fs::read(&path).unwrap()];
    for bits in bits {
        let (spec, payload) = model.with_bits(*bits).unwrap();
        let (header, tensors) = model.coded(spec, payload, &provenance).unwrap();
        artifacts::artifact::save(&path, &header, tensors).unwrap();
        files.push(std::fs::read(&path).unwrap());
    }
    files
}

fn refusal(bytes: Vec<u8>) -> String {
    format!("{:#}", Model::parse("m.bin", bytes).expect_err("refused"))
}

/// Two thousand bytes: 768 channels, then 196,608, on pictures of 4,096 px they are 13 TB.
#[test]
fn a_small_file_cannot_ask_for_terabytes() {
    let folder = tempfile::tempdir().unwrap();
    let again = |node: usize| format!("concat @{}", vec![node.to_string(); 256].join(","));
    let text = format!("input 3;{};{};split 0..3;gap;f:linear 3>2", again(0), again(1));
    for bytes in files(&model(&text, 4096), folder.path(), &[4, 8, 16]) {
        assert!(bytes.len() < 3000, "{}", bytes.len());
        let refused = refusal(bytes);
        assert!(
            refused.contains("m.bin") && refused.contains("4096 × 4096 × 768 numbers"),
            "{refused}"
        );
    }
    // Small one by one: the sum is seen.
    let text = format!("input 3;{};gap;f:linear 768>2", vec![again(0); 11].join(";"));
    let refused = refusal(files(&model(&text, 512), folder.path(), &[]).remove(0));
    assert!(refused.contains("the results of one picture of 512 px are 2215379714"), "{refused}");
    // Work that never ends.
    let layers: Vec<String> = (0..5).map(|i| format!("l{i}:conv 64>64 k15 p7")).collect();
    let text = format!("input 3;a:conv 3>64 k1;{};gap;f:linear 64>2", layers.join(";"));
    let refused = refusal(files(&model(&text, 2048), folder.path(), &[]).remove(0));
    assert!(refused.contains("multiplications"), "{refused}");
}

/// The largest of one logit is the first: whatever the picture shows. Plain and shipped files.
#[test]
fn a_model_of_one_logit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = |n: usize| format!("input 3;a:conv 3>4 k3 bias;relu;gap;f:linear 4>{n} bias");
    for bytes in files(&model(&text(1), 8), folder.path(), &[4, 8, 16]) {
        let refused = refusal(bytes.clone());
        assert!(
            refused.contains("m.bin: malformed model: the network gives 1 logit")
                && refused.contains("logits 0 and x"),
            "{refused}"
        );
        assert!(Model::from_artifact(&Artifact::parse("m.bin", bytes).unwrap()).is_err());
    }
    for bytes in files(&model(&text(2), 8), folder.path(), &[4, 8, 16]) {
        assert!(Model::parse("m.bin", bytes).is_ok());
    }
}
