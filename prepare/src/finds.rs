//! What is wrong with a set of pictures, or may be.

use crate::copies;
use crate::layout::{classes, pictures};
use crate::survey::{Seen, Survey};
use anyhow::Result;
use common::catalogue::Split;
use common::cli::count;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Fewest pixels of a side that is not called small.
const SMALL: u32 = 32;

/// Most times that one side is as long as the other.
const NARROW: u32 = 4;

/// Most classes whose pictures are counted one by one.
const COUNTED: usize = 20;

/// A kind of find, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A copy in another split: what is measured was learnt by heart.
    Leak,
    /// A copy with another label: one of the two is wrong.
    Conflict,
    /// A class without a picture in a split.
    Missing,
    /// A file that is called a picture and cannot be read.
    Unreadable,
    /// A copy in the same split, with the same label.
    Copy,
    /// A picture with a short side.
    Small,
    /// A picture with one side many times as long as the other.
    Narrow,
    /// A picture of a single colour.
    Flat,
}

impl Kind {
    /// All, the gravest first.
    pub const ALL: [Self; 8] = [
        Self::Leak,
        Self::Conflict,
        Self::Missing,
        Self::Unreadable,
        Self::Copy,
        Self::Small,
        Self::Narrow,
        Self::Flat,
    ];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Conflict => "conflict",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Copy => "copy",
            Self::Small => "small",
            Self::Narrow => "narrow",
            Self::Flat => "flat",
        }
    }

    /// As people are told it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Leak => "copies in two splits (what is measured was learnt by heart)",
            Self::Conflict => "copies with two labels (one of them is wrong)",
            Self::Missing => "classes without a picture in a split",
            Self::Unreadable => "files that cannot be read",
            Self::Copy => "copies within a split",
            Self::Small => "pictures with a side below 32 px",
            Self::Narrow => "pictures more than four times as long as wide",
            Self::Flat => "pictures of a single colour",
        }
    }

    /// Whether somebody should look at it before anything is measured.
    pub fn is_grave(self) -> bool {
        self <= Self::Unreadable
    }
}

/// A picture in a find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its file; empty where the find is about none.
    pub file: String,
    /// Its split, if it has one.
    pub split: Option<Split>,
    /// Its class, if known.
    pub label: Option<String>,
}

/// One find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// What is found.
    pub kind: Kind,
    /// Where.
    pub place: Place,
    /// The picture that it is a copy of.
    pub other: Option<Place>,
    /// What else there is to say: how alike copies are, how large a picture is, why it cannot be read.
    pub detail: String,
}

/// Looks for all there is to find, the gravest first, then in the order of the pictures.
pub fn find(survey: &Survey) -> Vec<Find> {
    let mut all = missing(&survey.seen);
    for (shown, reason) in &survey.unreadable {
        let (split, label) = (shown.split, shown.label.clone());
        let place = Place { file: shown.file.clone(), split, label };
        let detail = reason.clone();
        all.push(Find { kind: Kind::Unreadable, place, other: None, detail });
    }
    copies(&survey.seen, &mut all);
    for seen in &survey.seen {
        let [w, h] = seen.look.sides;
        let (short, long) = (w.min(h), w.max(h));
        let is = [
            (Kind::Small, short < SMALL),
            (Kind::Narrow, u64::from(long) > u64::from(NARROW) * u64::from(short)),
            (Kind::Flat, seen.look.is_flat),
        ];
        for (kind, _) in is.into_iter().filter(|(_, is)| *is) {
            all.push(Find {
                kind,
                place: place(seen),
                other: None,
                detail: format!("{w} x {h} px"),
            });
        }
    }
    all.sort_by_key(|find| find.kind);
    all
}

fn place(seen: &Seen) -> Place {
    let shown = &seen.shown;
    Place { file: shown.file.clone(), split: shown.split, label: shown.label.clone() }
}

/// Classes that a split with labels lacks.
fn missing(seen: &[Seen]) -> Vec<Find> {
    let there: BTreeSet<_> =
        seen.iter().filter_map(|s| Some((s.shown.split?, s.shown.label.as_deref()?))).collect();
    let mut all = Vec::new();
    for split in Split::ALL.into_iter().filter(|s| there.iter().any(|(of, _)| of == s)) {
        for class in classes(seen.iter().map(|s| &s.shown)) {
            if !there.contains(&(split, &class)) {
                let place = Place { split: Some(split), label: Some(class), ..Place::default() };
                let (kind, other, detail) = (Kind::Missing, None, String::new());
                all.push(Find { kind, place, other, detail });
            }
        }
    }
    all
}

/// Every copy beside the first picture of its group, by splits; twice where both split and label are others.
fn copies(seen: &[Seen], all: &mut Vec<Find>) {
    let mut order: Vec<usize> = (0..seen.len()).collect();
    order.sort_by_key(|i| (seen[*i].shown.split, &seen[*i].shown.file));
    for group in copies::groups(seen, &order) {
        let first = &seen[group[0]];
        for copy in group[1..].iter().map(|i| &seen[*i]) {
            let (a, b) = (&first.shown, &copy.shown);
            let mut kinds = Vec::new();
            if a.split != b.split {
                kinds.push(Kind::Leak);
            }
            if a.label.is_some() && b.label.is_some() && a.label != b.label {
                kinds.push(Kind::Conflict);
            }
            if kinds.is_empty() {
                kinds.push(Kind::Copy);
            }
            let detail = match first.look.distance(&copy.look) {
                _ if first.content == copy.content => "the same bytes".to_owned(),
                bits if first.look.is_near(&copy.look) => format!("near, {bits} of 64 bits differ"),
                _ => "near, by way of others".to_owned(),
            };
            for kind in kinds {
                let (place, other, detail) = (place(copy), Some(place(first)), detail.clone());
                all.push(Find { kind, place, other, detail });
            }
        }
    }
}

/// The finds as a table, a row each: `kind,file,split,label,other,other_split,other_label,detail`.
///
/// # Errors
/// None that can be foreseen: it goes into memory.
pub fn table(finds: &[Find]) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "kind",
        "file",
        "split",
        "label",
        "other",
        "other_split",
        "other_label",
        "detail",
    ])?;
    let nowhere = Place::default();
    for find in finds {
        let (a, b) = (&find.place, find.other.as_ref().unwrap_or(&nowhere));
        let split = |place: &Place| place.split.map_or("", Split::name);
        csv.write_record([
            find.kind.name(),
            &a.file,
            split(a),
            a.label.as_deref().unwrap_or_default(),
            &b.file,
            split(b),
            b.label.as_deref().unwrap_or_default(),
            &find.detail,
        ])?;
    }
    Ok(csv.into_inner()?)
}

/// What the pictures are and what was found, as lines: counts first, then at most `limit` finds of a kind.
pub fn summary(name: &str, survey: &Survey, finds: &[Find], limit: usize) -> String {
    let mut out = format!("{name}: {}", about(&survey.seen));
    out += &balance(&survey.seen);
    for kind in Kind::ALL {
        let of: Vec<&Find> = finds.iter().filter(|f| f.kind == kind).collect();
        if !of.is_empty() {
            let same = of.iter().filter(|f| f.detail == "the same bytes").count();
            let copies = of[0].other.is_some();
            let told = if copies { format!(", {same} to the byte") } else { String::new() };
            let _ = write!(out, "\n{}: {}{told}", kind.about(), count(of.len()));
        }
    }
    for kind in Kind::ALL {
        let of: Vec<&Find> = finds.iter().filter(|f| f.kind == kind).collect();
        for find in of.iter().take(limit) {
            let _ = write!(out, "\n{}", line(find));
        }
        if of.len() > limit {
            let _ = write!(out, "\n{}: {} more", kind.name(), count(of.len() - limit));
        }
    }
    if finds.is_empty() {
        out += "\nnothing found";
    }
    out
}

/// How many pictures of which sizes.
fn about(seen: &[Seen]) -> String {
    let classes = classes(seen.iter().map(|s| &s.shown));
    let mut out = format!("{}, {} classes", pictures(seen.len()), classes.len());
    let of = |split| seen.iter().filter(|s| s.shown.split == split).count();
    if of(None) < seen.len() {
        let parts = Split::ALL.map(|s| format!("{} {s}", count(of(Some(s)))));
        let _ = write!(out, "; {}", parts.join(", "));
    }
    let sides = |of: fn(&[u32; 2]) -> u32| {
        let mut all: Vec<u32> = seen.iter().map(|s| of(&s.look.sides)).collect();
        all.sort_unstable();
        all
    };
    let (short, long) = (sides(|[w, h]| *w.min(h)), sides(|[w, h]| *w.max(h)));
    if let (Some(least), Some(most)) = (short.first(), long.last()) {
        let middle = |all: &[u32]| all[all.len() / 2];
        let (a, b) = (middle(&short), middle(&long));
        let _ = write!(out, "\nsides: {least} to {most} px, in the median {a} and {b}");
    }
    out
}

/// How many pictures classes have, split by split.
fn balance(seen: &[Seen]) -> String {
    let names = classes(seen.iter().map(|s| &s.shown));
    let mut of = BTreeMap::<(&str, Option<Split>), usize>::new();
    for s in seen {
        let label = s.shown.label.as_deref().unwrap_or_default();
        *of.entry((label, s.shown.split)).or_default() += 1;
    }
    let labelled = seen.iter().filter(|s| s.shown.label.is_some());
    let splits: BTreeSet<_> = labelled.map(|s| s.shown.split).collect();
    let all = |class: &str, split| of.get(&(class, split)).copied().unwrap_or_default();
    let mut out = String::new();
    for split in &splits {
        let sizes = names.iter().map(|c| (all(c, *split), c));
        let (Some(least), Some(most)) = (sizes.clone().min(), sizes.max_by_key(|(n, _)| *n)) else {
            continue;
        };
        let split = split.map_or("a class has", Split::name);
        let _ = write!(
            out,
            "\n{split}: from {} ({}) to {} ({})",
            pictures(least.0),
            least.1,
            count(most.0),
            most.1
        );
    }
    if splits.len() > 1 {
        for class in names.iter().take(COUNTED) {
            let parts = splits.iter().map(|s| count(all(class, *s)).to_string());
            let _ = write!(out, "\n  {class}: {}", parts.collect::<Vec<_>>().join(" + "));
        }
        if names.len() > COUNTED {
            let _ = write!(out, "\n  {} classes more", count(names.len() - COUNTED));
        }
    }
    out
}

/// A find in a line, such as `leak: testing/1.jpg = training/a/2.jpg (the same bytes)`.
pub(crate) fn line(find: &Find) -> String {
    let told = |place: &Place| match (place.file.as_str(), &place.label) {
        ("", label) => format!(
            "{} has no picture of {}",
            place.split.map_or("", Split::name),
            label.as_deref().unwrap_or_default()
        ),
        (file, Some(label)) => format!("{file} [{label}]"),
        (file, None) => file.to_owned(),
    };
    let other = find.other.as_ref().map_or_else(String::new, |o| format!(" = {}", told(o)));
    let detail = if find.detail.is_empty() { String::new() } else { format!(" ({})", find.detail) };
    format!("{}: {}{other}{detail}", find.kind.name(), told(&find.place))
}
