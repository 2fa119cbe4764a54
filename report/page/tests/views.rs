//! A page answers with the views of its model, by numbers made by hand.

use artifacts::{Framing, Input, Model, Preparation, Provenance};
use graph::grid::Grids;
use page::Classifier;
use views::Normalization;

/// Logits are the first pixel's red and green. Of 4 × 4 pixels with red 0 51 102 255 and 204 153 0 51 first, the mean
/// over all views of one pixel is 26.5 / 60 (worked out beside `views::fixed`); green is 255 everywhere, so 1.
#[test]
fn a_page_averages_views() {
    let graph: graph::Graph = "input 3;f:linear 3>2 k4".parse().unwrap();
    let mut weights = graph::init::weights(&graph, 1);
    let weight = weights.get_mut("f.weight").unwrap();
    weight.values.fill(0.0);
    // [output, channel, row, column]
    (weight.values[0], weight.values[48 + 16]) = (1.0, 1.0);
    let preparation = Preparation { size: 4, framing: Framing::Squash, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = vec!["red".to_owned(), "green".to_owned()];
    let folder = tempfile::tempdir().unwrap();
    let red = [0, 51, 102, 255, 204, 153, 0, 51, 0, 0, 0, 0, 0, 0, 0, 0];
    let rgba: Vec<u8> = red.iter().flat_map(|r| [*r, 255, 0, 255]).collect();
    for (views, expected) in [("none", 0.0), ("flip", 0.5), ("flip,shift=1,zoom=1", 26.5 / 60.0)] {
        let views = views.parse().unwrap();
        let (graph, weights, classes) = (graph.clone(), weights.clone(), classes.clone());
        let path = folder.path().join("m");
        let model = Model { graph, weights, input, classes, grids: Grids::new(), views };
        model.save(&path, &Provenance::new("test", &()).unwrap()).unwrap();
        let mut classifier = Classifier::new(std::fs::read(path).unwrap()).unwrap();
        let logits = classifier.of_pixels(&rgba, 4, 4).unwrap();
        assert!(
            (logits[0] - expected).abs() < 1e-6 && (logits[1] - 1.0).abs() < 1e-6,
            "{logits:?}"
        );
    }
}
