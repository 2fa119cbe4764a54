//! How often the trainings behind a model saw the training pictures, as their files say.

use crate::ledger::Entry;
use std::collections::BTreeMap;

/// Epochs of trainings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Passes {
    /// Of those that lie in the folder of the model's question; of no folder, all.
    pub(super) own: Option<usize>,
    /// Of those before; None where weights from elsewhere are among what it was made from.
    pub(super) inherited: Option<usize>,
}

/// Artifacts by their hashes.
pub(super) struct Ancestry<'a>(BTreeMap<&'a str, &'a Entry>);

/// What a model's weights come from, in its header.
const WEIGHTS: [&str; 2] = ["init", "model"];

/// Steps from a model to its first ancestor at most: more than a make can chain, and an end to circles.
const MOST: usize = 10_000;

impl<'a> Ancestry<'a> {
    pub(super) fn of(entries: &'a [Entry]) -> Self {
        let mut known = BTreeMap::new();
        let (last, best): (Vec<&Entry>, _) = entries.iter().partition(|e| e.is_last());
        for entry in best.into_iter().chain(last) {
            known.entry(entry.hash.as_str()).or_insert(entry);
        }
        Self(known)
    }

    /// The artifact with this hash.
    pub(super) fn entry(&self, hash: &str) -> Option<&'a Entry> {
        self.0.get(hash).copied()
    }

    /// Those behind the model with this hash, an experiment of `question`.
    pub(super) fn passes(&self, model: &str, question: &str) -> Passes {
        let (mut own, mut inherited) = (0, 0);
        let mut next = self.entry(model);
        let mut is_known = next.is_some();
        let mut left = MOST;
        while let Some(entry) = next.filter(|_| left > 0) {
            let folder = entry.path.split_once('/').map_or("stages", |(folder, _)| folder);
            let epochs = entry.settings["epochs"]
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0);
            *(if folder == question { &mut own } else { &mut inherited }) += epochs;
            let parent = WEIGHTS.iter().find_map(|role| entry.parents.get(*role));
            next = parent.and_then(|hash| self.entry(hash));
            // Weights of prepare model were trained elsewhere; a parent that is gone tells nothing either.
            is_known &= entry.stage != "prepare model" && parent.is_some() == next.is_some();
            left -= 1;
        }
        let found = self.entry(model).is_some();
        Passes { own: found.then_some(own), inherited: is_known.then_some(inherited) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::Kind;
    use serde_json::json;

    /// teacher (15) → cut → mended (2): two passes of its own, fifteen inherited; of one from a file nothing is known.
    #[test]
    fn passes_add_up_along_the_weights() {
        let made = |path: &str, stage: &str, epochs: Option<u64>, from: &[(&str, &str)]| {
            let parents = from.iter().map(|(r, h)| ((*r).to_owned(), (*h).to_owned())).collect();
            let hash = path.rsplit('/').next().unwrap().to_owned();
            let settings = epochs.map_or(json!(null), |n| json!({ "epochs": n }));
            Entry {
                path: path.to_owned(),
                kind: Kind::Model,
                hash,
                bytes: 0,
                stage: stage.to_owned(),
                parents,
                settings,
                parameters: None,
            }
        };
        let entries = [
            made("teacher", "train", Some(15), &[("images", "x")]),
            made("q1/cut", "prune channels", None, &[("model", "teacher"), ("images", "x")]),
            made("q1/pruned", "distill", Some(2), &[("init", "cut"), ("logits", "y")]),
            made("q1/none", "distill", Some(17), &[("logits", "y")]),
            made("file", "prepare model", None, &[]),
            made("q1/coded", "quantize pack", None, &[("model", "file")]),
            made("q1/lost", "distill", Some(2), &[("init", "gone")]),
        ];
        let ancestry = Ancestry::of(&entries);
        for (model, question, own, inherited) in [
            ("pruned", "q1", Some(2), Some(15)),
            ("none", "q1", Some(17), Some(0)),
            ("teacher", "stages", Some(15), Some(0)),
            ("coded", "q1", Some(0), None),
            ("lost", "q1", Some(2), None),
            ("unheard of", "q1", None, None),
        ] {
            assert_eq!(ancestry.passes(model, question), Passes { own, inherited }, "{model}");
        }
    }
}
