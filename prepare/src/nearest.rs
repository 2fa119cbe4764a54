//! What tensors of no known family are nearest to, and what differs.

use crate::names::{self, Names};
use graph::families::{self, Family};
use graph::{Graph, Result, Weights};
use std::collections::BTreeMap;

/// The one of `families` that is nearest to the tensors, and what differs, in words: by names, and where none
/// is shared by layers.
///
/// # Errors
/// Only a family that cannot be built.
pub(crate) fn nearest(tensors: &Names, families: &[Family]) -> Result<String> {
    let forms = families::forms(families)?;
    let whole = tensors.shapes("").len();
    let mut best = ((-1.0, -1.0), String::new());
    for prefix in tensors.prefixes() {
        // A smaller part of the file is hardly the network.
        if tensors.count(prefix) * 4 < whole {
            continue;
        }
        let mut shapes = tensors.shapes(prefix);
        shapes.retain(|n, _| !names::is_of_training(n) && !n.ends_with(".num_batches_tracked"));
        let theirs = layers(shapes.values().map(|a| &a.shape[..]));
        for (family, form) in &forms {
            let graph = form.factored_like(&shapes)?;
            let nearness = nearness(&graph, &shapes, &theirs);
            if nearness > best.0 {
                best = (nearness, differences(family, &graph, prefix, &shapes));
            }
        }
    }
    Ok(best.1)
}

/// Names that a graph shares with tensors, and layers by kind and window, of those that either has.
fn nearness(graph: &Graph, shapes: &Weights, theirs: &Layers) -> (f64, f64) {
    let parameters: Vec<_> = graph.parameters().collect();
    let its = layers(parameters.iter().map(|p| &p.shape[..]));
    let shared = parameters.iter().filter(|p| shapes.contains_key(&p.name)).count();
    let both = its.iter().map(|(kind, n)| *n.min(theirs.get(kind).unwrap_or(&0))).sum();
    (
        overlap(shared, parameters.len(), shapes.len()),
        overlap(both, its.values().sum(), theirs.values().sum()),
    )
}

/// What differs between a graph of a family and tensors, in words.
fn differences(family: &Family, graph: &Graph, prefix: &str, shapes: &Weights) -> String {
    let parameters: BTreeMap<String, Vec<usize>> =
        graph.parameters().map(|p| (p.name, p.shape)).collect();
    // In the order of the network.
    let missing: Vec<String> =
        graph.parameters().map(|p| p.name).filter(|n| !shapes.contains_key(n)).collect();
    let extra: Vec<String> =
        shapes.keys().filter(|n| !parameters.contains_key(*n)).cloned().collect();
    let (its, theirs) = (
        layers(parameters.values().map(|s| &s[..])),
        layers(shapes.values().map(|a| &a.shape[..])),
    );
    let place = match prefix.trim_end_matches('.') {
        "" => String::new(),
        prefix => format!(" (under {prefix})"),
    };
    let (name, all) = (family.name, parameters.len());
    let mut text =
        format!("nearest is {name}{place}: of its {all} tensors {} are here", all - missing.len());
    for (what, names) in [("missing", &missing), ("not of it", &extra)] {
        if !names.is_empty() {
            text += &format!("; {what}: {}", few(names));
        }
    }
    match graph.with_widths_of(shapes) {
        Err(reason) if missing.is_empty() && extra.is_empty() => text += &format!("; {reason}"),
        _ if its != theirs => {
            text += &format!("; it has {}, the file {}", words(&its), words(&theirs));
        }
        _ => {}
    }
    text
}

/// How many layers there are of a kind: convolutions by their window, None for linear layers.
type Layers = BTreeMap<Option<usize>, usize>;

/// What two sets have in common of what either has.
fn overlap(both: usize, one: usize, other: usize) -> f64 {
    both as f64 / (one + other - both).max(1) as f64
}

fn layers<'s>(shapes: impl Iterator<Item = &'s [usize]>) -> Layers {
    let mut layers = Layers::new();
    for shape in shapes {
        let kind = match shape {
            [_, _] => None,
            [_, _, h, _] => Some(*h),
            _ => continue,
        };
        *layers.entry(kind).or_default() += 1;
    }
    layers
}

fn words(layers: &Layers) -> String {
    let word = |(kind, n): (&Option<usize>, &usize)| match kind {
        Some(side) => format!("{n} × conv k{side}"),
        None => format!("{n} × linear"),
    };
    let words: Vec<String> = layers.iter().rev().map(word).collect();
    if words.is_empty() { "no layers".to_owned() } else { words.join(" + ") }
}

/// Names that a line shows of those that differ.
const MOST_SHOWN: usize = 4;

/// Names in a line: the first of them, and how many more.
pub(crate) fn few(names: &[String]) -> String {
    let shown = names[..names.len().min(MOST_SHOWN)].join(", ");
    match names.len().saturating_sub(MOST_SHOWN) {
        0 => shown,
        n => format!("{shown} and {n} more"),
    }
}
