//! How large a fresh network is: the knobs of its family, or a size it is to have.

use anyhow::Result;
use graph::families::{self, Knobs};
use graph::{Graph, Role};
use serde::Serialize;

/// The flags of a fresh network, which exclude a model to go on from. What needs that model excludes them by itself,
/// too: clap does not ask for a flag that one which is there excludes.
pub const FRESH: [&str; 4] = ["arch", "graph", "raw_pixels", "Sizing"];

/// Flags of every program that makes a fresh network; everything that decides its shape besides the
/// family and the number of classes.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Sizing {
    /// Factor on every inner width of the family, 0.01 to 16.
    #[arg(long, default_value_t = 1.0, conflicts_with_all = ["params", "bytes"])]
    pub width: f32,
    /// Instead of --width: as wide as this many parameters allow.
    #[arg(long, value_name = "N", conflicts_with = "bytes")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<usize>,
    /// Instead of --width: as wide as a coded file of so many bytes allows, by the estimate that every
    /// weight takes --bits-per-weight and every bias and scale a byte.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// What --bytes reckons with for each weight that is stored. At 2.4, before last layers were joined, files of
    /// 300,000 bytes lost nothing of studentnet once trained; at 1.7 those of resnet18 lost 0.1 points (RESULTS.md).
    #[arg(long, value_name = "B", default_value_t = BITS_PER_WEIGHT, requires = "bytes")]
    #[arg(conflicts_with_all = ["width", "params"])]
    #[serde(skip_serializing_if = "is_usual")]
    pub bits_per_weight: f32,
    /// By how much the stem makes pictures smaller, for small pictures: 1, 2 or 4, at most the family's
    /// own. A stem of 4 becomes one of 2 without its pool, one of 1 by a convolution of stride 1.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem_stride: Option<usize>,
    /// Blocks added at the end (studentnet: up to 16).
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[serde(skip_serializing_if = "is_none")]
    pub extra_blocks: usize,
}

/// What --bytes reckons with unless told otherwise.
const BITS_PER_WEIGHT: f32 = 2.4;

/// The family's own size.
impl Default for Sizing {
    fn default() -> Self {
        Self {
            width: 1.0,
            params: None,
            bytes: None,
            bits_per_weight: BITS_PER_WEIGHT,
            stem_stride: None,
            extra_blocks: 0,
        }
    }
}

/// Headers leave out what nobody asked for.
fn is_none(n: &usize) -> bool {
    *n == 0
}

fn is_usual(bits: &f32) -> bool {
    *bits == BITS_PER_WEIGHT
}

/// Bytes of the header in a coded file besides the graph: class names and the like.
const HEADER: usize = 800;

/// An estimate of the coded file of `graph`, bytes.
fn coded_bytes(graph: &Graph, bits_per_weight: f32) -> f64 {
    let Ok(graph) = graph.with_joined_head() else { return f64::INFINITY };
    let count = |role: Role| -> f64 {
        let all = graph.parameters().filter(|p| p.role == role);
        all.map(|p| p.shape.iter().product::<usize>() as f64).sum()
    };
    // A byte for the bias and one for the scale of every output channel.
    let outputs: usize =
        graph.nodes().iter().filter_map(|n| n.op.as_conv()).map(|c| c.output).sum();
    let header = (HEADER + graph.to_string().len()) as f64;
    header + count(Role::Weight) * f64::from(bits_per_weight) / 8.0 + 2.0 * outputs as f64
}

impl Sizing {
    /// The network of the family `arch` for so many classes.
    ///
    /// # Errors
    /// An unknown family, knobs out of range, a size that not even the narrowest has.
    pub fn graph(&self, arch: &str, classes: usize) -> Result<Graph> {
        let Self { width, stem_stride, extra_blocks, bits_per_weight, .. } = *self;
        let family = families::find(arch)?;
        let knobs = Knobs { width, stem_stride, extra_blocks, classes };
        anyhow::ensure!(
            (0.1..=32.0).contains(&bits_per_weight),
            "--bits-per-weight {bits_per_weight}: expected 0.1 to 32"
        );
        Ok(match (self.params, self.bytes) {
            (Some(n), _) => family.widest(&knobs, |g| g.parameter_count() <= n)?,
            (None, Some(n)) => {
                family.widest(&knobs, |g| coded_bytes(g, bits_per_weight) <= n as f64)?
            }
            (None, None) => family.build(&knobs)?,
        })
    }
}
