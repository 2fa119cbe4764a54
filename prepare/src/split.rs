//! Pictures → training, validation and testing, by what the pictures are.

use crate::copies;
use crate::layout::pictures;
use crate::survey::Seen;
use common::catalogue::Split;
use std::collections::{BTreeMap, BTreeSet};

/// What became of the pictures that had no split.
#[derive(Debug, Default)]
pub struct Division {
    /// Pictures that have a near copy, all on its side.
    pub together: usize,
    /// What should be said: groups that were not kept together.
    pub notes: Vec<String>,
}

/// Fills in the splits that a layout leaves out: where it has none at all, validation and testing get 15 % of
/// each class; where it has training and no validation, validation gets 15 % of training; else none is.
///
/// Which pictures these are depends on the bytes of the files alone: within a class they are ordered by the hash
/// of their bytes. Near copies of a class stay on one side ([`divide`]).
pub fn fill(seen: &mut [Seen]) -> Division {
    let given: BTreeSet<Split> = seen.iter().filter_map(|s| s.shown.split).collect();
    let mut out = Division::default();
    let (from, with_testing) = match (given.is_empty(), given.contains(&Split::Validation)) {
        (true, _) => (None, true),
        (false, false) => (Some(Split::Training), false),
        (false, true) => return out,
    };
    let mut classes = BTreeMap::<Option<String>, Vec<usize>>::new();
    for (i, s) in seen.iter().enumerate().filter(|(_, s)| s.shown.split == from) {
        classes.entry(s.shown.label.clone()).or_default().push(i);
    }
    for (class, mut members) in classes {
        members.sort_by(|a, b| seen[*a].content.cmp(&seen[*b].content));
        let n = members.len();
        let part = share(n);
        let testing = if with_testing { part } else { 0 };
        let groups = copies::groups(seen, &members);
        let in_group: BTreeSet<usize> = groups.iter().flatten().copied().collect();
        let alone = members.iter().filter(|i| !in_group.contains(i)).map(|i| vec![*i]);
        let mut all: Vec<Vec<usize>> = groups.iter().cloned().chain(alone).collect();
        // By their first pictures, and so by content.
        let place: BTreeMap<usize, usize> =
            members.iter().enumerate().map(|(at, i)| (*i, at)).collect();
        all.sort_by_key(|group| place[&group[0]]);
        let room = [n.saturating_sub(part + testing), part, testing];
        let (sides, apart) = divide(&all, room);
        for (group, split) in &sides {
            group.iter().for_each(|i| seen[*i].shown.split = Some(*split));
            out.together += if group.len() > 1 { group.len() } else { 0 };
        }
        for n in apart {
            let class = class.as_ref().map_or_else(String::new, |c| format!("class {c}: "));
            out.notes.push(format!(
                "{class}{} are near copies of each other, too many to keep on one side",
                pictures(n)
            ));
        }
    }
    out
}

/// 15 % of `n`, rounded, and one at least.
fn share(n: usize) -> usize {
    ((15 * n + 50) / 100).max(1)
}

/// Groups with the split of each, and the sizes of groups that were taken apart.
type Divided = (Vec<(Vec<usize>, Split)>, Vec<usize>);

/// Gives each group of pictures a side, as far as there is `room` in training, validation and testing.
///
/// A group larger than 5 % of all would be a third of a validation split and more, and its single picture
/// decide what is measured: it goes to training, or, where that has no room left, is taken apart. The others go to
/// testing, then validation, then training, where there is room for all of it; where there is none, to the side with
/// the most.
fn divide(groups: &[Vec<usize>], mut room: [usize; 3]) -> Divided {
    let n: usize = groups.iter().map(Vec::len).sum();
    let is_large = |group: &Vec<usize>| group.len() > 1 && 20 * group.len() > n;
    let (mut sides, mut apart, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let mut large: Vec<&Vec<usize>> = groups.iter().filter(|g| is_large(g)).collect();
    // Stable: groups of one size stay in their order.
    large.sort_by_key(|group| group.len());
    let mut kept = BTreeSet::new();
    for group in large {
        if group.len() <= room[0] {
            room[0] -= group.len();
            kept.insert(group[0]);
        } else {
            apart.push(group.len());
        }
    }
    for group in groups {
        match (is_large(group), kept.contains(&group[0])) {
            (true, true) => sides.push((group.clone(), Split::Training)),
            (true, false) => rest.extend(group.iter().map(|i| vec![*i])),
            (false, _) => rest.push(group.clone()),
        }
    }
    for group in rest {
        let fits = [2, 1, 0].into_iter().find(|s| group.len() <= room[*s]);
        // Of equals the last, training.
        let roomiest = || [2, 1, 0].into_iter().max_by_key(|s| room[*s]).unwrap_or_default();
        let side = fits.unwrap_or_else(roomiest);
        room[side] = room[side].saturating_sub(group.len());
        sides.push((group, Split::ALL[side]));
    }
    (sides, apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 70, 15 and 15 % by hand, of 3, 7, 20 and 100 pictures; validation alone of 2 and 9.
    #[test]
    fn shares() {
        let shares = |n: usize| [n - 2 * share(n), share(n), share(n)];
        assert_eq!([3, 7, 20, 100].map(shares), [[1, 1, 1], [5, 1, 1], [14, 3, 3], [70, 15, 15]]);
        assert_eq!([2, 9, 10].map(share), [1, 1, 2]);
    }

    fn sizes(sides: &[(Vec<usize>, Split)]) -> [usize; 3] {
        Split::ALL.map(|s| sides.iter().filter(|(_, of)| *of == s).map(|(g, _)| g.len()).sum())
    }

    /// 40 pictures: two pairs (5 % each, no more) and singles fill the sides to the picture.
    #[test]
    fn small_groups_fill_the_sides() {
        let mut groups: Vec<Vec<usize>> = (4..40).map(|i| vec![i]).collect();
        groups.insert(3, vec![0, 1]);
        groups.insert(0, vec![2, 3]);
        let (sides, apart) = divide(&groups, [28, 6, 6]);
        assert_eq!((sizes(&sides), apart.len()), ([28, 6, 6], 0));
        assert_eq!(sides[0], (vec![2, 3], Split::Testing));
        // Testing has one place left when the other pair's turn comes.
        let other = sides.iter().find(|(g, _)| g[0] == 0).unwrap();
        assert_eq!(*other, (vec![0, 1], Split::Validation));
    }

    /// Of 20 pictures six alike are for training, of which 14 may be; 15 alike are no group any more.
    #[test]
    fn large_groups_swallow_no_side() {
        let with_group_of = |k: usize| {
            let mut groups: Vec<Vec<usize>> = (k..20).map(|i| vec![i]).collect();
            groups.insert(0, (0..k).collect());
            divide(&groups, [14, 3, 3])
        };
        let (sides, apart) = with_group_of(6);
        assert_eq!((sizes(&sides), apart.len()), ([14, 3, 3], 0));
        assert_eq!(sides[0], ((0..6).collect(), Split::Training));
        let (sides, apart) = with_group_of(15);
        assert_eq!((sizes(&sides), apart), ([14, 3, 3], vec![15]));
        let (sides, apart) = divide(&[vec![0, 1], vec![2]], [1, 1, 1]);
        assert_eq!((sizes(&sides), apart), ([1, 1, 1], vec![2]));
    }
}
