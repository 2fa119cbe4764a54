//! Which of a file's dictionaries are the weights: a checkpoint holds an optimizer's and a schedule's
//! besides, an average of the weights, or the parts of a network one by one.

use crate::object::{Id, Made, Object, Raw, TensorRef};
use crate::pickle::Pickle;
use crate::values::{Bundle, Tensor};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeSet, VecDeque};

/// Keys that training scripts give all of a network's weights: what lies beside them is no part of it.
const WHOLE: [&str; 8] =
    ["state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "student"];

/// Weights, and what is to be said of them.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tensors: Bundle,
    /// What was put together and what was not read, a line each.
    pub(super) notes: Vec<String>,
    /// Dictionaries that were not read and could be a network's.
    pub(super) others: Vec<String>,
}

/// A dictionary with tensors.
struct Dict<'a> {
    /// Its keys from the root, dotted.
    path: String,
    /// How many keys these are.
    depth: usize,
    /// The dictionary that holds it, and its key there.
    parent: Option<(Id, &'a str)>,
    entries: &'a [(Id, Id)],
    /// Its tensors.
    count: usize,
    /// Whether it is an optimizer's, or lies under a whole number as what an optimizer knows of each weight.
    is_optimizers: bool,
}

impl Dict<'_> {
    /// Its path in words.
    fn name(&self) -> &str {
        if self.path.is_empty() { "the outermost one" } else { &self.path }
    }
}

impl<'a> Pickle<'a> {
    /// The weights, and what else there is, in words. `view` reads torch tensors; `limit` bounds the
    /// number of values; `part` is that of [`crate::read_part`].
    ///
    /// # Errors
    /// Weights that are damaged, or no dictionary of tensors: the message says what there is.
    pub(super) fn found_with(
        &self,
        limit: usize,
        part: Option<&str>,
        view: &dyn Fn(&TensorRef) -> Result<Tensor>,
    ) -> Result<Found> {
        let dicts = self.dicts();
        ensure!(!dicts.is_empty(), "{}", self.instead());
        let (chosen, names) = self.chosen(&dicts, part)?;
        let mut budget = limit;
        let mut tensors = Vec::new();
        let mut notes = Vec::new();
        for dict in &chosen {
            let prefix = match (chosen.len(), dict.parent) {
                (2.., Some((_, key))) => format!("{key}."),
                _ => String::new(),
            };
            let entries = self.entries(dict.entries, &mut budget, view)?;
            tensors.extend(entries.into_iter().map(|(name, t)| (prefix.clone() + &name, t)));
            notes.extend(self.unknown_tensors(dict));
        }
        let mut tensors = under(tensors, names);
        let mut networks = dicts.iter().filter(|d| !d.is_optimizers).map(Dict::name).peekable();
        if dicts.len() > 1 && networks.peek().is_some() {
            let those = || format!("the file's dictionaries: {}", few(networks));
            tensors = tensors.with_context(those);
        }
        let is_chosen = |d: &&Dict| chosen.iter().any(|p| p.path == d.path);
        if chosen.len() > 1 {
            let names: Vec<&str> = chosen.iter().map(|p| p.path.as_str()).collect();
            notes.push(format!("{} are read as one, under their names", names.join(" and ")));
        }
        let rest: Vec<&Dict> = dicts.iter().filter(|d| !is_chosen(d)).collect();
        let could_be = |d: &&&Dict| self.is_network(d) && !d.path.is_empty() && !d.is_optimizers;
        let networks = rest.iter().filter(could_be);
        let others: Vec<String> = networks.map(|d| d.path.clone()).collect();
        if let Some(first) = rest.iter().rev().max_by_key(|d| d.count) {
            let more = match rest.len() {
                1 => String::new(),
                n => format!(" and {} dictionaries more", n - 1),
            };
            let read = match (&chosen[..], others.is_empty()) {
                ([one], false) => format!("read: {} of {} tensors; ", one.name(), one.count),
                _ => String::new(),
            };
            notes.push(format!(
                "{read}not read: {} of {} tensors{more}",
                first.name(),
                first.count
            ));
        }
        Ok(Found { tensors: tensors?, notes, others })
    }

    /// As [`Pickle::found_with`] where no torch tensors can be.
    pub(super) fn found(&self, limit: usize, part: Option<&str>) -> Result<Found> {
        self.found_with(limit, part, &|_| bail!("a torch tensor outside a torch file"))
    }

    /// Every dictionary with tensors, outermost first; each is looked at once, however often it is
    /// referred to.
    fn dicts(&self) -> Vec<Dict<'_>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([(self.root, String::new(), 0, None, false)]);
        while let Some((id, path, depth, parent, is_optimizers)) = queue.pop_front() {
            if !seen.insert(id) {
                continue;
            }
            match &self.objects[id] {
                Object::Dict(entries) => {
                    let is_named = |k: &Id| matches!(self.objects[*k], Object::Text(_));
                    let tensors = entries.iter().filter(|(k, v)| is_named(k) && self.is_tensor(*v));
                    let count = tensors.count();
                    for (k, v) in entries {
                        let (key, parent, is_its) = match &self.objects[*k] {
                            Object::Text(t) => (t.clone(), Some((id, t.as_str())), is_optimizer(t)),
                            Object::Int(n) => (n.to_string(), None, true),
                            _ => continue,
                        };
                        let dot = if path.is_empty() { "" } else { "." };
                        let path = format!("{path}{dot}{key}");
                        queue.push_back((*v, path, depth + 1, parent, is_optimizers || is_its));
                    }
                    if count > 0 {
                        found.push(Dict { path, depth, parent, entries, count, is_optimizers });
                    }
                }
                Object::Made(Made::Array(array)) => {
                    if let Raw::Objects(ids) = &array.raw {
                        let inside = |id: &Id| (*id, path.clone(), depth, None, is_optimizers);
                        queue.extend(ids.iter().map(inside));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The dictionaries that are the weights, and the beginning of names that are.
    fn chosen<'d, 'o, 'p>(
        &self,
        dicts: &'d [Dict<'o>],
        part: Option<&'p str>,
    ) -> Result<(Vec<&'d Dict<'o>>, Option<&'p str>)> {
        let all = || dicts.iter().collect::<Vec<_>>();
        let Some(part) = part else { return Ok((self.weights(&all())?, None)) };
        let dotted = |text: &str| format!(".{text}.");
        if let Some(dict) = dicts.iter().find(|d| dotted(&d.path).ends_with(&dotted(part))) {
            return Ok((vec![dict], None));
        }
        // What holds dictionaries of tensors has none itself.
        let inside = dicts.iter().filter(|d| dotted(&d.path).contains(&dotted(part)));
        let inside: Vec<&Dict> = inside.collect();
        if !inside.is_empty() {
            return Ok((self.weights(&inside)?, None));
        }
        let ahead = |d: &&Dict| !d.path.is_empty() && part.starts_with(&format!("{}.", d.path));
        match dicts.iter().filter(ahead).max_by_key(|d| d.path.len()) {
            Some(dict) => Ok((vec![dict], Some(&part[dict.path.len() + 1..]))),
            None => Ok((self.weights(&all())?, Some(part))),
        }
    }

    /// The largest of the networks that have a name for all of a network, if nothing further out is larger;
    /// else the first of the largest, or, where it is one of several parts of a network, all of them:
    /// dictionaries side by side, none of which has such a name, nor the same tensors as another.
    fn weights<'d, 'o>(&self, dicts: &[&'d Dict<'o>]) -> Result<Vec<&'d Dict<'o>>> {
        let largest = dicts.iter().rev().max_by_key(|d| d.count).context("no tensors")?;
        let is_whole = |d: &Dict| d.parent.is_some_and(|(_, k)| WHOLE.contains(&k));
        let named = dicts
            .iter()
            .rev()
            .filter(|d| is_whole(d) && d.depth <= largest.depth && self.is_network(d));
        if let Some(dict) = named.max_by_key(|d| d.count) {
            return Ok(vec![dict]);
        }
        let Some((holder, _)) = largest.parent else { return Ok(vec![largest]) };
        let beside = dicts.iter().filter(|d| d.parent.is_some_and(|(h, _)| h == holder));
        let beside: Vec<&Dict> = beside.copied().collect();
        let keys: Vec<BTreeSet<(&str, &[usize])>> = beside
            .iter()
            .map(|d| d.entries.iter().filter_map(|(k, v)| self.key(*k, *v)).collect())
            .collect();
        let is_whole = beside.iter().any(|d| is_whole(d));
        let is_twice = (1..keys.len()).any(|i| keys[..i].contains(&keys[i]));
        Ok(if is_whole || is_twice { vec![largest] } else { beside })
    }

    /// Whether a dictionary holds a matrix or a filter, as every network does.
    fn is_network(&self, dict: &Dict) -> bool {
        let shape = |(k, v): &(Id, Id)| self.key(*k, *v).map(|(_, shape)| shape.len());
        dict.entries.iter().filter_map(shape).any(|dimensions| dimensions > 1)
    }

    /// Name and shape of a tensor in a dictionary.
    fn key(&self, key: Id, value: Id) -> Option<(&str, &[usize])> {
        let Object::Text(name) = &self.objects[key] else { return None };
        let shape: &[usize] = match &self.objects[value] {
            Object::Made(Made::TensorRef(v)) => &v.size,
            Object::Made(Made::Array(a)) => &a.shape,
            // encode8: the shape is that of the codes.
            Object::Tuple(items) if items.len() == 3 => match &self.objects[items[2]] {
                Object::Made(Made::Array(a)) => &a.shape,
                _ => &[],
            },
            _ => &[],
        };
        Some((name, shape))
    }

    /// Says which of a dictionary's tensors are of a kind that is not read.
    fn unknown_tensors(&self, dict: &Dict) -> Option<String> {
        let mut unknown =
            dict.entries.iter().filter_map(|(k, v)| match (&self.objects[*k], &self.objects[*v]) {
                (Object::Text(name), Object::Foreign(kind)) if kind.contains("._rebuild_") => {
                    Some((name, kind))
                }
                _ => None,
            });
        let (name, kind) = unknown.next()?;
        let more = match unknown.count() {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        Some(format!("not read: {name}, a tensor of a kind that is not known ({kind}){more}"))
    }

    /// What there is in place of a dictionary of tensors.
    fn instead(&self) -> String {
        let remedy = "save a state dict: torch.save(model.state_dict(), path)";
        match &self.objects[self.root] {
            Object::Made(_) => return format!("a bare tensor without a name; {remedy}"),
            Object::List(_) | Object::Tuple(_) => {
                return format!("a list, whose tensors have no names; {remedy}");
            }
            _ => {}
        }
        let foreign = self.objects.iter().find_map(|o| match o {
            Object::Foreign(name) if name.contains('.') => Some(name),
            _ => None,
        });
        match foreign {
            Some(name) => format!("an object of {name} with its code, not weights alone; {remedy}"),
            None => format!("no dictionary of tensors; {remedy}"),
        }
    }
}

/// The tensors whose names begin with `part`, without it and what may precede it; all without a part.
///
/// # Errors
/// None that do: the message says how names begin.
pub(super) fn under(tensors: Bundle, part: Option<&str>) -> Result<Bundle> {
    let Some(part) = part else { return Ok(tensors) };
    let dotted = format!(".{part}.");
    let end = |name: &str| Some(format!(".{name}").find(&dotted)? + part.len() + 1);
    let shortest = tensors.iter().filter_map(|(n, _)| Some(&n[..end(n)?])).min_by_key(|p| p.len());
    let Some(prefix) = shortest.map(str::to_owned) else {
        let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let firsts: BTreeSet<String> = tensors.iter().map(|(n, _)| first(n)).collect();
        let firsts = few(firsts.iter().map(String::as_str));
        bail!("nothing is called {part}: names begin with {firsts}");
    };
    let rest = |(n, t): (String, Tensor)| Some((n.strip_prefix(&prefix)?.to_owned(), t));
    Ok(tensors.into_iter().filter_map(rest).collect())
}

/// Whether a key is one that training scripts give an optimizer: `optimizer`, `optimizer_state_dict`, `d_optim`.
fn is_optimizer(key: &str) -> bool {
    key.split('_').any(|word| ["optim", "optimizer", "optimizers", "optimiser"].contains(&word))
}

/// Names that an error shows; of more, how many.
const MOST_SHOWN: usize = 12;

fn few<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names[..names.len().min(MOST_SHOWN)].join(", ");
    match names.len().saturating_sub(MOST_SHOWN) {
        0 => shown,
        n => format!("{shown} and {n} more"),
    }
}
