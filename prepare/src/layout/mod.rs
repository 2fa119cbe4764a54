//! How people lay out pictures → which pictures there are, and what folders, names or a table say of each.
//!
//! | what there is | [`find`] makes of it |
//! |---|---|
//! | `DATA/class name/…/x.jpg` | classes by the folders |
//! | `DATA/train/…`, `DATA/val/…`, `DATA/test/…` | the same in each, or names as below; splits as given |
//! | `DATA/3_17.jpg` | classes by the numbers in the names |
//! | a CSV file of files, labels and perhaps splits, and of nothing else where it lies in `DATA` | what it says |
//!
//! What fits two rows, or half of one, is an error: a picture with the wrong label is worse than none.

mod folders;
mod table;
mod told;

pub use told::Told;

use anyhow::{Context, Result, bail, ensure};
use common::catalogue::{Split, check_path, folder_of};
use common::cli::count;
use photos::listing::Listing;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A picture as its layout shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// Its file, relative to the folder of the layout, with `/`.
    pub file: String,
    /// The name of its class.
    pub label: Option<String>,
    /// What it is for.
    pub split: Option<Split>,
}

/// Pictures of a layout.
#[derive(Debug)]
pub struct Layout {
    /// The folder that the files are relative to.
    pub folder: PathBuf,
    /// All pictures, sorted.
    pub pictures: Vec<Shown>,
    /// What should be said of it: what is passed over, by what it was read.
    pub notes: Vec<String>,
}

/// Checks that an output does not replace somebody's table of pictures; a catalogue may be replaced.
///
/// # Errors
/// If it would.
pub fn check_output(out: &Path) -> Result<()> {
    let is_catalogue = || common::catalogue::Catalogue::load(out).is_ok();
    ensure!(
        !table::is_one(out) || is_catalogue(),
        "{}: a table of pictures, and no catalogue: it is not replaced; write elsewhere, or name it as what to read",
        out.display()
    );
    Ok(())
}

/// Looks at `data`, a folder or a table. Of the tables in a folder `except`, an output, is none.
///
/// # Errors
/// What cannot be read, holds no pictures, or is laid out in no way that is known; the message says what was
/// found and what to do.
pub fn find(data: &Path, except: Option<&Path>) -> Result<Layout> {
    let folder = folder_of(data).to_owned();
    if data.is_file() {
        let is_table = data.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        ensure!(
            is_table,
            "{}: neither a folder of pictures nor a table of them, .csv",
            data.display()
        );
        return table::read(data, folder);
    }
    let mut here = Listing::of(data)?;
    let is_except = |p: &PathBuf| {
        let real = |p: &Path| p.canonicalize().ok();
        except.is_some_and(|out| real(out).is_some_and(|out| Some(out) == real(p)))
    };
    for paths in here.passed_over.values_mut() {
        paths.retain(|p| !is_except(p));
    }
    here.passed_over.retain(|_, paths| !paths.is_empty());
    let files = here.passed_over.values().flatten();
    match *files.filter(|p| table::is_one(p)).collect::<Vec<_>>() {
        [] => folders::read(folder, here),
        [one] => table::read(one, folder),
        [one, other, ..] => bail!(
            "{} and {} are both tables of pictures: name the one to go by in place of the folder",
            one.display(),
            other.display()
        ),
    }
}

/// The names of the classes of these pictures, sorted: by number where all are whole numbers, by their bytes
/// otherwise.
pub fn classes<'a>(pictures: impl Iterator<Item = &'a Shown>) -> Vec<String> {
    let names: BTreeSet<&str> = pictures.filter_map(|p| p.label.as_deref()).collect();
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    if names.iter().all(|name| number(name).is_some()) {
        names.sort_by_key(|name| number(name));
    }
    names
}

/// The whole number that a class name is.
fn number(name: &str) -> Option<u64> {
    let is_one = name.bytes().all(|b| b.is_ascii_digit());
    if is_one { name.parse().ok() } else { None }
}

impl Layout {
    /// The names of all classes, in the order of their numbers: [`classes`].
    pub fn classes(&self) -> Vec<String> {
        classes(self.pictures.iter())
    }

    /// Calls class number k by the k-th of `names`, which name them all.
    ///
    /// # Errors
    /// Classes that have names already, more of them than names, or a name that no picture has.
    pub fn name_classes(&mut self, names: &[String]) -> Result<()> {
        let mut unused: BTreeSet<usize> = (0..names.len()).collect();
        for label in self.pictures.iter_mut().filter_map(|p| p.label.as_mut()) {
            let class = number(label).and_then(|n| usize::try_from(n).ok());
            let class = class.with_context(|| {
                format!("class {label}: it has a name already, so that there is nothing for --classes to name")
            })?;
            let given = names.len();
            let name = names.get(class).with_context(|| {
                format!(
                    "a picture has class {class}, but {given} class names were given: --classes (CLASSES= of \
                     make) takes one for each, or none"
                )
            })?;
            unused.remove(&class);
            label.clone_from(name);
        }
        if let Some(class) = unused.first() {
            bail!("--classes: no picture has class {class}, {}", names[*class]);
        }
        Ok(())
    }

    /// Checks that there is something to learn, and that what is measured was learnt.
    ///
    /// # Errors
    /// A single class; a class too small to be split, or one that training lacks.
    pub fn check_classes(&self) -> Result<()> {
        let splits: BTreeSet<Split> = self.pictures.iter().filter_map(|p| p.split).collect();
        let mut of = BTreeMap::<&str, usize>::new();
        for p in &self.pictures {
            let label = p.label.as_deref().unwrap_or_default();
            *of.entry(label).or_default() +=
                usize::from(matches!(p.split, None | Some(Split::Training)));
        }
        let without_label = of.remove("");
        if let (1, Some((class, _))) = (of.len(), of.first_key_value()) {
            let inner = self.folder.join(class);
            let deeper = Listing::of(&inner).is_ok_and(|l| !l.folders().is_empty());
            let hint = if deeper {
                format!(": is it {} that holds the folders of the classes?", inner.display())
            } else {
                ": two at least are needed, a folder for each".to_owned()
            };
            bail!("{}: all pictures are of one class, {class}{hint}", self.folder.display());
        }
        // One for each of the splits that are made of it.
        let least = match splits.contains(&Split::Training) {
            false => 3,
            true if splits.contains(&Split::Validation) => 1,
            true => 2,
        };
        let unlabelled = if of.is_empty() { without_label } else { None };
        let mut all = of.into_iter().chain(unlabelled.map(|n| ("without a label", n)));
        if let Some((class, n)) = all.find(|(_, n)| *n < least) {
            ensure!(
                n > 0,
                "class {class} has pictures, but none in training: nothing can be learnt of it"
            );
            bail!(
                "class {class} has {} to be divided, {least} at least are needed: add some, or leave it out",
                pictures(n)
            );
        }
        Ok(())
    }
}

/// Such as `1 picture`, `2 pictures`.
pub(crate) fn pictures(n: usize) -> String {
    format!("{} picture{}", count(n), if n == 1 { "" } else { "s" })
}

/// The path of a picture in `folder` as a catalogue writes it.
///
/// # Errors
/// A name that is not UTF-8, or has a line break in it.
fn relative(path: &Path, folder: &Path) -> Result<String> {
    let inside = path.strip_prefix(folder)?;
    let part = |p: std::path::Component<'_>| p.as_os_str().to_str().map(str::to_owned);
    let parts: Option<Vec<String>> = inside.components().map(part).collect();
    let file =
        parts.with_context(|| format!("{}: its name is not UTF-8", path.display()))?.join("/");
    check_path(&file)?;
    Ok(file)
}

/// Such as `(a.jpg, b.jpg, …)`.
fn some<'a>(names: impl ExactSizeIterator<Item = &'a Path>) -> String {
    let rest = if names.len() > 3 { ", …" } else { "" };
    let name = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("({}{rest})", names.take(3).map(name).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_by_number_or_by_bytes() {
        let order = |text: &str| {
            let shown =
                |l: &str| Shown { file: String::new(), label: Some(l.to_owned()), split: None };
            classes(text.split(' ').map(shown).collect::<Vec<_>>().iter()).join(" ")
        };
        assert_eq!(order("10 9 0 2 9"), "0 2 9 10");
        assert_eq!(order("10 9 0 x 2"), "0 10 2 9 x");
        assert_eq!(order("éclair apple Zebra"), "Zebra apple éclair");
        assert_eq!(order("2 01 1"), "01 1 2");
    }
}
