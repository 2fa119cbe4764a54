//! What tensors of no known family are nearest to, and what differs.

use crate::names::{self, Names};
use graph::families::{self, Family};
use graph::{Graph, Result, Weights};
use std::collections::{BTreeMap, BTreeSet};

/// A family beside tensors that are not its own.
struct Near<'f> {
    family: &'f Family,
    /// Names that both have, of those that either has.
    names: f64,
    /// The same of their layers, by kind and window.
    layers: f64,
    text: String,
}

/// The one of `families` that is nearest to the tensors, and what differs, in words: by names, and where none
/// is shared by layers.
///
/// # Errors
/// Only a family that cannot be built.
pub(crate) fn nearest(tensors: &Names, families: &[Family]) -> Result<String> {
    let forms = families::forms(families)?;
    let whole = tensors.shapes("").len();
    let mut best: Option<Near> = None;
    for prefix in tensors.prefixes() {
        let mut shapes = tensors.shapes(prefix);
        // A smaller part of the file is hardly the network.
        if shapes.len() * 4 < whole {
            continue;
        }
        shapes.retain(|n, _| !names::is_of_training(n) && !n.ends_with(".num_batches_tracked"));
        for (family, form) in &forms {
            let near = near(family, &form.factored_like(&shapes)?, prefix, &shapes);
            let is_nearer = |b: &Near| (near.names, near.layers) > (b.names, b.layers);
            if best.as_ref().is_none_or(is_nearer) {
                best = Some(near);
            }
        }
    }
    let text = best.map(|b| format!("nearest is {}{}", b.family.name, b.text));
    Ok(text.unwrap_or_else(|| "no families".to_owned()))
}

fn near<'f>(family: &'f Family, graph: &Graph, prefix: &str, shapes: &Weights) -> Near<'f> {
    let parameters: Vec<(String, Vec<usize>)> =
        graph.parameters().map(|p| (p.name, p.shape)).collect();
    let own: BTreeSet<&str> = parameters.iter().map(|(n, _)| n.as_str()).collect();
    let missing = parameters.iter().map(|(n, _)| n.as_str()).filter(|n| !shapes.contains_key(*n));
    let missing: Vec<&str> = missing.collect();
    let extra: Vec<&str> = shapes.keys().map(String::as_str).filter(|n| !own.contains(n)).collect();
    let shared = own.len() - missing.len();
    let (theirs, its) = (
        layers(shapes.values().map(|a| &a.shape[..])),
        layers(parameters.iter().map(|(_, s)| &s[..])),
    );
    let mut text = match prefix.trim_end_matches('.') {
        "" => String::new(),
        prefix => format!(" (under {prefix})"),
    };
    text += &format!(": of its {} tensors {shared} are here", own.len());
    for (what, names) in [("missing", &missing), ("not of it", &extra)] {
        if !names.is_empty() {
            text += &format!("; {what}: {}", few(names));
        }
    }
    match graph.with_widths_of(shapes) {
        Err(reason) if missing.is_empty() && extra.is_empty() => text += &format!("; {reason}"),
        _ if its != theirs => {
            text += &format!("; it has {}, the file {}", words(&its), words(&theirs))
        }
        _ => {}
    }
    let names = overlap(shared, own.len(), shapes.len());
    let both = its.iter().map(|(kind, n)| *n.min(theirs.get(kind).unwrap_or(&0))).sum();
    let layers = overlap(both, its.values().sum(), theirs.values().sum());
    Near { family, names, layers, text }
}

/// What two sets have in common of what either has.
fn overlap(both: usize, one: usize, other: usize) -> f64 {
    both as f64 / (one + other - both).max(1) as f64
}

/// How many layers of each kind: convolutions by their window, None for linear layers.
fn layers<'s>(shapes: impl Iterator<Item = &'s [usize]>) -> BTreeMap<Option<usize>, usize> {
    let mut layers = BTreeMap::new();
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

fn words(layers: &BTreeMap<Option<usize>, usize>) -> String {
    let word = |(kind, n): (&Option<usize>, &usize)| match kind {
        Some(side) => format!("{n} × conv k{side}"),
        None => format!("{n} × linear"),
    };
    let words: Vec<String> = layers.iter().rev().map(word).collect();
    if words.is_empty() { "no layers".to_owned() } else { words.join(" + ") }
}

/// Names that a line shows of those that differ.
const MOST_SHOWN: usize = 4;

fn few(names: &[&str]) -> String {
    let shown = names[..names.len().min(MOST_SHOWN)].join(", ");
    match names.len().saturating_sub(MOST_SHOWN) {
        0 => shown,
        n => format!("{shown} and {n} more"),
    }
}
