//! The layer that makes the logits, as graph, layout and schedule tell it.

use graph::families::{self, Knobs};
use graph::schedule::{Fusing, Schedule};
use graph::{Graph, Layout, Result};

/// By hand; then of every family graph, layout and schedule mean the same layer, which makes the logits.
#[test]
fn the_head_is_one_layer() -> Result<()> {
    for (text, expected) in [
        ("input 3;a:conv 3>4 k1 bias;gap;f:linear 4>2 bias", Some("f")),
        ("input 3;a:conv 3>4 k1 bias;f:conv 4>2 k1 bias;relu;gap", Some("f")),
    ] {
        let graph: Graph = text.parse()?;
        assert_eq!(graph.head().map(|at| graph.nodes()[at].name.as_str()), expected, "{text}");
        let layout = Layout::of(&graph);
        let names: Vec<&str> =
            layout.head().iter().map(|i| layout.slots()[*i].name.as_str()).collect();
        assert_eq!(names, ["f.weight", "f.bias"], "{text}");
    }
    for family in families::ALL {
        let knobs = Knobs { width: 0.5, stem_stride: None, extra_blocks: 0, classes: 7 };
        let graph = family.build(&knobs)?;
        let head = graph.head().expect("the logits of a family come from a last layer");
        let schedule = Schedule::new(&graph, 64, Fusing::NONE)?;
        let weight = schedule.layout.head()[0];
        let name = format!("{}.weight", graph.nodes()[head].name);
        assert_eq!(schedule.layout.slots()[weight].name, name, "{}", family.name);
        let operation = schedule.head().expect("and it is a convolution or a linear layer");
        assert_eq!(schedule.operations[operation].parameters[0], weight, "{}", family.name);
    }
    Ok(())
}
