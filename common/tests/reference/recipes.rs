//! The flags of every recipe, read as make reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variable → its words.
pub(crate) type Recipe = BTreeMap<String, Vec<String>>;

/// Name and variables of every recipe; `root` is the folder of the workspace.
pub(crate) fn all(root: &Path) -> Vec<(String, Recipe)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root.join("recipes")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let name = |p: &Path| p.file_stem().unwrap().to_str().unwrap().to_owned();
    let recipes: Vec<_> = paths.iter().map(|p| (name(p), read(root, p))).collect();
    assert!(recipes.len() >= 4, "recipes: {paths:?}");
    recipes
}

fn read(root: &Path, path: &Path) -> Recipe {
    let mut recipe = Recipe::new();
    let text = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
    for line in text.lines() {
        if let Some(other) = line.strip_prefix("include ") {
            recipe.extend(read(root, &root.join(other)));
        } else if let Some((variable, value)) = line.split_once(":=") {
            let words = value.split_whitespace().flat_map(|word| {
                let inner = word.strip_prefix("$(").and_then(|w| w.strip_suffix(')'));
                inner.map_or_else(|| vec![word.to_owned()], |v| recipe[v].clone())
            });
            let words = words.collect();
            recipe.insert(variable.trim().to_owned(), words);
        }
    }
    recipe
}
