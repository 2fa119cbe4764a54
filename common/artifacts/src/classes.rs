//! Class names: which lists make sense, and whether pictures have the classes of a model.

use anyhow::{Result, bail, ensure};
use std::collections::BTreeMap;

/// The names of `n` classes that nobody named: their numbers.
pub fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|c| c.to_string()).collect()
}

fn are_numbers(names: &[String]) -> bool {
    names.iter().enumerate().all(|(c, name)| *name == c.to_string())
}

/// Checks a list of names, one per class.
///
/// # Errors
/// A name that is empty, or that two classes have.
pub fn check(names: &[String]) -> Result<()> {
    let mut seen = BTreeMap::new();
    for (class, name) in names.iter().enumerate() {
        ensure!(!name.trim().is_empty(), "class {class} has an empty name");
        if let Some(other) = seen.insert(name, class) {
            bail!("classes {other} and {class} are both called {name:?}");
        }
    }
    Ok(())
}

/// Checks that pictures with the classes `pictures` can be answered by a model with the classes `model`:
/// the same names in the same order. Classes that either side calls by number match any name; of these
/// pictures may lack the last, as a folder does in which no picture has them.
///
/// # Errors
/// Other names, another order, or too many classes; the message says which.
pub fn agree(model: &[String], pictures: &[String]) -> Result<()> {
    let (known, found) = (model.len(), pictures.len());
    // Older files hold the spaces of "cat, dog".
    let is_same = |(ours, theirs): (&String, &String)| ours.trim() == theirs.trim();
    let fits = if are_numbers(pictures) {
        found <= known
    } else {
        found == known && (are_numbers(model) || model.iter().zip(pictures).all(is_same))
    };
    if fits {
        return Ok(());
    }
    let remedy = if are_numbers(model) {
        "give them to prepare images and to what makes the model alike".to_owned()
    } else if check(model).is_err() {
        "run prepare images without --classes".to_owned()
    } else {
        format!("run prepare images with --classes {:?}", model.join(","))
    };
    ensure!(found == known, "{found} classes, the model knows {known}: {remedy}");
    let other = (0..known).find(|c| !is_same((&model[*c], &pictures[*c]))).unwrap_or_default();
    let (theirs, ours) = (pictures[other].trim(), model[other].trim());
    let order = if model.iter().any(|name| name.trim() == theirs) {
        "in another order"
    } else {
        "other classes"
    };
    bail!("{order}: class {other} is {theirs:?} there, {ours:?} in the model: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn names_without_sense_are_refused() {
        for (list, text) in [
            ("a,a", "classes 0 and 1 are both called \"a\""),
            ("a,,b", "class 1 has an empty name"),
            ("a, ,b", "class 1 has an empty name"),
        ] {
            assert_eq!(check(&names(list)).unwrap_err().to_string(), text);
        }
        check(&names("cat,dog")).unwrap();
        check(&[]).unwrap();
    }

    /// Who may be asked about whom, by hand.
    #[test]
    fn pictures_and_models_agree_by_name_and_order() {
        for (model, pictures, refusal) in [
            ("cat,dog", "cat,dog", None),
            ("cat,dog", "0,1", None),
            ("cat,dog", "0", None),
            ("0,1", "cat,dog", None),
            ("0,1,2", "0,1", None),
            ("cat, dog", "cat,dog", None),
            ("cat,cat,dog", "cat,dog,cow", Some("run prepare images without --classes")),
            ("cat,dog", "dog,cat", Some("in another order: class 0 is \"dog\" there")),
            ("cat,dog", "cat,cow", Some("other classes: class 1 is \"cow\" there, \"dog\" in")),
            ("cat,dog", "cat", Some("1 classes, the model knows 2: run prepare images")),
            ("cat,dog", "0,1,2", Some("3 classes, the model knows 2")),
            ("0,1", "cat,dog,cow", Some("3 classes, the model knows 2: give them")),
        ] {
            let found = agree(&names(model), &names(pictures)).err().map(|e| e.to_string());
            let as_said = match (&found, refusal) {
                (None, None) => true,
                (Some(found), Some(text)) => found.contains(text),
                _ => false,
            };
            assert!(as_said, "{model} / {pictures}: {found:?}");
        }
    }
}
