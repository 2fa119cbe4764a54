//! The CSV files of `report gather`, as they are: nothing is computed from them but means for display.

use anyhow::{Context, Result};
use rows::{Bin, Class, Confused, Edge, Nats, Pair, Part, Point, Spent, Trial, Way};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Everything the report says.
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
}

impl Data {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        Ok(Self {
            ways: read(folder, "ways")?,
            pairs: read(folder, "pairs")?,
            trials: read(folder, "trials")?,
            classes: read(folder, "classes")?,
            confusion: read(folder, "confusion")?,
            calibration: read(folder, "calibration")?,
            curves: read(folder, "curves")?,
            waterfall: read(folder, "waterfall")?,
            sensitivity: read(folder, "sensitivity")?,
            lineage: read(folder, "lineage")?,
            costs: read(folder, "cost")?,
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

    /// Pictures of every evaluation.
    pub(crate) fn pictures(&self) -> usize {
        self.trials.first().map_or(0, |t| t.pictures)
    }
}

fn read<R: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<R>> {
    let path = folder.join(format!("{name}.csv"));
    let wrong = || format!("{}: not a table of report gather; make it again", path.display());
    let mut reader = csv::Reader::from_path(&path).with_context(wrong)?;
    reader.deserialize().collect::<Result<_, _>>().with_context(wrong)
}
