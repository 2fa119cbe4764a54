//! Network families: sizes and answers of the originals, knobs, and the way back from weights.

#![allow(clippy::print_stderr)] // tests say what they measured

#[path = "reference/formula.rs"]
mod formula;

use artifacts::{Framing, Input, Model, Preparation};
use common::device::Device;
use common::sizing::Sizing;
use formula::{formula, formula_picture, off};
use graph::families::{self, ALL, Knobs};
use graph::grid::Grids;
use graph::rewrite::{Factoring, Windowed};
use graph::{Graph, Op, Weights};
use views::{FixedViews, Normalization};

include!("reference/torch_families.rs");

fn build(name: &str, knobs: Knobs) -> Graph {
    families::find(name).unwrap().build(&knobs).unwrap()
}

fn logits(graph: &Graph, weights: Weights, size: usize) -> Vec<f32> {
    let preparation = Preparation { size, framing: Framing::Crop, exif: false };
    let input = Input { preparation, normalization: Normalization::NONE };
    let classes = (0..graph.classes()).map(|c| c.to_string()).collect();
    let model = Model {
        graph: graph.clone(),
        weights,
        input,
        classes,
        grids: Grids::new(),
        views: FixedViews::PLAIN,
    };
    Device::Cpu.executor(&model).unwrap().logits(&formula_picture(size)).unwrap()
}

/// The formula's weights depend on the order of all names and on every shape: answers are PyTorch's
/// only if names and shapes are those of its state dict.
#[test]
fn parameters_and_answers_equal_torch() {
    for Torch { family, parameters, logits: cases } in TORCH {
        assert_eq!(build(family, Knobs::standard(1000)).parameter_count(), *parameters, "{family}");
        let graph = build(family, Knobs::standard(11));
        for (size, expected) in *cases {
            let error = off(&logits(&graph, formula(&graph), *size), expected);
            eprintln!("{family} at {size} px: off by {error:.1e} of the largest logit");
            assert!(error < 1e-4, "{family} at {size} px: {error}");
        }
    }
    // The tutorial's student is compared in networks.rs, at its own widths.
    let without: Vec<&str> =
        ALL.iter().map(|f| f.name).filter(|n| TORCH.iter().all(|t| t.family != *n)).collect();
    assert_eq!(without, ["studentnet"]);
}

/// What `--help` says of a family: "… N parameters at M classes".
#[test]
fn help_counts_right() {
    for family in ALL {
        let words: Vec<String> =
            family.about.split([' ', ':']).map(|w| w.replace(',', "")).collect();
        let before = |word: &str| -> usize {
            let at = words.iter().position(|w| w == word).unwrap();
            words[at - 1].parse().unwrap()
        };
        let graph = build(family.name, Knobs::standard(before("classes")));
        assert_eq!(graph.parameter_count(), before("parameters"), "{}", family.about);
    }
}

/// Question 4 of the report: about equal parameters, near 1 MB of f32.
#[test]
fn twins_are_of_one_size() {
    for name in ["plain", "plain_separable", "plain_grouped"] {
        let bytes = 4 * build(name, Knobs::standard(11)).parameter_count();
        assert!((980_000..=1_000_000).contains(&bytes), "{name}: {bytes}");
    }
    let groups = |name: &str| -> Vec<usize> {
        let nodes = build(name, Knobs::standard(11));
        let convs = nodes.nodes().iter().filter_map(|n| match n.op {
            Op::Conv(c) if c.window.kernel > 1 => Some(c),
            _ => None,
        });
        convs.map(|c| if c.is_depthwise() { 0 } else { c.groups }).collect()
    };
    assert_eq!(groups("plain"), [1; 5]);
    assert_eq!(groups("plain_separable"), [1, 0, 0, 0, 0]);
    assert_eq!(groups("plain_grouped"), [1, 4, 4, 4, 4]);
}

fn sizing(change: impl FnOnce(&mut Sizing)) -> Sizing {
    let mut sizing = Sizing {
        width: 1.0,
        params: None,
        bytes: None,
        bits_per_weight: 2.4,
        stem_stride: None,
        extra_blocks: 0,
    };
    change(&mut sizing);
    sizing
}

#[test]
fn a_size_is_kept_to() {
    for family in ALL {
        let by = |n: usize| sizing(|s| s.params = Some(n)).graph(family.name, 11);
        let found = by(250_000).unwrap().parameter_count();
        // The 100 layers of a DenseNet grow by whole channels.
        let least = if family.name.starts_with("densenet") { 180_000 } else { 235_000 };
        assert!((least..=250_000).contains(&found), "{}: {found}", family.name);
        assert!(by(10).unwrap_err().to_string().contains("narrowest"));
    }
    let at = |bytes: usize, bits: f32| {
        let sizing = sizing(|s| (s.bytes, s.bits_per_weight) = (Some(bytes), bits));
        let graph = sizing.graph("studentnet", 11).unwrap();
        graph.with_joined_head().unwrap().parameter_count()
    };
    // As files hold it, without its last convolution. (300,000 − 1,500) · 8 / 2.4 = 995,000 weights, less two bytes for each of some 5,300 outputs.
    assert!((930_000..995_000).contains(&at(300_000, 2.4)), "{}", at(300_000, 2.4));
    assert!((280_000..298_500).contains(&at(300_000, 8.0)), "{}", at(300_000, 8.0));
}

/// Every stem there can be halves pictures so many times; no weight knows.
#[test]
fn stems_leave_weights_alone() {
    for family in ALL {
        let standard = build(family.name, Knobs::standard(5));
        let last = |g: &Graph, size: usize| -> usize {
            g.shapes(size).unwrap().iter().rev().find(|s| s[0] > 1).unwrap()[0]
        };
        for stride in [1, 2, 4] {
            let knobs = Knobs { stem_stride: Some(stride), ..Knobs::standard(5) };
            let Ok(graph) = family.build(&knobs) else {
                assert!(stride > family.stem_stride, "{} {stride}", family.name);
                continue;
            };
            assert!(graph.parameters().eq(standard.parameters()), "{}", family.name);
            if family.name != "squeezenet1_1" {
                // Without margins, its windows lose a pixel here and there.
                assert_eq!(last(&graph, 64 * stride), last(&standard, 64 * family.stem_stride));
            }
        }
    }
}

#[test]
fn blocks_can_be_added_to_the_student_only() {
    let knobs = |extra_blocks| Knobs { extra_blocks, ..Knobs::standard(11) };
    let count = |n| build("studentnet", knobs(n)).parameter_count();
    // Depthwise 3×3 with bias, batch norm, pointwise with bias: 256 · (9 + 1 + 2 + 256 + 1).
    assert_eq!(count(2), 256_779 + 2 * 68_864);
    let error = families::find("plain").unwrap().build(&knobs(1)).unwrap_err();
    assert_eq!(error.to_string(), "plain takes 0 extra blocks at most, not 1");
}

/// Folded and pulled apart into factors, at any stem, a network is still found by its names, and its
/// batch norms come back.
#[test]
fn the_way_back_knows_stems_blocks_and_factors() {
    for family in ALL {
        let knobs = Knobs {
            width: 0.2,
            stem_stride: Some(1),
            extra_blocks: if family.name == "studentnet" { 3 } else { 0 },
            classes: 4,
        };
        // What joins the last layer leaves no trace of its factors.
        let whole = build(family.name, knobs);
        let joined = whole.with_joined_head().unwrap();
        let half = |windowed| {
            let joined = &joined;
            move |node: &graph::Node| {
                joined.nodes().iter().find(|n| n.name == node.name)?;
                let conv = node.op.as_conv()?;
                let rank = conv.input.min(conv.output) / 2;
                (conv.groups == 1 && rank > 0).then_some(Factoring { rank, windowed })
            }
        };
        for (windowed, epsilon) in [(Windowed::First, None), (Windowed::Second, Some(1e-3))] {
            let whole = epsilon.map_or(whole.clone(), |e| whole.with_epsilon(e).unwrap());
            let graph = whole.factored(half(windowed)).unwrap();
            assert!(graph.nodes().len() > whole.nodes().len(), "{}", family.name);
            let weights = graph::init::weights(&graph, 7);
            let (folded, folded_weights) = graph.fold(weights.clone()).unwrap();
            let (again, unfolded) = families::unfold(&folded, &folded_weights, epsilon).unwrap();
            assert_eq!(again, graph, "{}", family.name);
            assert!(unfolded.keys().eq(weights.keys()), "{}", family.name);
            // From weights alone everything is known but the stem.
            let mut forms = families::forms(ALL).unwrap().into_iter();
            let like = |form: &Graph| form.factored_like(&weights)?.with_widths_of(&weights);
            let found = forms.find_map(|(family, form)| Some((family.name, like(&form).ok()?)));
            let (found, graph) = found.unwrap();
            assert_eq!(found, family.name);
            assert!(graph.parameters().eq(again.parameters()), "{}", family.name);
        }
    }
    let own: Graph = "input 3;a:conv 3>4 k3;relu;gap;f:linear 4>2 bias".parse().unwrap();
    assert!(families::unfold(&own, &graph::init::weights(&own, 1), None).is_err());
}

#[test]
fn what_has_groups_is_not_factored() {
    let graph = build("studentnet", Knobs::standard(4));
    let error = graph.factored(|n| {
        (n.name == "cnn.1.0").then_some(Factoring { rank: 2, windowed: Windowed::First })
    });
    assert!(error.unwrap_err().to_string().starts_with("cnn.1.0 (conv 16>16 k3 p1 g16 bias)"));
}
