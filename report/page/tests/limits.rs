//! A page refuses what a browser has no memory for, in a sentence: a machine of 32 bits has no other way.

use artifacts::{Framing, Input, Model, Preparation, Provenance};
use graph::Graph;
use graph::families::studentnet;
use graph::grid::Grids;
use page::Classifier;
use views::{FixedViews, Normalization};

fn file(graph: &Graph, size: usize) -> Vec<u8> {
    let preparation = Preparation { size, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    let weights = graph::init::weights(graph, 1);
    let model = Model {
        graph: graph.clone(),
        weights,
        input,
        classes,
        grids: Grids::new(),
        views: FixedViews::PLAIN,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    model.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
    std::fs::read(path).unwrap()
}

/// The tutorial's student: 4,293,864 numbers a picture at 256 px, so sixteen times that at 1,024 px, and at
/// 2,048 px more than 2²⁸.
#[test]
fn a_network_beyond_a_browsers_memory_is_refused() {
    let student = studentnet([16, 32, 64, 128, 256, 256, 256, 256], 11).unwrap();
    for size in [256, 1024] {
        assert!(Classifier::new(file(&student, size)).is_ok(), "{size}");
    }
    let refused = Classifier::new(file(&student, 2048)).err().unwrap().to_string();
    assert!(refused.contains("one picture of 2048 px"), "{refused}");
    assert!(refused.contains("at most 268435456 fit in a page"), "{refused}");
}

#[test]
fn a_single_logit_is_refused() {
    let one = "input 3;a:conv 3>4 k3 bias;relu;gap;f:linear 4>1 bias".parse().unwrap();
    let refused = format!("{:#}", Classifier::new(file(&one, 8)).err().unwrap());
    assert!(refused.contains("the network gives 1 logit"), "{refused}");
}
