//! The state of an interrupted run, written after every epoch, so that the same command goes on
//! where it stopped and ends with the same bytes as if it never had.

use super::Summary;
use anyhow::{Context, Result};
use graph::Array;
use kernels::State;
use model::artifact::{self, Artifact, Header, Kind, Provenance, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything a run carries from epoch to epoch.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Epochs done.
    pub epochs: usize,
    /// What came out so far.
    pub summary: Summary,
    /// Lines of the per-epoch CSV so far.
    pub log: String,
    /// Variables of the best epoch; empty before there is one.
    pub best: Vec<f32>,
    /// What the executor holds.
    pub state: State,
}

#[derive(Serialize, Deserialize)]
struct Body {
    epochs: usize,
    steps: i32,
    /// Bits of an f64: decimal text could come back one rounding off.
    best: u64,
    best_epoch: usize,
    last: u64,
    log: String,
}

const TENSORS: [&str; 5] = ["variables", "average", "first", "second", "best"];

impl Saved {
    /// Write it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, path: &Path, provenance: &Provenance) -> Result<()> {
        let body = Body {
            epochs: self.epochs,
            steps: self.state.steps,
            best: self.summary.best.to_bits(),
            best_epoch: self.summary.best_epoch,
            last: self.summary.last.to_bits(),
            log: self.log.clone(),
        };
        let header = Header::new(Kind::State, provenance, &body)?;
        let State { variables, average, moments: [first, second], .. } = &self.state;
        let tensor = |(name, values): (&str, &Vec<f32>)| {
            Tensor::f32(name, &Array { shape: vec![values.len()], values: values.clone() })
        };
        let buffers = [variables, average, first, second, &self.best];
        artifact::save(path, &header, TENSORS.into_iter().zip(buffers).map(tensor).collect())
    }

    /// The state of a run with this provenance, if one was interrupted.
    ///
    /// # Errors
    /// A state that is there but damaged.
    pub fn load(path: &Path, provenance: &Provenance) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let artifact = Artifact::load(path, &[Kind::State])?;
        if artifact.source.provenance != *provenance {
            return Ok(None);
        }
        let body: Body = artifact.body()?;
        let buffer = |name: &str| -> Result<Vec<f32>> {
            let remedy = "remove the file to start over";
            Ok(artifact.f32(name).context(remedy)?.values)
        };
        let [variables, average, first, second, best] = TENSORS.map(buffer);
        let moments = [first?, second?];
        let (variables, average) = (variables?, average?);
        Ok(Some(Self {
            epochs: body.epochs,
            summary: Summary {
                best: f64::from_bits(body.best),
                best_epoch: body.best_epoch,
                last: f64::from_bits(body.last),
            },
            log: body.log,
            best: best?,
            state: State { steps: body.steps, variables, average, moments },
        }))
    }
}
