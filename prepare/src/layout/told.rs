//! Labels of pictures whose names do not tell them: test pictures, of which somebody knows the answers.

use super::table::Columns;
use anyhow::{Context, Result, ensure};
use artifacts::Source;
use common::catalogue::Split;
use std::collections::BTreeMap;
use std::path::Path;

/// What a table says of pictures, by their ids: `Id,label` as infer predict writes them, or the rows of a catalogue, or
/// of any table that prepare catalogue reads.
pub struct Told {
    labels: BTreeMap<String, String>,
    /// The hash of its file.
    pub hash: String,
}

impl Told {
    /// Read a table; rows of a split other than testing are passed over.
    ///
    /// # Errors
    /// A file that cannot be read, no such columns, a picture twice.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let labels = rows(&bytes).with_context(|| format!("{}", path.display()))?;
        Ok(Self { labels, hash: Source::hash(&bytes) })
    }

    /// The class of a picture: the number that the table has, or the place of that name among `names`.
    ///
    /// # Errors
    /// A picture that the table lacks, a label that is neither.
    pub fn class(&self, picture: &Path, names: &[String]) -> Result<usize> {
        let id = id(&picture.display().to_string());
        let label = self.labels.get(&id);
        let label =
            label.with_context(|| format!("no label for {} (id {id})", picture.display()))?;
        let place = || names.iter().position(|name| name == label);
        label.parse().ok().or_else(place).with_context(|| {
            format!(
                "{}: the label {label:?} is neither a number nor one of the classes",
                picture.display()
            )
        })
    }
}

/// What a picture is called by, whatever folder it is said to be in.
fn id(file: &str) -> String {
    photos::id_of(file.rsplit('/').next().unwrap_or(file))
}

fn rows(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers()?.clone();
    let columns = Columns::of(&header).with_context(|| {
        let found = header.iter().collect::<Vec<_>>().join(",");
        format!("its columns are {found}: expected Id,label, or file and label, perhaps split")
    })?;
    let mut labels = BTreeMap::new();
    for (i, record) in reader.records().enumerate() {
        let record = record.with_context(|| format!("row {}", i + 2))?;
        let cell = |i: usize| record.get(i).unwrap_or_default();
        let split = columns.split.map(cell).filter(|s| !s.is_empty());
        if split.is_some_and(|s| Split::called(s) != Some(Split::Testing)) {
            continue;
        }
        let id = id(cell(columns.file));
        let label = cell(columns.label).to_owned();
        let is_new = labels.insert(id.clone(), label).is_none();
        ensure!(is_new, "row {}: a second label for {id}", i + 2);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Told> {
        Ok(Told { labels: rows(text.as_bytes())?, hash: String::new() })
    }

    #[test]
    fn tables_of_answers_and_catalogues_tell() {
        let names = ["cat".to_owned(), "dog".to_owned()];
        let predicted = told("Id,label\n0,1\n7,0\n").unwrap();
        let catalogue = "file,label,split,class\na/0007.jpg,dog,training,1\ntesting/0000.jpg,dog,testing,1\n\
                         testing/0007.jpg,cat,testing,0\n";
        for table in [predicted, told(catalogue).unwrap()] {
            assert_eq!(table.class(Path::new("x/0000.png"), &names).unwrap(), 1);
            assert_eq!(table.class(Path::new("x/0007.png"), &names).unwrap(), 0);
            let missing = table.class(Path::new("x/0008.png"), &names).unwrap_err().to_string();
            assert_eq!(missing, "no label for x/0008.png (id 8)");
        }
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        let error = |text: &str| told(text).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error("a,b\n1,2\n").starts_with("its columns are a,b: expected Id,label"));
        assert_eq!(error("Id,label\n1,2\n001,2\n"), "row 3: a second label for 1");
        let table = told("Id,label\n1,bird\n").unwrap();
        let refused = table.class(Path::new("1.png"), &["cat".to_owned()]).unwrap_err();
        assert!(refused.to_string().contains("\"bird\" is neither a number"), "{refused}");
    }
}
