//! Which of a file's dictionaries are the weights: a checkpoint holds an optimizer's and a schedule's
//! besides, an average of the weights, or the parts of a network one by one.

use crate::object::{Id, Made, Object, Raw, View};
use crate::pickle::Pickle;
use crate::values::{Bundle, Tensor};
use anyhow::{Result, bail};
use std::collections::{BTreeSet, VecDeque};

/// Keys that training scripts give all of a network's weights: what lies beside them is no part of it.
const WHOLE: [&str; 8] =
    ["state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "student"];

/// A dictionary with tensors.
struct Dict<'a> {
    /// Its keys from the root, dotted.
    path: String,
    /// The dictionary that holds it, and its key there.
    parent: Option<(Id, &'a str)>,
    entries: &'a [(Id, Id)],
    /// Its tensors.
    count: usize,
}

impl<'a> Pickle<'a> {
    /// The weights, and what else there is, in words. `view` reads torch tensors; `limit` bounds the
    /// number of values.
    ///
    /// # Errors
    /// Weights that are damaged, or no dictionary of tensors: the message says what there is.
    pub(super) fn bundle_with(
        &self,
        limit: usize,
        view: &dyn Fn(&View) -> Result<Tensor>,
    ) -> Result<(Bundle, Vec<String>)> {
        let dicts = self.dicts();
        // The first of the largest.
        let best = dicts.iter().rev().max_by_key(|d| d.count);
        let Some(best) = best else { bail!("{}", self.instead()) };
        let parts = self.parts(&dicts, best);
        let mut budget = limit;
        let mut bundle = Vec::new();
        for part in &parts {
            let prefix = match (parts.len(), part.parent) {
                (2.., Some((_, key))) => format!("{key}."),
                _ => String::new(),
            };
            let tensors = self.entries(part.entries, &mut budget, view)?;
            bundle.extend(tensors.into_iter().map(|(name, t)| (prefix.clone() + &name, t)));
        }
        let mut notes = Vec::new();
        if parts.len() > 1 {
            let names: Vec<&str> = parts.iter().map(|p| p.path.as_str()).collect();
            notes.push(format!("{} are read as one, under their names", names.join(" and ")));
        }
        let others: Vec<&Dict> =
            dicts.iter().filter(|d| parts.iter().all(|p| p.path != d.path)).collect();
        if let Some(first) = others.iter().rev().max_by_key(|d| d.count) {
            let more = match others.len() {
                1 => String::new(),
                n => format!(" and {} dictionaries more", n - 1),
            };
            let name = if first.path.is_empty() { "the outermost one" } else { &first.path };
            notes.push(format!("not read: {name} of {} tensors{more}", first.count));
        }
        Ok((bundle, notes))
    }

    /// As [`Pickle::bundle_with`] where no torch tensors can be.
    pub(super) fn bundle(&self, limit: usize) -> Result<(Bundle, Vec<String>)> {
        self.bundle_with(limit, &|_| bail!("a torch tensor outside a torch file"))
    }

    /// Every dictionary with tensors, outermost first; each is looked at once, however often it is
    /// referred to.
    fn dicts(&self) -> Vec<Dict<'_>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([(self.root, String::new(), None)]);
        while let Some((id, path, parent)) = queue.pop_front() {
            if !seen.insert(id) {
                continue;
            }
            match &self.objects[id] {
                Object::Dict(entries) => {
                    let is_named = |k: &Id| matches!(self.objects[*k], Object::Text(_));
                    let tensors = entries.iter().filter(|(k, v)| is_named(k) && self.is_tensor(*v));
                    let count = tensors.count();
                    for (k, v) in entries {
                        let (key, parent) = match &self.objects[*k] {
                            Object::Text(t) => (t.clone(), Some((id, t.as_str()))),
                            Object::Int(n) => (n.to_string(), None),
                            _ => continue,
                        };
                        let dot = if path.is_empty() { "" } else { "." };
                        queue.push_back((*v, format!("{path}{dot}{key}"), parent));
                    }
                    if count > 0 {
                        found.push(Dict { path, parent, entries, count });
                    }
                }
                Object::Made(Made::Array(array)) => {
                    if let Raw::Objects(ids) = &array.raw {
                        queue.extend(ids.iter().map(|id| (*id, path.clone(), None)));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// `best`, or, where it is one of several parts of a network, all of them: dictionaries side by
    /// side, none of which has a name that means all, nor the same tensors as another.
    fn parts<'d, 'o>(&self, dicts: &'d [Dict<'o>], best: &'d Dict<'o>) -> Vec<&'d Dict<'o>> {
        let Some((holder, _)) = best.parent else { return vec![best] };
        let beside: Vec<&Dict> =
            dicts.iter().filter(|d| d.parent.is_some_and(|(h, _)| h == holder)).collect();
        let keys: Vec<BTreeSet<(&str, &[usize])>> = beside
            .iter()
            .map(|d| d.entries.iter().filter_map(|(k, v)| self.key(*k, *v)).collect())
            .collect();
        let is_whole = beside.iter().any(|d| d.parent.is_some_and(|(_, k)| WHOLE.contains(&k)));
        let is_twice = (1..keys.len()).any(|i| keys[..i].contains(&keys[i]));
        if is_whole || is_twice { vec![best] } else { beside }
    }

    /// Name and shape of a tensor in a dictionary.
    fn key(&self, key: Id, value: Id) -> Option<(&str, &[usize])> {
        let Object::Text(name) = &self.objects[key] else { return None };
        let shape: &[usize] = match &self.objects[value] {
            Object::Made(Made::View(v)) => &v.size,
            Object::Made(Made::Array(a)) => &a.shape,
            _ => &[],
        };
        Some((name, shape))
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
