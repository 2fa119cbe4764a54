//! Folds: the pictures of a file parted in K, so that each can be answered by a network that has not seen it.
//!
//! A network is sure of what it was shown, right or wrong: its probabilities for those pictures are too high, and too
//! near to their labels. So the teachers' labels of cross-fitting come from those that did not see the picture (Dao et
//! al. 2021, "Knowledge distillation as semiparametric inference", section 5), and so do the probabilities by which
//! wrong labels are found (Northcutt et al. 2021, "Confident learning", section 3).
//!
//! Which fold a picture is in follows from the prepared pixels and labels of all pictures, not from names, order or
//! machine.

use crate::artifact::Source;
use crate::images::Images;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Most folds: each costs a teacher.
const MOST: usize = 100;

/// One of K folds, written `I/K`, I from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Fold {
    /// Which, from 1.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

/// Checks how many folds there shall be; `at` is what asks for them.
fn check_count(at: &str, k: usize) -> Result<()> {
    ensure!((2..=MOST).contains(&k), "{at}: expected 2 to {MOST} folds, not {k}");
    Ok(())
}

impl FromStr for Fold {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts =
            text.split_once('/').and_then(|(i, k)| Some((i.parse().ok()?, k.parse().ok()?)));
        let (number, of) = parts.with_context(|| format!("{text:?}: expected I/K, such as 1/5"))?;
        check_count(&format!("{text:?}"), of)?;
        ensure!((1..=of).contains(&number), "{text:?}: the folds are 1/{of} to {of}/{of}");
        Ok(Self { number, of })
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl From<Fold> for String {
    fn from(fold: Fold) -> Self {
        fold.to_string()
    }
}

impl Fold {
    /// The fold of `images` that the model in `source` was not shown: None where it was shown all of them, or where
    /// nothing is known of these.
    ///
    /// # Errors
    /// A header that names no fold.
    pub fn left_out(source: &Source, images: &Images) -> Result<Option<Self>> {
        if images.made(source) { Self::told(source) } else { Ok(None) }
    }

    /// The fold that the header in `source` names, of whichever pictures.
    ///
    /// # Errors
    /// What is no fold.
    pub fn told(source: &Source) -> Result<Option<Self>> {
        let Some(fold) = source.provenance.settings.get("fold") else { return Ok(None) };
        let fold = fold.as_str().context("no text").and_then(str::parse);
        fold.map(Some).with_context(|| format!("{}: its fold", source.name))
    }

    /// The pictures of `images` that are not in this fold, to learn from. All folds of as many are checked, so that the
    /// first of several teachers is not trained in vain for a second that cannot be.
    ///
    /// # Errors
    /// As [`Folds::new`]; a fold without which too few pictures are left, or none of a class.
    pub fn others(self, images: &Images) -> Result<Vec<usize>> {
        let folds = Folds::new(images, self.of)?;
        folds.check(images)?;
        Ok((0..images.len()).filter(|i| folds.of(*i) + 1 != self.number).collect())
    }
}

/// All pictures of a file in K folds.
#[derive(Debug)]
pub struct Folds {
    /// From 0, of each picture.
    of: Vec<usize>,
    /// Pictures of each, ascending.
    members: Vec<Vec<usize>>,
}

impl Folds {
    /// `images` in `k` folds, by [`divided`].
    ///
    /// # Errors
    /// Fewer than two folds, or more than different pictures.
    pub fn new(images: &Images, k: usize) -> Result<Self> {
        let (at, n) = (&images.source.name, images.len());
        check_count(at, k)?;
        let digest = |i: usize| Source::hash(images.pixels(i));
        let pictures: Vec<_> = (0..n).map(|i| (images.labels[i], digest(i))).collect();
        // As many as folds fill them all: the first of a class go where the fewest of all are.
        let different = pictures.iter().map(|(_, digest)| digest).collect::<BTreeSet<_>>().len();
        ensure!(
            k <= different,
            "{at}: {k} folds of {n} pictures, {different} of them different: take fewer folds"
        );
        let of = divided(&pictures, k);
        let mut members = vec![Vec::new(); k];
        of.iter().enumerate().for_each(|(i, fold)| members[*fold].push(i));
        Ok(Self { of, members })
    }

    /// How many folds.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// The fold that picture `i` is in, from 0.
    pub fn of(&self, i: usize) -> usize {
        self.of[i]
    }

    /// The pictures of this fold, from 0, ascending.
    pub fn members(&self, fold: usize) -> &[usize] {
        &self.members[fold]
    }

    /// Checks that without any one of these folds of `images` something is left to learn of every class.
    fn check(&self, images: &Images) -> Result<()> {
        let at = &images.source.name;
        let largest = self.members.iter().map(Vec::len).max().unwrap_or_default();
        ensure!(
            self.of.len() >= largest + 2,
            "{at}: without one of {} folds too few pictures are left",
            self.count()
        );
        for (class, name) in images.classes.iter().enumerate() {
            let own = (0..images.len()).filter(|i| images.labels[*i] == Some(class));
            let within: BTreeSet<usize> = own.map(|i| self.of(i)).collect();
            if within.len() == 1 {
                let fold = within.first().map_or(0, |fold| fold + 1);
                bail!(
                    "{at}: class {name} has a single picture, or copies of one: all are in fold {fold}/{}, and who does \
                     not see that fold cannot learn the class: add other pictures of it, remove the class, or do \
                     without folds (train without --fold, make without FOLDS=)",
                    self.count()
                );
            }
        }
        Ok(())
    }
}

/// The fold, from 0, of each of these pictures, of which label and digest are known.
///
/// Pictures with one digest are one picture, and stay together: in the class of the lowest of their labels, or with those
/// that have no label if one of them has none. Class by class, the largest groups first, those of a size by their
/// digests, each goes to the fold that has the fewest pictures of its class; of several such to that with the fewest of
/// all, then to the first. So where pictures are no copies, folds differ by one picture in each class, and by one in all.
fn divided(pictures: &[(Option<usize>, String)], k: usize) -> Vec<usize> {
    let mut copies = BTreeMap::<&str, Vec<usize>>::new();
    for (i, (_, digest)) in pictures.iter().enumerate() {
        copies.entry(digest).or_default().push(i);
    }
    let mut classes = BTreeMap::<Option<usize>, Vec<Vec<usize>>>::new();
    for group in copies.into_values() {
        let label = group.iter().map(|i| pictures[*i].0).min().flatten();
        classes.entry(label).or_default().push(group);
    }
    let (mut of, mut all) = (vec![0; pictures.len()], vec![0; k]);
    for mut groups in classes.into_values() {
        // Stable: groups of one size stay in the order of their digests.
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut own = vec![0; k];
        for group in groups {
            let emptiest = (0..k).min_by_key(|fold| (own[*fold], all[*fold]));
            let fold = emptiest.unwrap_or_default();
            own[fold] += group.len();
            all[fold] += group.len();
            group.iter().for_each(|i| of[*i] = fold);
        }
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(told: &[(usize, &str)]) -> Vec<(Option<usize>, String)> {
        told.iter().map(|(label, digest)| (Some(*label), (*digest).to_owned())).collect()
    }

    /// By hand, three folds. Class 0 holds a, b, c, d by digest: 0, 1, 2, and d, as all have one, to 0. Class 1 holds e
    /// and f: fold 0 has two pictures already, so 1 and 2.
    #[test]
    fn folds_are_dealt_in_the_order_of_the_contents() {
        let told = [(0, "c"), (1, "f"), (0, "a"), (0, "d"), (1, "e"), (0, "b")];
        assert_eq!(divided(&pictures(&told), 3), [2, 2, 0, 0, 1, 1]);
        let mut turned = told;
        turned.reverse();
        assert_eq!(divided(&pictures(&turned), 3), [1, 1, 0, 0, 2, 2]);
    }

    /// By hand, two folds. z is there three times, once as class 1, and goes as class 0 before the single ones to fold
    /// 0; then a, b and c fill fold 1 up to three. Of class 1 is left d, by then both have three: to fold 0.
    #[test]
    fn copies_stay_together() {
        let told = [(0, "z"), (0, "a"), (1, "z"), (0, "b"), (0, "z"), (1, "d"), (0, "c")];
        assert_eq!(divided(&pictures(&told), 2), [0, 1, 0, 1, 0, 0, 1]);
    }

    /// 103 pictures in classes of 50, 30, 20 and 3, as in five folds: 10, 6, 4, and one in three of them; 20 or 21 each.
    #[test]
    fn folds_are_of_equal_size_in_every_class() {
        let told: Vec<(usize, String)> = [50, 30, 20, 3]
            .iter()
            .enumerate()
            .flat_map(|(class, n)| (0..*n).map(move |i| (class, format!("{}-{class}", i * 37 % n))))
            .collect();
        let told: Vec<(usize, &str)> = told.iter().map(|(l, d)| (*l, d.as_str())).collect();
        let of = divided(&pictures(&told), 5);
        let count = |class: Option<usize>, fold| {
            let is = |i: &usize| of[*i] == fold && class.is_none_or(|c| told[*i].0 == c);
            (0..told.len()).filter(is).count()
        };
        let counts = |class| [0, 1, 2, 3, 4].map(|fold| count(class, fold));
        assert_eq!([0, 1, 2].map(|class| counts(Some(class))), [[10; 5], [6; 5], [4; 5]]);
        assert_eq!((counts(Some(3)), counts(None)), ([1, 1, 1, 0, 0], [21, 21, 21, 20, 20]));
    }

    #[test]
    fn folds_are_written_as_they_are_read() {
        assert_eq!("2/5".parse::<Fold>().unwrap().to_string(), "2/5");
        for (bad, told) in [
            ("2", "expected I/K, such as 1/5"),
            ("1/1", "expected 2 to 100 folds"),
            ("1/101", "expected 2 to 100 folds"),
            ("0/5", "the folds are 1/5 to 5/5"),
            ("6/5", "the folds are 1/5 to 5/5"),
        ] {
            let error = bad.parse::<Fold>().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
