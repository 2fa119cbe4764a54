//! The CSV files of `report tables`, as they are: nothing is computed from them but means for display.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A row of ways.csv: all seeds of one experiment.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Way {
    pub(crate) question: String,
    pub(crate) way: String,
    pub(crate) step: u32,
    pub(crate) seeds: usize,
    pub(crate) parameters: f64,
    pub(crate) bytes: f64,
    pub(crate) multiplications: f64,
    pub(crate) top1: f64,
    pub(crate) deviation: f64,
    pub(crate) half: Option<f64>,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// A row of pairs.csv: two experiments, tested on the same pictures.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Pair {
    pub(crate) question: String,
    pub(crate) a: String,
    pub(crate) a_step: u32,
    pub(crate) b: String,
    pub(crate) b_step: u32,
    pub(crate) seeds: usize,
    pub(crate) difference: f64,
    pub(crate) only_a: usize,
    pub(crate) only_b: usize,
    pub(crate) p: f64,
    pub(crate) better: String,
}

/// A row of trials.csv, as far as it is used.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trial {
    pub(crate) question: String,
    pub(crate) way: String,
    pub(crate) seed: u32,
    pub(crate) pictures: usize,
    pub(crate) calibration_error: f64,
    pub(crate) nll: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Class {
    pub(crate) stage: String,
    pub(crate) name: String,
    pub(crate) pictures: usize,
    pub(crate) top1: f64,
    pub(crate) lost: Option<usize>,
    pub(crate) won: Option<usize>,
    pub(crate) p: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Confused {
    pub(crate) class: String,
    pub(crate) answered: String,
    pub(crate) pictures: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Bin {
    pub(crate) stage: String,
    pub(crate) pictures: usize,
    pub(crate) accuracy: f64,
    pub(crate) confidence: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Point {
    pub(crate) model: String,
    pub(crate) epoch: usize,
    pub(crate) loss: f64,
    pub(crate) top1: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) part: String,
    pub(crate) bytes: usize,
    pub(crate) values: usize,
    pub(crate) bits_each: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Nats {
    pub(crate) tensor: String,
    pub(crate) bits: u8,
    pub(crate) nats: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Edge {
    pub(crate) file: String,
    pub(crate) kind: String,
    pub(crate) from: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Spent {
    pub(crate) stage: String,
    pub(crate) seconds: f64,
    pub(crate) pictures: usize,
    pub(crate) peak_bytes: usize,
}

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
            ways: rows(folder, "ways")?,
            pairs: rows(folder, "pairs")?,
            trials: rows(folder, "trials")?,
            classes: rows(folder, "classes")?,
            confusion: rows(folder, "confusion")?,
            calibration: rows(folder, "calibration")?,
            curves: rows(folder, "curves")?,
            waterfall: rows(folder, "waterfall")?,
            sensitivity: rows(folder, "sensitivity")?,
            lineage: rows(folder, "lineage")?,
            costs: rows(folder, "cost")?,
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

fn rows<R: DeserializeOwned>(folder: &Path, name: &str) -> Result<Vec<R>> {
    let path = folder.join(format!("{name}.csv"));
    let wrong = || format!("{}: not a table of report tables; make it again", path.display());
    let mut reader = csv::Reader::from_path(&path).with_context(wrong)?;
    reader.deserialize().collect::<Result<_, _>>().with_context(wrong)
}
