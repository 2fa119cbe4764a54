//! Network families. Each file builds a graph from a table of widths; parameter names are the
//! keys of the original's PyTorch state dict, so that checkpoints load by name both ways.

mod resnet;
mod studentnet;

pub use resnet::resnet18;
pub use studentnet::studentnet;

use crate::array::Array;
use crate::graph::{Graph, Op, Weights};
use crate::rng::Rng;
use anyhow::{Result, anyhow, ensure};
use clap::ValueEnum;

/// A family by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// torchvision's ResNet-18: 11,182,155 parameters at 11 classes.
    Resnet18,
    /// The course tutorial's depthwise-separable student: 256,779 parameters at 11 classes.
    Studentnet,
}

impl Arch {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Studentnet => "studentnet",
        }
    }

    /// The network with every inner width multiplied by `width`.
    ///
    /// # Errors
    /// A multiplier that leaves no channel, or fewer than two classes.
    pub fn build(self, width: f32, classes: usize) -> Result<Graph> {
        ensure!((0.01..=16.0).contains(&width), "width multiplier {width} is not in 0.01..=16");
        ensure!(classes >= 2, "a classifier needs at least 2 classes, not {classes}");
        let scale = |n: usize| ((n as f32 * width) as usize).max(1);
        match self {
            Self::Resnet18 => resnet18([64, 128, 256, 512].map(scale), classes),
            Self::Studentnet => {
                studentnet([16, 32, 64, 128, 256, 256, 256, 256].map(scale), classes)
            }
        }
    }
}

/// The family and graph that `weights` belong to, by their names; widths are those of the weights.
/// With `only`, no other family is tried.
///
/// # Errors
/// Weights of no known family: for a single one, the first tensor that does not fit.
pub fn recognise(weights: &Weights, only: Option<Arch>) -> Result<(Arch, Graph)> {
    let families = match &only {
        Some(arch) => std::slice::from_ref(arch),
        None => Arch::value_variants(),
    };
    let mut reason = anyhow!("no families");
    for arch in families {
        match arch.build(1.0, 2)?.with_widths_of(weights) {
            Ok(graph) => return Ok((*arch, graph)),
            Err(e) => reason = e.context(format!("not a {}", arch.name())),
        }
    }
    Err(reason)
}

/// Folded weights of a known family as the original network has them, batch norms included.
///
/// # Errors
/// Weights of no known family.
pub fn unfold(folded: &Weights) -> Result<(Graph, Weights)> {
    let mut reason = anyhow!("no families");
    for arch in Arch::value_variants() {
        match arch.build(1.0, 2)?.unfold(folded) {
            Ok(original) => return Ok(original),
            Err(e) => reason = e.context(format!("not a {}", arch.name())),
        }
    }
    Err(reason)
}

/// Fresh weights: He et al. 2015 (fan in) for convolutions, `U(±1/√in)` for linear layers, batch
/// norms that do nothing yet.
pub fn initial_weights(graph: &Graph, seed: u64) -> Weights {
    let mut weights = Weights::new();
    for node in graph.nodes() {
        for (name, shape) in node.parameters() {
            let fan_in: usize = shape[1..].iter().product();
            let rng = &mut Rng::new(seed, &name, 0);
            let mut array = Array::filled(&shape, 0.0);
            match node.op {
                Op::Conv { .. } if shape.len() == 4 => {
                    let deviation = (2.0 / fan_in as f32).sqrt();
                    array.values.fill_with(|| deviation * rng.normal());
                }
                Op::Linear { input, .. } => {
                    let bound = 1.0 / (input as f32).sqrt();
                    array.values.fill_with(|| rng.between(-bound, bound));
                }
                Op::BatchNorm { .. } if name.ends_with(".weight") => array.values.fill(1.0),
                _ => {}
            }
            weights.insert(name, array);
        }
        for (name, shape) in node.buffers() {
            let value = if name.ends_with("var") { 1.0 } else { 0.0 };
            weights.insert(name, Array::filled(&shape, value));
        }
    }
    weights
}
