//! A model made ready for pictures of other classes or another size: what is kept, what is drawn anew, what is refused.

#![allow(clippy::disallowed_methods)] // tests write files as they please

use artifacts::artifact::Data;
use artifacts::images::Unsaved;
use artifacts::{Framing, Head, Images, Input, Model, Preparation, Provenance};
use graph::Graph;
use graph::grid::{Grid, Grids, Scale};
use views::{FixedViews, Normalization};

const SIZE: usize = 16;

fn model(text: &str, classes: &str) -> Model {
    let graph: Graph = text.parse().unwrap();
    let weights = graph::init::weights(&graph, 1);
    let preparation = Preparation { size: SIZE, framing: Framing::Crop, exif: false };
    let input =
        Input { preparation, normalization: Normalization { mean: [0.4; 3], std: [0.3; 3] } };
    let classes = classes.split(',').map(String::from).collect();
    Model { graph, weights, input, classes, grids: Grids::new(), views: FixedViews::PLAIN }
}

fn pictures(size: usize, framing: Framing, classes: &str) -> Images {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photos.safetensors");
    let classes: Vec<String> =
        classes.split(',').filter(|c| !c.is_empty()).map(String::from).collect();
    Unsaved {
        preparation: Preparation { size, framing, exif: false },
        labels: vec![if classes.is_empty() { None } else { Some(0) }],
        classes,
        names: vec!["0_1.png".into()],
        pixels: Data::Bytes(vec![0; 3 * size * size]),
    }
    .save(&path, &Provenance::new("test", &()).unwrap())
    .unwrap();
    Images::load(&path).unwrap()
}

const LINEAR: &str = "input 3;a:conv 3>4 k3 s2 p1 bias;relu;gap;f:linear 4>3 bias";
const CONV: &str = "input 3;a:conv 3>4 k3 s2 p1 bias;relu;f:conv 4>3 k1 bias;relu;gap";

#[test]
fn a_head_is_kept_where_the_classes_agree() {
    for (own, theirs, named) in [
        ("cat,dog,cow", "cat,dog,cow", "cat,dog,cow"),
        ("cat,dog,cow", "0,1,2", "cat,dog,cow"),
        ("0,1,2", "cat,dog,cow", "cat,dog,cow"),
    ] {
        let old = model(LINEAR, own);
        let (new, head) =
            old.clone().for_images(&pictures(SIZE, Framing::Crop, theirs), 7).unwrap();
        assert_eq!(head, Head::Kept, "{own} / {theirs}");
        assert_eq!((&new.graph, &new.weights), (&old.graph, &old.weights));
        assert_eq!(new.classes.join(","), named);
    }
}

/// Fewer classes, more, as many others, numbers that are fewer: the last layer is what a fresh network would have by
/// this seed, of all else not a bit changes.
#[test]
fn a_head_is_drawn_anew_for_other_classes() {
    for text in [LINEAR, CONV] {
        for theirs in ["cat,dog", "a,b,c,d,e", "cat,dog,pig", "0,1"] {
            let old = model(text, "cat,dog,cow");
            let photos = pictures(SIZE, Framing::Crop, theirs);
            let (new, head) = old.clone().for_images(&photos, 7).unwrap();
            let n = theirs.split(',').count();
            assert_eq!(
                (head, new.graph.classes(), new.classes.join(",")),
                (Head::New, n, theirs.to_owned())
            );
            let drawn = graph::init::weights(&new.graph, 7);
            for (name, array) in &new.weights {
                let expected = if name.starts_with("f.") { &drawn } else { &old.weights };
                assert_eq!(*array, expected[name], "{text}: {name}");
            }
            assert_eq!(new.graph.to_string(), text.replace("4>3", &format!("4>{n}")));
            assert_eq!(new.input.normalization, old.input.normalization);
            new.check_images(&photos).unwrap();
        }
    }
}

#[test]
fn pictures_may_have_any_size_that_the_network_takes() {
    let (new, _) =
        model(LINEAR, "x,y,z").for_images(&pictures(9, Framing::Crop, "x,y,z"), 7).unwrap();
    assert_eq!((new.input.preparation.size, new.input.normalization.mean), (9, [0.4; 3]));
    let fixed = "input 3;a:conv 3>4 k3 s2 p1 bias;f:linear 4>3 k8 bias";
    model(fixed, "x,y,z").for_images(&pictures(SIZE, Framing::Crop, "x,y,z"), 7).unwrap();
    let error =
        model(fixed, "x,y,z").for_images(&pictures(20, Framing::Crop, "x,y,z"), 7).unwrap_err();
    assert!(error.to_string().contains("do not fit the network"), "{error:#}");
}

#[test]
fn what_cannot_be_gone_on_from_is_refused() {
    let photos = |framing, classes| pictures(SIZE, framing, classes);
    let refused = |model: Model, images: Images, text: &str| {
        let error = format!("{:#}", model.for_images(&images, 7).unwrap_err());
        assert!(error.contains(text), "{error}");
    };
    refused(model(LINEAR, "x,y,z"), photos(Framing::Squash, "x,y,z"), "run prepare images with");
    refused(model(LINEAR, "x,y,z"), photos(Framing::Crop, ""), "have no labels");
    let sum = "input 3;gap;a:linear 3>3;b:linear 3>3;add @2,3";
    refused(model(sum, "x,y,z"), photos(Framing::Crop, "x,y"), "not from a last one");
    let scale = "input 3;a:conv 3>3 k1;gap;s:scale 3";
    refused(model(scale, "x,y,z"), photos(Framing::Crop, "x,y"), "come from s (scale 3)");
    let grouped = "input 3;gap;f:conv 3>3 k1 g3";
    refused(model(grouped, "x,y,z"), photos(Framing::Crop, "x,y"), "come from f (conv 3>3");
    let part = "input 3;gap;f:linear 3>5 bias;split 1..4";
    refused(model(part, "x,y,z"), photos(Framing::Crop, "x,y"), "f");
    let mut on_grids = model(LINEAR, "x,y,z");
    let grid = Grid { bits: 4, scales: vec![Scale::from_code(0); 3] };
    on_grids.grids.insert("f.weight".into(), grid);
    refused(on_grids, photos(Framing::Crop, "x,y,z"), "lie on grids");
}
