//! Layouts of folders and names.

use super::{Layout, Shown, pictures, relative, some};
use anyhow::{Context, Result, bail, ensure};
use artifacts::images::MOST_CLASSES;
use common::catalogue::Split;
use common::cli;
use photos::listing::Listing;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a folder holds.
enum Contents {
    /// Folders of classes, with what is below them.
    Classes(Vec<(PathBuf, Listing)>),
    /// Pictures.
    Flat(Vec<PathBuf>),
}

/// Reads a folder in which `here` was found.
pub(super) fn read(folder: PathBuf, here: Listing) -> Result<Layout> {
    let mut passed = Listing { pictures: Vec::new(), passed_over: BTreeMap::new() };
    let splits = splits(&folder, &here)?;
    let shown = if splits.is_empty() {
        let contents = contents(&folder, here, &mut passed)?;
        let by_name = by_name(&contents);
        let is_labelled = check_names(&folder, &by_name)?;
        labelled(&folder, contents, None, is_labelled)?
    } else {
        in_splits(&folder, here, splits, &mut passed)?
    };
    let mut all = shown;
    all.sort();
    passed.pictures = all.iter().map(|s| PathBuf::from(&s.file)).collect();
    let notes = passed.told().map(|told| format!("{}: {told}", folder.display()));
    Ok(Layout { folder, pictures: all, notes: notes.into_iter().collect() })
}

/// The folders that are splits by their names.
fn splits(folder: &Path, here: &Listing) -> Result<BTreeMap<Split, PathBuf>> {
    let mut splits = BTreeMap::new();
    for path in here.folders() {
        let Some(split) = Split::called(&cli::name(path)) else { continue };
        if let Some(other) = splits.insert(split, path.clone()) {
            let (one, other) = (cli::name(&other), cli::name(path));
            bail!("{}: {one} and {other} are both called {split}: leave one", folder.display());
        }
    }
    Ok(splits)
}

/// The pictures of a folder of split folders.
fn in_splits(
    folder: &Path,
    mut here: Listing,
    splits: BTreeMap<Split, PathBuf>,
    passed: &mut Listing,
) -> Result<Vec<Shown>> {
    let names = splits.values().map(PathBuf::as_path);
    let told = some(names);
    ensure!(
        splits.contains_key(&Split::Training),
        "{}: there are folders of splits {told}, but none called training or train",
        folder.display()
    );
    let loose = &here.pictures;
    ensure!(
        loose.is_empty(),
        "{}: {} {} beside the folders of splits {told}: put them into one of these",
        folder.display(),
        pictures(loose.len()),
        some(loose.iter().map(PathBuf::as_path))
    );
    for other in here.folders().iter().filter(|p| !splits.values().any(|s| s == *p)) {
        let inside = Listing::below(other)?.pictures.len();
        ensure!(
            inside == 0,
            "{}: {} holds {} and is no split, beside folders that are {told}: if these are classes, \
             rename them; if it is to be left out, move it away",
            folder.display(),
            cli::name(other),
            pictures(inside)
        );
    }
    here.pictures.clear();
    forget_folders(&mut here, |p| splits.values().any(|s| s == p));
    add(passed, here);
    let mut read = BTreeMap::new();
    for (split, path) in splits {
        let listing = Listing::of(&path)?;
        let contents = contents(&path, listing, passed)?;
        read.insert(split, (path, contents));
    }
    label_splits(folder, read)
}

/// Which labels the splits show, together.
fn label_splits(folder: &Path, read: BTreeMap<Split, (PathBuf, Contents)>) -> Result<Vec<Shown>> {
    let is_flat = |c: &Contents| matches!(c, Contents::Flat(_));
    let trains_flat = read.get(&Split::Training).is_some_and(|(_, c)| is_flat(c));
    let mut are_labelled = BTreeMap::new();
    for (split, (path, contents)) in &read {
        let mixed = is_flat(contents) != trains_flat;
        // Pictures to be asked about have names of any kind.
        let is_asked = *split == Split::Testing && is_flat(contents) && !trains_flat;
        ensure!(
            !mixed || is_asked,
            "{}: {} has {}, training has {}: lay them out alike",
            folder.display(),
            cli::name(path),
            if trains_flat { "folders of classes" } else { "no folders of classes" },
            if trains_flat { "none" } else { "some" },
        );
        let by_name = by_name(contents);
        let is_labelled = !is_asked && check_names(path, &by_name)?;
        are_labelled.insert(*split, is_labelled);
    }
    let is_labelled = |split| are_labelled.get(&split).copied();
    if let Some(validates) = is_labelled(Split::Validation) {
        ensure!(
            Some(validates) == is_labelled(Split::Training),
            "{}: of training and validation, one has classes in its names and one has not",
            folder.display()
        );
    }
    ensure!(
        is_labelled(Split::Training) == Some(true) || is_labelled(Split::Testing) != Some(true),
        "{}: testing has classes in its names, training has none",
        folder.display()
    );
    let mut all = Vec::new();
    for (split, (_, contents)) in read {
        all.extend(labelled(folder, contents, Some(split), are_labelled[&split])?);
    }
    Ok(all)
}

/// What `folder`, in which `here` was found, holds: classes or pictures.
fn contents(folder: &Path, mut here: Listing, passed: &mut Listing) -> Result<Contents> {
    let mut classes = Vec::new();
    for path in here.folders() {
        classes.push((path.clone(), Listing::below(path)?));
    }
    let loose = std::mem::take(&mut here.pictures);
    let filled = classes.iter().filter(|(_, below)| !below.pictures.is_empty());
    let filled: Vec<&Path> = filled.map(|(path, _)| path.as_path()).collect();
    if filled.is_empty() && loose.is_empty() {
        // Says which names pictures have, and what was found instead.
        photos::list(folder, |_| ())?;
    }
    if filled.is_empty() {
        add(passed, here);
        return Ok(Contents::Flat(loose));
    }
    ensure!(
        loose.is_empty(),
        "{}: {} {} beside folders of pictures {}: put each into the folder of its class",
        folder.display(),
        pictures(loose.len()),
        some(loose.iter().map(PathBuf::as_path)),
        some(filled.into_iter())
    );
    for (path, below) in &mut classes {
        ensure!(
            !below.pictures.is_empty(),
            "{}: the folder of this class holds no picture{}: fill or remove it",
            path.display(),
            below.told().map_or_else(String::new, |told| format!(" ({told})"))
        );
        let others = BTreeMap::new();
        let passed_over = std::mem::replace(&mut below.passed_over, others);
        add(passed, Listing { pictures: Vec::new(), passed_over });
    }
    forget_folders(&mut here, |_| true);
    add(passed, here);
    Ok(Contents::Classes(classes))
}

/// Of pictures without folders of classes, each with the class in its name.
fn by_name(contents: &Contents) -> Vec<(&PathBuf, Option<usize>)> {
    match contents {
        Contents::Classes(_) => Vec::new(),
        // A camera's 20240131_120000.jpg names no class.
        Contents::Flat(paths) => paths
            .iter()
            .map(|p| (p, photos::class_of(p).filter(|class| *class < MOST_CLASSES)))
            .collect(),
    }
}

/// Whether names show classes: all, or none.
fn check_names(folder: &Path, names: &[(&PathBuf, Option<usize>)]) -> Result<bool> {
    let without: Vec<&Path> =
        names.iter().filter(|(_, class)| class.is_none()).map(|(p, _)| p.as_path()).collect();
    ensure!(
        without.is_empty() || without.len() == names.len(),
        "{}: {} of {} have no class in their names {}: call them [class]_[anything], the class a number \
         below {MOST_CLASSES}, or put each picture into a folder called as its class",
        folder.display(),
        without.len(),
        pictures(names.len()),
        some(without.iter().copied())
    );
    Ok(without.is_empty())
}

/// The pictures of `contents` with their labels, if they have some.
fn labelled(
    root: &Path,
    contents: Contents,
    split: Option<Split>,
    is_labelled: bool,
) -> Result<Vec<Shown>> {
    let mut all = Vec::new();
    match contents {
        Contents::Flat(paths) => {
            for path in paths {
                let class = photos::class_of(&path).filter(|_| is_labelled);
                let label = class.map(|class| class.to_string());
                all.push(Shown { file: relative(&path, root)?, label, split });
            }
        }
        Contents::Classes(classes) => {
            for (folder, below) in classes {
                let name = folder.file_name().and_then(|n| n.to_str());
                let name =
                    name.with_context(|| format!("{}: not UTF-8", folder.display()))?.to_owned();
                for path in below.pictures {
                    let file = relative(&path, root)?;
                    all.push(Shown { file, label: Some(name.clone()), split });
                }
            }
        }
    }
    Ok(all)
}

/// Folders that were looked into are not passed over.
fn forget_folders(listing: &mut Listing, looked_into: impl Fn(&PathBuf) -> bool) {
    let into: Vec<PathBuf> = listing.folders().iter().filter(|p| looked_into(p)).cloned().collect();
    for paths in listing.passed_over.values_mut() {
        paths.retain(|p| !into.contains(p));
    }
    listing.passed_over.retain(|_, paths| !paths.is_empty());
}

fn add(passed: &mut Listing, listing: Listing) {
    for (reason, mut paths) in listing.passed_over {
        passed.passed_over.entry(reason).or_default().append(&mut paths);
    }
}
