//! Network families. Each file builds a graph from a table of widths; parameter names are the
//! keys of the original's PyTorch state dict, so that checkpoints load by name both ways.

mod resnet;
mod studentnet;

pub use resnet::resnet18;
pub use studentnet::studentnet;

use crate::error::{Error, Result, bail, ensure};
use crate::network::{Graph, Weights};

/// An architecture at any width.
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The network with every inner width put through `scale`, for so many classes.
    build: fn(scale: &dyn Fn(usize) -> usize, classes: usize) -> Result<Graph>,
}

/// Every family there is.
pub const ALL: &[Family] = &[resnet::FAMILY, studentnet::FAMILY];

/// The family called `name`.
///
/// # Errors
/// A name that none has.
pub fn find(name: &str) -> Result<&'static Family> {
    let names = || ALL.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|f| f.name == name);
    found.ok_or_else(|| Error::new(format!("no network family {name:?}; known: {}", names())))
}

impl Family {
    /// The network with every inner width multiplied by `width`.
    ///
    /// # Errors
    /// A multiplier out of range, or fewer than two classes.
    pub fn build(&self, width: f32, classes: usize) -> Result<Graph> {
        ensure!((0.01..=16.0).contains(&width), "width multiplier {width} is not in 0.01..=16");
        ensure!(classes >= 2, "a classifier needs at least 2 classes, not {classes}");
        (self.build)(&|n| ((n as f32 * width) as usize).max(1), classes)
    }
}

/// The first of `families` that `fit` accepts, with what it makes of it.
fn first<T>(families: &[Family], fit: impl Fn(&Graph) -> Result<T>) -> Result<(&Family, T)> {
    let mut reason = None;
    for family in families {
        match fit(&family.build(1.0, 2)?) {
            Ok(found) => return Ok((family, found)),
            Err(e) => reason = Some(e.at(format!("not a {}", family.name))),
        }
    }
    match reason {
        Some(reason) => Err(reason),
        None => bail!("no families"),
    }
}

/// The family and graph that `weights` belong to, by their names; widths are those of the weights.
///
/// # Errors
/// Weights of none of `families`: for a single one, the first tensor that does not fit.
pub fn recognise<'a>(families: &'a [Family], weights: &Weights) -> Result<(&'a Family, Graph)> {
    first(families, |graph| graph.with_widths_of(weights))
}

/// Folded weights of a known family as the original network has them, batch norms included.
///
/// # Errors
/// Weights of no known family.
pub fn unfold(folded: &Weights) -> Result<(Graph, Weights)> {
    first(ALL, |graph| graph.unfold(folded)).map(|(_, original)| original)
}
