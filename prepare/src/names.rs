//! Which of a file's tensors are a network's: programs put names before them, and leave other tensors and
//! other networks beside them.

use checkpoint::{Bundle, Tensor};
use graph::families::{self, Family};
use graph::{Array, Graph, Result, Weights};
use std::collections::{BTreeMap, BTreeSet};

/// Parts of names that a wrapper adds to those of what it wraps, the whole network or one module of it:
/// DataParallel, torch.compile, FSDP, activation checkpoints, Lightning's Fabric, Opacus.
const WRAPPERS: [&str; 6] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_module",
];

/// What training scripts call the network that others stand beside: it is preferred to those.
const PREFERRED: [&str; 4] = ["model", "net", "network", "student"];

/// What they call a network as a whole; drafts leave these names out.
const HOLDERS: [&str; 7] =
    ["model.", "net.", "network.", "backbone.", "encoder.", "student.", "base_model."];

/// Tensors that belong to no layer: thop's counts of operations, and AveragedModel's of averages.
const COUNTERS: [&str; 3] = ["total_ops", "total_params", "n_averaged"];

/// Words in the names of what only training has: a loss with weights or prototypes, a metric.
const TRAINING: [&str; 4] = ["criterion", "loss", "metric", "metrics"];

/// Whether a tensor is no part of what a network computes, by its name.
pub(crate) fn is_of_training(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let has_word = |part: &str| part.split('_').any(|word| TRAINING.contains(&word));
    COUNTERS.contains(&last) || name.split('.').any(has_word)
}

/// Tensors under their names without wrappers, in the order of the file.
pub(crate) struct Names<'a> {
    tensors: Vec<(String, &'a Tensor)>,
    /// Places of tensors, sorted by their names.
    sorted: Vec<usize>,
}

/// The tensors of a network.
pub(crate) struct Part {
    /// What stands before their names: nothing, or names with a dot behind each.
    pub(crate) prefix: String,
    /// Its own names.
    own: BTreeSet<String>,
    pub(crate) graph: Graph,
    /// Tensors under the prefix that are not its own: of modules that stand beside its own ones.
    beside: Vec<String>,
}

/// A [`Part`] that is of a known family.
pub(crate) struct Known<'f> {
    pub(crate) family: &'f Family,
    pub(crate) part: Part,
    /// Why it may be no network by itself, and what to do if it is; empty where nothing says so.
    pub(crate) doubt: String,
}

impl<'a> Names<'a> {
    /// Of a file's tensors, without the names of wrappers where that leaves them apart, and by the names
    /// that families have today.
    pub(crate) fn new(bundle: &'a Bundle) -> Self {
        let plain = |name: &str| {
            let parts: Vec<&str> = name.split('.').filter(|p| !WRAPPERS.contains(p)).collect();
            families::current_name(&parts.join("."))
        };
        let names: BTreeSet<String> = bundle.iter().map(|(n, _)| plain(n)).collect();
        let is_apart = names.len() == bundle.len() && !names.contains("");
        if !is_apart {
            return Self::of_file(bundle);
        }
        Self::called(bundle.iter().map(|(n, t)| (plain(n), t)).collect())
    }

    /// Of a file's tensors as they are called there.
    pub(crate) fn of_file(bundle: &'a Bundle) -> Self {
        Self::called(bundle.iter().map(|(n, t)| (n.clone(), t)).collect())
    }

    fn called(tensors: Vec<(String, &'a Tensor)>) -> Self {
        let mut sorted: Vec<usize> = (0..tensors.len()).collect();
        sorted.sort_by_key(|i| &tensors[*i].0);
        Self { tensors, sorted }
    }

    /// Beginnings of names, the shortest first, then in the order of the file.
    pub(crate) fn prefixes(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let mut prefixes = vec![""];
        for (name, _) in &self.tensors {
            for prefix in beginnings(name) {
                if seen.insert(prefix) {
                    prefixes.push(prefix);
                }
            }
        }
        prefixes.sort_by_key(|p| p.matches('.').count());
        prefixes
    }

    /// Names and shapes under `prefix`, without values.
    pub(crate) fn shapes(&self, prefix: &str) -> Weights {
        let shape = |t: &Tensor| Array { shape: t.shape.clone(), values: Vec::new() };
        self.under(prefix).map(|(name, tensor)| (name.to_owned(), shape(tensor))).collect()
    }

    /// How many tensors are under `prefix`.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.under(prefix).count()
    }

    fn under<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (&'s str, &'a Tensor)> {
        let first = self.sorted.partition_point(|i| *self.tensors[*i].0 < *prefix);
        let all = self.sorted[first..].iter().map(|i| &self.tensors[*i]);
        all.map_while(move |(n, t)| Some((n.strip_prefix(prefix)?, *t)))
    }

    /// The tensors of a part by its own names.
    pub(crate) fn weights(&self, part: &Part) -> anyhow::Result<Weights> {
        let own = self.under(&part.prefix).filter(|(n, _)| part.own.contains(*n));
        own.map(|(n, t)| Ok((n.to_owned(), t.to_array()?))).collect()
    }

    /// What is no tensor of a part, in words; None if everything is.
    pub(crate) fn left_over(&self, part: &Part) -> Option<String> {
        let own = |n: &str| n.strip_prefix(&part.prefix).is_some_and(|n| part.own.contains(n));
        let left = self.tensors.iter().map(|(n, _)| n.as_str()).filter(|n| !own(n));
        listed(left)
    }

    /// Every network of `families` among the tensors, the one to take first: one without doubts, one with a
    /// name for the network, the largest, the first of the file.
    pub(crate) fn known<'f>(&self, families: &'f [Family]) -> Result<Vec<Known<'f>>> {
        let forms = families::forms(families)?;
        let least = forms.iter().map(|(_, form)| form.parameters().count()).min().unwrap_or(0);
        let mut known = Vec::new();
        for prefix in self.prefixes() {
            if self.under(prefix).take(least).count() < least {
                continue;
            }
            let shapes = self.shapes(prefix);
            let parts = forms.iter().filter_map(|(family, form)| {
                let graph = like(form, &shapes)?;
                let part = part(prefix, graph, &shapes)?;
                Some(Known { family, part, doubt: String::new() })
            });
            known.extend(parts.min_by_key(|k| k.part.beside.len()));
        }
        let readers = self.readers(&known);
        let doubts: Vec<String> = known.iter().map(|k| doubt(k, &readers)).collect();
        known.iter_mut().zip(doubts).for_each(|(k, doubt)| k.doubt = doubt);
        let is_preferred = |k: &Known| {
            let last = k.part.prefix.trim_end_matches('.').rsplit('.').next();
            last.is_some_and(|l| PREFERRED.contains(&l))
        };
        known.sort_by_key(|k| {
            let size = k.part.graph.parameter_count();
            (!k.doubt.is_empty(), !is_preferred(k), std::cmp::Reverse(size))
        });
        Ok(known)
    }

    /// Of layers that are of no known network, by the number of channels they read, the first.
    fn readers(&self, known: &[Known]) -> BTreeMap<usize, &str> {
        let prefixes: BTreeSet<&str> = known.iter().map(|k| k.part.prefix.as_str()).collect();
        let is_inside =
            |n| prefixes.contains("") || beginnings(n).any(|prefix| prefixes.contains(prefix));
        let mut readers = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            if let [_, input, ..] = tensor.shape[..]
                && !is_inside(name)
                && !is_of_training(name)
            {
                readers.entry(input).or_insert(name.as_str());
            }
        }
        readers
    }

    /// Where most tensors of `graph` are, as a part of the file.
    pub(crate) fn part_for(&self, graph: &Graph) -> (usize, Part) {
        let own: BTreeSet<String> = graph.parameters().map(|p| p.name).collect();
        let count = |prefix: &str| self.under(prefix).filter(|(n, _)| own.contains(*n)).count();
        let counts = self.prefixes().into_iter().map(|p| (count(p), p)).rev();
        let (count, prefix) = counts.max_by_key(|(count, _)| *count).unwrap_or((0, ""));
        // All that is there: what does not fit the graph is an error to be told.
        let own = self.under(prefix).map(|(n, _)| n.to_owned());
        let own = own.filter(|n| !is_of_training(n)).collect();
        (count, Part { prefix: prefix.to_owned(), own, graph: graph.clone(), beside: Vec::new() })
    }

    /// Names and shapes for a draft: without what only training has, and without names for the whole.
    pub(crate) fn for_draft(&self) -> Vec<(String, Vec<usize>)> {
        let tensors = self.tensors.iter().filter(|(n, _)| !is_of_training(n));
        let mut tensors: Vec<_> = tensors.map(|(n, t)| (n.clone(), t.shape.clone())).collect();
        let holder = |tensors: &[(String, _)]| {
            let all =
                |h: &&&str| !tensors.is_empty() && tensors.iter().all(|(n, _)| n.starts_with(**h));
            HOLDERS.iter().find(all).map(|h| h.len())
        };
        while let Some(length) = holder(&tensors) {
            tensors.iter_mut().for_each(|(n, _)| drop(n.drain(..length)));
        }
        tensors
    }
}

/// Why a network may be no network by itself; nothing where no tensor says so.
fn doubt(of: &Known, readers: &BTreeMap<usize, &str>) -> String {
    let Known { family, part: Part { prefix, graph, beside, .. }, .. } = of;
    let (name, part, answers) = (family.name, prefix.trim_end_matches('.'), graph.classes());
    if let Some(beside) = listed(beside.iter().map(String::as_str)) {
        return format!(
            "all tensors of a {name} are here; if {beside} beside them are no part of what it computes, \
             --arch {name} takes it without them"
        );
    }
    readers.get(&answers).map_or_else(String::new, |reader| {
        format!(
            "all tensors of a {name} are here under {part}, and {reader} may read its {answers} answers; if \
             not, --weights-of {part} takes it alone"
        )
    })
}

/// Deepest modules that are looked for networks.
const MOST_DEEP: usize = 16;

/// What a name begins with, to each of its dots.
fn beginnings(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').take(MOST_DEEP).map(|(dot, _)| &name[..=dot])
}

/// `form` at the widths and ranks of tensors that may be more than its own; None if they are others.
fn like(form: &Graph, shapes: &Weights) -> Option<Graph> {
    // Nearly every beginning of names fails here.
    let first = form.nodes().iter().find(|n| !n.name.is_empty())?;
    let has = |end: &str| shapes.contains_key(&format!("{}.{end}", first.name));
    if !has("weight") && !has("0.weight") {
        return None;
    }
    let form = form.factored_like(shapes).ok()?;
    let own = own(&form, shapes);
    let shapes = shapes.iter().filter(|(n, _)| own.contains(*n));
    form.with_widths_of(&shapes.map(|(n, a)| (n.clone(), a.clone())).collect()).ok()
}

/// The names of a graph's tensors among `shapes`, batch norms' counters with them.
fn own(graph: &Graph, shapes: &Weights) -> BTreeSet<String> {
    let parameters: BTreeSet<String> = graph.parameters().map(|p| p.name).collect();
    let is_own = |n: &&String| {
        let norm = n.strip_suffix(".num_batches_tracked");
        parameters.contains(*n)
            || norm.is_some_and(|n| parameters.contains(&format!("{n}.running_var")))
    };
    shapes.keys().filter(is_own).cloned().collect()
}

/// The tensors of `graph` among `shapes`; None where others are inside its own modules, as those of another
/// network that has its names and more.
fn part(prefix: &str, graph: Graph, shapes: &Weights) -> Option<Part> {
    let own = own(&graph, shapes);
    let first = |n: &str| n.split('.').next().unwrap_or_default().to_owned();
    let modules: BTreeSet<String> = own.iter().map(|n| first(n)).collect();
    let beside = shapes.keys().filter(|n| !own.contains(*n) && !is_of_training(n));
    let beside: Vec<String> = beside.cloned().collect();
    let is_inside = beside.iter().any(|n| modules.contains(&first(n)));
    (!is_inside).then(|| Part { prefix: prefix.to_owned(), own, graph, beside })
}

/// Names in few words: counters by their kind, others by the module they are of.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut groups: Vec<(&str, usize, &str)> = Vec::new();
    let mut places = BTreeMap::new();
    for name in names {
        let last = name.rsplit('.').next().unwrap_or(name);
        let first = name.split('.').next().unwrap_or(name);
        let key = if COUNTERS.contains(&last) { last } else { first };
        let place = *places.entry(key).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, count, _)) => *count += 1,
            None => groups.push((key, 1, name)),
        }
    }
    let words = |(key, count, name): &(&str, usize, &str)| match count {
        1 => (*name).to_owned(),
        n => format!("{key} ({n} tensors)"),
    };
    let shown: Vec<String> = groups.iter().take(MOST_SHOWN).map(words).collect();
    let more = match groups.len().saturating_sub(MOST_SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    (!shown.is_empty()).then(|| shown.join(", ") + &more)
}

/// Names that a line shows.
const MOST_SHOWN: usize = 8;
