//! Drafts of graphs, from names and shapes: those of the families, and what is refused of others. Names and
//! shapes are those of PyTorch: `tests/names.py` printed them.

use super::draft;
use graph::families::{Knobs, find};
use graph::op::Activation;
use graph::{Error, Graph, Node, Op, Result};

/// Without what no file shows: strides, pools, which activation.
fn bare(graph: &Graph) -> Result<Graph> {
    let (mut nodes, mut place) = (Vec::<Node>::new(), Vec::new());
    for node in graph.nodes() {
        let mut op = node.op;
        if let Op::MaxPool(_) = op {
            place.push(place[node.inputs[0]]);
            continue;
        }
        if let Op::Activation(f) = &mut op {
            *f = Activation::Relu;
        }
        if let Op::Conv(conv) = &mut op {
            conv.window.stride = 1;
        }
        let mut inputs: Vec<usize> = node.inputs.iter().map(|j| place[*j]).collect();
        inputs.sort_unstable();
        place.push(nodes.len());
        nodes.push(Node { op, inputs, ..node.clone() });
    }
    Graph::new(nodes)
}

fn drafted(name: &str) -> Result<(Graph, String)> {
    let graph = find(name)?.build(&Knobs::standard(11))?;
    let tensors: Vec<_> = graph.parameters().map(|p| (p.name, p.shape)).collect();
    Ok((graph, draft(&tensors)))
}

/// These are right but for what no file shows.
#[test]
fn drafts_of_families_are_the_families() -> Result<()> {
    for name in ["plain", "mobilenet_v1", "mobilenet_v2", "resnet18", "resnet34"] {
        let (graph, text) = drafted(name)?;
        let parsed: Graph = text.parse().map_err(|e| Error::new(format!("{e}\n{text}")))?;
        assert_eq!(bare(&parsed)?.to_string(), bare(&graph)?.to_string(), "{name}\n{text}");
    }
    Ok(())
}

/// In the tutorial's network names stop before its pools and after its last activations.
#[test]
fn every_layer_is_there() -> Result<()> {
    for name in ["studentnet", "plain_separable", "plain_grouped"] {
        let (graph, text) = drafted(name)?;
        let parsed: Graph = text.parse().map_err(|e| Error::new(format!("{e}\n{text}")))?;
        let all = |g: &Graph| g.parameters().collect::<Vec<_>>();
        assert_eq!(all(&parsed), all(&graph), "{name}\n{text}");
    }
    Ok(())
}

#[test]
fn flat_layers_and_unknown_ones_are_said() {
    let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    let text = draft(&[
        tensor("a.0.weight", &[8, 3, 3, 3]),
        tensor("a.3.weight", &[16, 8, 3, 3]),
        tensor("a.3.bias", &[16]),
        tensor("embedding", &[5]),
        tensor("b.0.weight", &[64, 16 * 4 * 4]),
        tensor("b.3.weight", &[11, 64]),
    ]);
    let open = "? embedding [5]: tensors of no operation";
    let lines: Vec<&str> = text.lines().filter(|l| *l != open).collect();
    assert_eq!(lines.len() + 1, text.lines().count(), "{text}");
    let code: Vec<&str> = lines.iter().map(|l| l.split('#').next().unwrap().trim()).collect();
    let code: Vec<&str> = code.into_iter().filter(|c| !c.is_empty()).collect();
    let nodes = "input 3;a.0:conv 3>8 k3 p1;relu;max k2 s2;a.3:conv 8>16 k3 p1 bias;relu;\
                 b.0:linear 16>64 k4;relu;b.3:linear 64>11";
    assert_eq!(code.join(";"), nodes);
    let refused = text.parse::<Graph>().unwrap_err().to_string();
    assert!(
        refused.contains("take out the lines that begin with \"?\": embedding [5]"),
        "{refused}"
    );
    assert_eq!(lines.join("\n").parse::<Graph>().unwrap().to_string(), nodes);
}

/// Names and shapes.
type Tensors = Vec<(String, Vec<usize>)>;

/// The networks of `tests/torchvision.txt`: their names and tensors.
fn networks() -> Vec<(&'static str, Tensors)> {
    let paragraph = |text: &'static str| {
        let mut lines = text.lines();
        let name = lines.next().unwrap();
        let mut tensors = Tensors::new();
        for line in lines {
            let (layer, ends) = line.split_once(' ').unwrap();
            for end in ends.split(' ') {
                let (end, shape) = end.split_once('=').unwrap();
                let shape = shape.split('x').map(|n| n.parse().unwrap()).collect();
                tensors.push((format!("{layer}.{end}").replace("-.", ""), shape));
            }
        }
        (name, tensors)
    };
    include_str!("tests/torchvision.txt").trim().split("\n\n").map(paragraph).collect()
}

/// What the draft of each shows that it does not say; nothing where it says all.
const LACKING: [(&str, &[&str]); 33] = [
    (
        "mobilenet_v3_small",
        &["features.1.block.1.fc1, features.4.block.2.fc1: squeeze-and-excitation"],
    ),
    (
        "efficientnet_b0",
        &["features.1.0.block.1.fc1, features.2.0.block.2.fc1: squeeze-and-excitation"],
    ),
    ("regnet_y_400mf", &["se.fc1: squeeze-and-excitation", ": branches: it reads another node"]),
    ("regnet_x_400mf", &[": branches: it reads another node"]),
    ("convnext_tiny", &["layer, group or instance norm", "linear layers before convolutions"]),
    ("vit_b_16", &["attention, for which"]),
    ("swin_t", &["attention, for which", "layer, group or instance norm"]),
    ("inception_v3", &[": branches: it reads another node"]),
    ("googlenet", &[": branches: it reads another node"]),
    ("mnasnet0_5", &[]),
    ("mobilenet_v2", &[]),
    ("resnet50", &[]),
    ("resnext50_32x4d", &[]),
    ("vgg11", &[]),
    ("vgg11_bn", &[]),
    ("alexnet", &[]),
    // Fire modules: two convolutions read what the one before them squeezed.
    ("squeezenet1_0", &["features.5.expand3x3", ": branches: it reads another node"]),
    ("squeezenet1_1", &["features.3.expand3x3", ": branches: it reads another node"]),
    ("excited", &["se.0: squeeze-and-excitation"]),
    ("reduced", &["_se_reduce: squeeze-and-excitation"]),
    ("mixer", &["mix: linear layers before convolutions"]),
    ("squeezed", &[]),
    ("recurrent", &["gru.bias_hh_l0 [24]: a recurrent layer"]),
    ("wider", &["1: a transposed convolution"]),
    // As a convolution of two groups it keeps 16 channels.
    ("halved", &["2: branches"]),
    ("named", &["1.deconv: a transposed convolution"]),
    ("groups", &["1.bias [8]: a norm without running statistics"]),
    ("bare", &["1.running_mean [8]: a batch norm without weight and bias"]),
    ("prelu", &["1.weight [8]: tensors of no operation"]),
    ("line", &["1.bias [8]: a convolution of other than two dimensions"]),
    ("perceptron", &[]),
    ("unnamed", &["fc.0: squeeze-and-excitation"]),
    ("oblong", &["1, 2: a window that is not square"]),
];

/// A draft that does not say its network names what it lacks, and is refused unchanged by that; one that says
/// it is read.
#[test]
fn drafts_of_other_networks_are_refused() {
    let networks = networks();
    assert_eq!(networks.len(), LACKING.len());
    for ((name, tensors), (expected, lacking)) in networks.iter().zip(LACKING) {
        assert_eq!(*name, expected);
        let text = draft(tensors);
        let found = text.parse::<Graph>();
        if lacking.is_empty() {
            assert!(found.is_ok(), "{name}: {found:?}\n{text}");
            continue;
        }
        let refused = found.expect_err(name).to_string();
        for what in lacking {
            assert!(refused.contains(what), "{name}: {refused}\n{text}");
        }
        assert!(refused.contains("a draft that is not this network"), "{refused}");
    }
}

/// What is put together is not multiplied: in the order of PyTorch, and by names, as safetensors may have it.
#[test]
fn fire_modules_do_not_excite() {
    for name in ["squeezenet1_0", "squeezenet1_1"] {
        let (_, mut tensors) = networks().into_iter().find(|(n, _)| *n == name).unwrap();
        let in_order = draft(&tensors);
        tensors.sort();
        for text in [in_order, draft(&tensors)] {
            assert!(!text.contains("squeeze-and-excitation"), "{name}:\n{text}");
            let refused = text.parse::<Graph>().expect_err(name).to_string();
            assert!(refused.contains(": branches: "), "{refused}");
        }
    }
}

/// What is to be done about a doubt stands in its line, and the error has the whole line.
#[test]
fn errors_say_all_that_drafts_do() {
    let mut texts = std::collections::BTreeSet::new();
    for (name, tensors) in networks() {
        let text = draft(&tensors);
        let doubts: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("? ")).collect();
        let error = text.parse::<Graph>().err().map(|e| e.to_string()).unwrap_or_default();
        for doubt in doubts {
            assert!(!doubt.contains([';', '#']), "{doubt}");
            assert!(error.contains(doubt), "{name}: {doubt}\nis not in {error}");
            texts.insert(doubt.split_once(": ").unwrap().1.to_owned());
        }
    }
    // Every kind of doubt has been seen.
    assert_eq!(texts.len(), 11, "{texts:?}");
    let remedy = "say by @ what is read, and where they meet (add, concat, mul)";
    assert!(texts.iter().any(|t| t.starts_with("branches: ") && t.contains(remedy)), "{texts:?}");
}
