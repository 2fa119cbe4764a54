//! The CSV files of `report gather`, as they are: nothing is computed from them but means for display.

use anyhow::{Context, Result, ensure};
use rows::{
    Bin, Choice, Class, Confused, Edge, Evidence, Field, Gain, Nats, Pair, Part, Point, Setting,
    Spent, Trial, Way,
};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::Path;

/// Everything the report says.
#[derive(Default)]
pub(crate) struct Data {
    pub(crate) ways: Vec<Way>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) classes: Vec<Class>,
    pub(crate) confusion: Vec<Confused>,
    pub(crate) calibration: Vec<Bin>,
    pub(crate) curves: Vec<Point>,
    pub(crate) waterfall: Vec<Part>,
    pub(crate) sensitivity: Vec<Nats>,
    pub(crate) lineage: Vec<Edge>,
    pub(crate) costs: Vec<Spent>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) gains: Vec<Gain>,
    pub(crate) fields: Vec<Field>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) settings: Vec<Setting>,
}

impl Data {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let ways: Vec<Way> = read(folder, "ways")?;
        let pairs: Vec<Pair> = read(folder, "pairs")?;
        check_chains(folder, &ways, &pairs)?;
        Ok(Self {
            ways,
            pairs,
            trials: read(folder, "trials")?,
            classes: read(folder, "classes")?,
            confusion: read(folder, "confusion")?,
            calibration: read(folder, "calibration")?,
            curves: read(folder, "curves")?,
            waterfall: read(folder, "waterfall")?,
            sensitivity: read(folder, "sensitivity")?,
            lineage: read(folder, "lineage")?,
            costs: read(folder, "cost")?,
            evidence: read(folder, "evidence")?,
            gains: read(folder, "gains")?,
            fields: read(folder, "fields")?,
            choices: read(folder, "choice")?,
            settings: read(folder, "settings")?,
        })
    }

    /// The experiments of one question, in the order of their names.
    pub(crate) fn of(&self, question: &str) -> Vec<&Way> {
        self.ways.iter().filter(|w| w.question == question).collect()
    }

    pub(crate) fn stage(&self, name: &str) -> Option<&Way> {
        self.ways.iter().find(|w| w.question == "stages" && w.way == name)
    }

    pub(crate) fn pairs_of(&self, question: &str) -> Vec<&Pair> {
        self.pairs.iter().filter(|p| p.question == question).collect()
    }

    /// What was measured of an experiment beside its accuracy.
    pub(crate) fn evidence_of(&self, way: &Way) -> Option<&Evidence> {
        let is = |e: &&Evidence| e.question == way.question && e.way == way.way && e.cut == way.cut;
        self.evidence.iter().find(is)
    }

    /// The one value that a setting has in all artifacts whose paths begin so; None where there are several, or none.
    pub(crate) fn setting(&self, path: &str, setting: &str) -> Option<&str> {
        let is = |s: &&Setting| s.file.starts_with(path) && s.setting == setting;
        let values: BTreeSet<&str> =
            self.settings.iter().filter(is).map(|s| s.value.as_str()).collect();
        values.first().copied().filter(|_| values.len() == 1)
    }

    /// That value as a number.
    pub(crate) fn number(&self, path: &str, setting: &str) -> Option<f64> {
        self.setting(path, setting)?.parse().ok()
    }

    /// Whether there are answers to test pictures.
    pub(crate) fn is_tested(&self) -> bool {
        self.ways.iter().any(|w| w.test_top1.is_some())
    }

    /// Pictures of every evaluation.
    pub(crate) fn pictures(&self) -> usize {
        self.trials.first().map_or(0, |t| t.pictures)
    }
}

/// A chain of question 3 is called by the share that each of its cuts takes.
fn check_chains(folder: &Path, ways: &[Way], pairs: &[Pair]) -> Result<()> {
    let chains = ways.iter().filter(|w| w.question == "q3").map(|w| ("ways", &w.way));
    let compared = pairs.iter().filter(|p| p.question == "q3").flat_map(|p| [&p.a, &p.b]);
    for (table, way) in chains.chain(compared.map(|way| ("pairs", way))) {
        ensure!(
            way.parse::<f64>().is_ok(),
            "{}: expected the share of a cut as the name of a chain of q3, found {way}; make it again by \
             report gather",
            folder.join(format!("{table}.csv")).display()
        );
    }
    Ok(())
}

fn read<R: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<R>> {
    let path = folder.join(format!("{name}.csv"));
    let wrong = || format!("{}: not a table of report gather; make it again", path.display());
    let mut reader = csv::Reader::from_path(&path).with_context(wrong)?;
    reader.deserialize().collect::<Result<_, _>>().with_context(wrong)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The rows of a table as text.
    pub(crate) fn parsed<R: DeserializeOwned>(text: &str) -> Vec<R> {
        let rows = csv::Reader::from_reader(text.as_bytes()).into_deserialize();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn chains_are_called_by_their_share() {
        let row = |way: &str| format!("{way},1,95,200,300,1,0,0.7,1,,0.7,1,,,,,\n");
        let text = "question,way,step,seeds,parameters,bytes,multiplications,top1,deviation,low,high,student_half,\
                    wilson_low,wilson_high,passes,inherited,test_top1,test_low,test_high\n"
            .to_owned()
            + &["q1,pruning,0", "q3,0.1,1", "q3,tenth,1"].map(row).concat();
        let ways: Vec<Way> = parsed(&text);
        check_chains(Path::new("data"), &ways[..2], &[]).unwrap();
        let refused = check_chains(Path::new("data"), &ways, &[]).unwrap_err().to_string();
        assert!(refused.starts_with("data/ways.csv: expected the share"), "{refused}");
        assert!(refused.contains("found tenth"), "{refused}");
    }
}
