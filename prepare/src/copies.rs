//! Which pictures are one picture: copies to the byte, and near copies.

use crate::survey::Seen;
use photos::fingerprint::MOST_BITS;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Pictures compared with all others at once: bounds what is kept of them where all are alike.
const ROWS: usize = 256;

/// Groups of two and more pictures that are copies of each other, directly or by way of others; of `among`,
/// pictures by their places in `seen`. Members, and groups by their first, are in the order of `among`.
pub fn groups(seen: &[Seen], among: &[usize]) -> Vec<Vec<usize>> {
    let mut first = BTreeMap::new();
    let mut parents: Vec<usize> = (0..among.len()).collect();
    let mut different = Vec::new();
    for (at, picture) in among.iter().enumerate() {
        let same = *first.entry(&seen[*picture].content).or_insert(at);
        parents[at] = same;
        if same == at {
            different.push(at);
        }
    }
    let hashes: Vec<u64> = different.iter().map(|at| seen[among[*at]].look.hash).collect();
    let near_after = |i: usize| {
        let look = &seen[among[different[i]]].look;
        let alike = |j: &usize| {
            // The hashes alone, one after another in memory: almost all pairs end here.
            (hashes[i] ^ hashes[*j]).count_ones() <= MOST_BITS
                && look.is_near(&seen[among[different[*j]]].look)
        };
        (i + 1..hashes.len()).filter(alike).map(|j| (i, j)).collect::<Vec<_>>()
    };
    for start in (0..hashes.len()).step_by(ROWS) {
        let rows = start..hashes.len().min(start + ROWS);
        let near: Vec<_> = rows.into_par_iter().flat_map_iter(near_after).collect();
        for (i, j) in near {
            let (a, b) = (root(&mut parents, different[i]), root(&mut parents, different[j]));
            // The first stays the root, in whatever order they are joined.
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut of = BTreeMap::<usize, Vec<usize>>::new();
    for (at, picture) in among.iter().enumerate() {
        of.entry(root(&mut parents, at)).or_default().push(*picture);
    }
    of.into_values().filter(|group| group.len() > 1).collect()
}

/// The root of the tree that `at` is in; halves the way to it.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}
