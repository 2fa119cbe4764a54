//! The state of an unfinished run, written after every epoch, every few minutes within it and when a
//! signal ends it, so that the same command goes on where it stopped and ends with the same bytes as if it
//! never had.

use super::{Progress, Summary};
use anyhow::{Result, ensure};
use artifacts::artifact::{self, Artifact, Header, Kind, Provenance, Tensor};
use executor::State;
use graph::Array;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything a run carries from step to step.
#[derive(Clone, Debug)]
pub struct Saved {
    /// How far it is.
    pub progress: Progress,
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
    /// Done of the next epoch, and the sum of their losses, as the bits of an f64.
    #[serde(default)]
    steps_of_epoch: usize,
    #[serde(default)]
    loss: u64,
    steps: i32,
    /// Bits of an f64.
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
            epochs: self.progress.epochs,
            steps_of_epoch: self.progress.steps,
            loss: self.progress.loss.to_bits(),
            steps: self.state.steps,
            best: self.summary.best.to_bits(),
            best_epoch: self.summary.best_epoch,
            last: self.summary.last.to_bits(),
            log: self.log.clone(),
        };
        let header = Header::new(Kind::State, provenance, &body)?;
        let State { variables, average, momenta: [first, second], .. } = &self.state;
        let tensor = |(name, values): (&str, &Vec<f32>)| {
            Tensor::f32(name, &Array { shape: vec![values.len()], values: values.clone() })
        };
        let buffers = [variables, average, first, second, &self.best];
        artifact::save(path, &header, TENSORS.into_iter().zip(buffers).map(tensor).collect())
    }

    /// The state in `path`, of a run with this provenance.
    ///
    /// # Errors
    /// A state that is damaged, or of another run.
    pub fn load(path: &Path, provenance: &Provenance) -> Result<Self> {
        let artifact = Artifact::load(path, &[Kind::State])?;
        let name = &artifact.source.name;
        ensure!(
            artifact.source.provenance == *provenance,
            "{name}: the state of a run with other settings or files"
        );
        let body: Body = artifact.body()?;
        let buffer = |name: &str| Ok::<_, anyhow::Error>(artifact.f32(name)?.values);
        let [variables, average, first, second, best] = TENSORS.map(buffer);
        let momenta = [first?, second?];
        let (variables, average) = (variables?, average?);
        Ok(Self {
            progress: Progress {
                epochs: body.epochs,
                steps: body.steps_of_epoch,
                loss: f64::from_bits(body.loss),
            },
            summary: Summary {
                best: f64::from_bits(body.best),
                best_epoch: body.best_epoch,
                last: f64::from_bits(body.last),
            },
            log: body.log,
            best: best?,
            state: State { steps: body.steps, variables, average, momenta },
        })
    }
}
