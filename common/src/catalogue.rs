//! Catalogues: which pictures a folder holds, of which class each is, and in which split. `prepare catalogue`
//! writes them, and whoever reads pictures by one needs no rule for folders and names.

use anyhow::{Context, Result, bail, ensure};
use artifacts::Source;
use artifacts::images::MOST_CLASSES;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};
use std::str::FromStr;

/// Columns of the file, in this order.
const COLUMNS: [&str; 4] = ["file", "label", "split", "class"];

/// What pictures are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Networks learn from them.
    Training,
    /// Networks and settings are chosen by them.
    Validation,
    /// What was chosen is measured by them, or they wait for answers.
    Testing,
}

impl Split {
    /// In the order of the rows of a catalogue.
    pub const ALL: [Self; 3] = [Self::Training, Self::Validation, Self::Testing];

    /// As files and flags call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Validation => "validation",
            Self::Testing => "testing",
        }
    }

    /// The split that a folder or a word in a table stands for, in any case: training or train; validation,
    /// valid, val or dev; testing or test.
    pub fn called(word: &str) -> Option<Self> {
        match word.to_lowercase().as_str() {
            "training" | "train" => Some(Self::Training),
            "validation" | "valid" | "val" | "dev" => Some(Self::Validation),
            "testing" | "test" => Some(Self::Testing),
            _ => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let is_named = |s: &Self| s.name() == text;
        let expected = "expected training, validation or testing";
        Self::ALL.into_iter().find(is_named).ok_or_else(|| expected.to_owned())
    }
}

/// A picture of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its file, relative to the folder that the catalogue is of; folders end in `/` on every system.
    pub file: String,
    /// Its class, a place in [`Catalogue::classes`]; None where it is not known.
    pub label: Option<usize>,
    /// What it is for.
    pub split: Split,
}

/// Pictures with their classes and splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    classes: Vec<String>,
    entries: Vec<Entry>,
}

impl Catalogue {
    /// Of these classes and pictures; the rows are sorted by split, then by the bytes of `file`.
    ///
    /// # Errors
    /// No pictures, a file twice or outside its folder, a class without a name or a picture or with another's
    /// name, a label beyond the classes, more than [`MOST_CLASSES`] of them.
    pub fn new(classes: Vec<String>, mut entries: Vec<Entry>) -> Result<Self> {
        let n = classes.len();
        ensure!(!entries.is_empty(), "no pictures");
        ensure!(n <= MOST_CLASSES, "{n} classes: at most {MOST_CLASSES} are supported");
        artifacts::classes::check(&classes)?;
        let mut seen = BTreeSet::new();
        for entry in &entries {
            check_path(&entry.file)?;
            ensure!(seen.insert(&entry.file), "{} is listed twice", entry.file);
            ensure!(entry.label.is_none_or(|l| l < n), "{}: a class beyond the {n}", entry.file);
        }
        let known: BTreeSet<usize> = entries.iter().filter_map(|e| e.label).collect();
        if let Some(class) = (0..n).find(|c| !known.contains(c)) {
            bail!("no picture has class {class}, {}", classes[class]);
        }
        entries.sort_by(|a, b| (a.split, &a.file).cmp(&(b.split, &b.file)));
        Ok(Self { classes, entries })
    }

    /// Read a catalogue.
    ///
    /// # Errors
    /// A file that cannot be read or is none; what [`Catalogue::new`] refuses.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(Self::load_hashed(path)?.0)
    }

    /// [`Catalogue::load`], with the hash of the file for the provenance of what is made by it.
    ///
    /// # Errors
    /// As [`Catalogue::load`].
    pub fn load_hashed(path: &Path) -> Result<(Self, String)> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let read =
            Self::parse(&bytes).with_context(|| format!("{}: not a catalogue", path.display()))?;
        Ok((read, Source::hash(&bytes)))
    }

    /// A catalogue from the bytes of its file.
    ///
    /// # Errors
    /// As [`Catalogue::load`], without the path.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(bytes);
        let columns: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        ensure!(
            columns == COLUMNS,
            "its columns are {}, not {}: prepare catalogue makes one of a table of files and labels",
            columns.join(","),
            COLUMNS.join(",")
        );
        let (mut names, mut entries) = (BTreeMap::new(), Vec::new());
        for (row, record) in reader.records().enumerate() {
            let read = || -> Result<Entry> {
                let record = record?;
                let cell = |i: usize| record.get(i).unwrap_or_default();
                let split =
                    cell(2).parse().map_err(|e| anyhow::anyhow!("split {:?}: {e}", cell(2)))?;
                let label = match (cell(1), cell(3)) {
                    ("", "") => None,
                    (name, number) => {
                        let class: usize =
                            number.parse().with_context(|| format!("class {number:?}"))?;
                        let known = names.entry(class).or_insert_with(|| name.to_owned());
                        ensure!(known == name, "class {class} is called {known} and {name}");
                        Some(class)
                    }
                };
                Ok(Entry { file: cell(0).to_owned(), label, split })
            };
            entries.push(read().with_context(|| format!("row {}", row + 2))?);
        }
        if let Some(class) = (0..names.len()).find(|c| !names.contains_key(c)) {
            bail!("no picture has class {class} of {}", names.len());
        }
        Self::new(names.into_values().collect(), entries)
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// None that can be foreseen: they go into memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(COLUMNS)?;
        for Entry { file, label, split } in &self.entries {
            let name = label.map_or("", |l| self.classes[l].as_str());
            let class = label.map_or_else(String::new, |l| l.to_string());
            csv.write_record([file, name, split.name(), &class])?;
        }
        Ok(csv.into_inner()?)
    }

    /// The names of all classes of all splits, in the order of their numbers; none where no picture has a label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// All pictures, by split, then by file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The pictures of a split, by file.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.split == split)
    }
}

/// Checks that a path of a catalogue leads into the folder that it is of, wherever that is.
///
/// # Errors
/// An absolute path, one with `.` or `..` in it, none at all, or one with a line break.
pub fn check_path(file: &str) -> Result<()> {
    ensure!(!file.is_empty(), "an empty file name");
    ensure!(!file.contains('\n'), "{file:?}: a line break in its name");
    let leads_down = Path::new(file).components().all(|c| matches!(c, Component::Normal(_)));
    ensure!(
        leads_down && !file.split('/').any(|part| matches!(part, "." | ".." | "")),
        "{file}: not a path below the folder of the pictures"
    );
    Ok(())
}

/// The folder that the paths of a catalogue begin at: `data` itself or, of a table of files, the folder it
/// lies in.
pub fn folder_of(data: &Path) -> &Path {
    match data.parent() {
        Some(parent) if data.is_file() => {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        }
        _ => data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str, label: Option<usize>, split: Split) -> Entry {
        Entry { file: file.to_owned(), label, split }
    }

    /// The file by hand: rows by split and bytes, quotes as RFC 4180 wants them, class numbers beside the names.
    #[test]
    fn the_file_says_it_all() {
        let entries = vec![
            entry("b/2.jpg", Some(0), Split::Validation),
            entry("x, \"y\"/1.jpg", Some(1), Split::Training),
            entry("later.jpg", None, Split::Testing),
            entry("é.jpg", Some(0), Split::Training),
        ];
        let made = Catalogue::new(vec!["b".to_owned(), "x, \"y\"".to_owned()], entries).unwrap();
        let text = "file,label,split,class\n\
                    \"x, \"\"y\"\"/1.jpg\",\"x, \"\"y\"\"\",training,1\n\
                    é.jpg,b,training,0\n\
                    b/2.jpg,b,validation,0\n\
                    later.jpg,,testing,\n";
        assert_eq!(String::from_utf8(made.to_bytes().unwrap()).unwrap(), text);
        assert_eq!(Catalogue::parse(text.as_bytes()).unwrap(), made);
        assert_eq!(made.of(Split::Training).count(), 2);
        assert_eq!(made.classes(), ["b", "x, \"y\""]);
    }

    #[test]
    fn what_is_no_catalogue_is_refused() {
        for (rows, text) in [
            ("", "no pictures"),
            ("a.jpg,x,training,0\na.jpg,x,testing,0\n", "a.jpg is listed twice"),
            ("a.jpg,x,training,0\nb.jpg,y,training,0\n", "row 3: class 0 is called x and y"),
            ("a.jpg,x,training,1\n", "no picture has class 0 of 1"),
            ("a.jpg,x,train,0\n", "row 2: split \"train\": expected training"),
            ("a.jpg,x,training,\n", "row 2: class \"\""),
            ("a.jpg,x,training,0\nb.jpg,x,training,1\n", "classes 0 and 1 are both called"),
            ("../a.jpg,x,training,0\n", "../a.jpg: not a path below"),
            ("/a.jpg,x,training,0\n", "/a.jpg: not a path below"),
            ("a//b.jpg,x,training,0\n", "a//b.jpg: not a path below"),
            ("\"a\nb.jpg\",x,training,0\n", "a line break in its name"),
            ("a.jpg,x,training\n", "found record with 3 fields"),
        ] {
            let file = format!("file,label,split,class\n{rows}");
            let error = format!("{:#}", Catalogue::parse(file.as_bytes()).unwrap_err());
            assert!(error.contains(text), "{rows:?}: {error}");
        }
        let error = Catalogue::parse(b"file,label\na.jpg,x\n").unwrap_err().to_string();
        assert!(error.starts_with("its columns are file,label, not file,label,split,class"));
    }

    #[test]
    fn splits_have_their_usual_names() {
        let called = ["Train", "training", "VAL", "valid", "dev", "validation", "test", "Testing"];
        let splits: Vec<&str> =
            called.iter().map(|w| Split::called(w).map_or("none", Split::name)).collect();
        let [t, v, e] = ["training", "validation", "testing"];
        assert_eq!(splits, [t, t, v, v, v, v, e, e]);
        assert_eq!(Split::called("apple"), None);
    }
}
