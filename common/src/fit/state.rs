//! The state of an interrupted run, written after every epoch, so that the same command goes on
//! where it stopped and ends with the same bytes as if it never had.

use super::{Provenance, Summary};
use crate::array::Array;
use crate::artifact::{self, Artifact, Header, Kind, Tensor};
use crate::graph::Weights;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything a run carries from epoch to epoch.
pub(super) struct State {
    /// Epochs done.
    pub(super) epochs: usize,
    pub(super) summary: Summary,
    /// Lines of the per-epoch CSV so far.
    pub(super) log: String,
    /// Optimizer steps done.
    pub(super) steps: i32,
    /// The network as it is trained.
    pub(super) weights: Weights,
    /// The weights of the best epoch.
    pub(super) best: Weights,
    /// The moving average, where there is one.
    pub(super) average: Weights,
    /// First and second moments of each variable.
    pub(super) moments: BTreeMap<String, [Vec<f32>; 2]>,
}

#[derive(Serialize, Deserialize)]
struct About {
    epochs: usize,
    steps: i32,
    /// Bits of an f64: decimal text could come back one rounding off.
    best: u64,
    best_epoch: usize,
    last: u64,
    log: String,
}

const WEIGHTS: &str = "weights/";
const BEST: &str = "best/";
const AVERAGE: &str = "average/";
const MOMENTS: [&str; 2] = ["first/", "second/"];

impl State {
    /// # Errors
    /// What the file system says.
    pub(super) fn save(&self, path: &Path, provenance: &Provenance) -> Result<()> {
        let about = About {
            epochs: self.epochs,
            steps: self.steps,
            best: self.summary.best.to_bits(),
            best_epoch: self.summary.best_epoch,
            last: self.summary.last.to_bits(),
            log: self.log.clone(),
        };
        let header = provenance.header(Kind::State, &about)?;
        let mut tensors = Vec::new();
        for (prefix, weights) in
            [(WEIGHTS, &self.weights), (BEST, &self.best), (AVERAGE, &self.average)]
        {
            tensors.extend(weights.iter().map(|(n, a)| Tensor::f32(&format!("{prefix}{n}"), a)));
        }
        for (name, moments) in &self.moments {
            for (prefix, values) in MOMENTS.iter().zip(moments) {
                let array = Array { shape: vec![values.len()], values: values.clone() };
                tensors.push(Tensor::f32(&format!("{prefix}{name}"), &array));
            }
        }
        artifact::save(path, &header, tensors)
    }

    /// The state of a run with this provenance, if one was interrupted.
    ///
    /// # Errors
    /// A state that is there but damaged.
    pub(super) fn load(path: &Path, provenance: &Provenance) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let artifact = Artifact::load(path, &[Kind::State])?;
        let Header { stage, settings, parents, .. } = &artifact.header;
        let same = *stage == provenance.stage
            && *settings == provenance.settings
            && *parents == provenance.parents;
        if !same {
            return Ok(None);
        }
        let about: About = artifact.body()?;
        let names: Vec<String> = artifact.tensors().map(|t| t.name.to_owned()).collect();
        let part = |prefix: &str| -> Result<Weights> {
            let own = names.iter().filter_map(|n| Some((n, n.strip_prefix(prefix)?)));
            own.map(|(full, n)| Ok((n.to_owned(), artifact.f32(full)?))).collect()
        };
        let [first, second] = [part(MOMENTS[0])?, part(MOMENTS[1])?];
        let mut moments = BTreeMap::new();
        for (name, m) in first {
            let v = second.get(&name).with_context(|| format!("no second moment of {name}"))?;
            moments.insert(name, [m.values, v.values.clone()]);
        }
        let state = Self {
            epochs: about.epochs,
            summary: Summary {
                best: f64::from_bits(about.best),
                best_epoch: about.best_epoch,
                last: f64::from_bits(about.last),
            },
            log: about.log,
            steps: about.steps,
            weights: part(WEIGHTS)?,
            best: part(BEST)?,
            average: part(AVERAGE)?,
            moments,
        };
        ensure!(!state.weights.is_empty(), "{}: holds no weights", path.display());
        Ok(Some(state))
    }
}
