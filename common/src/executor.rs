//! The seam where compute happens: nobody above knows which executor runs.

use anyhow::{Result, bail};
use kernels::loss::Loss;
use kernels::optim::Update;
use kernels::parametrisation::Parametrisation;
use kernels::{Batch, State};
use model::Model;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A network with its parameters on a device.
pub trait Executor: Send {
    /// How what is trained stands for the network's parameters.
    fn parametrisation(&self) -> &Parametrisation;

    /// Number of logits per picture.
    fn classes(&self) -> usize;

    /// Loss of a batch, before the network is updated to make it smaller: forward, loss, backward,
    /// update, moving average. Nothing leaves the device but the loss.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<f64>;

    /// Logits `[b, classes]` for pictures `[b, size, size, 3]`, by the variables that count (averaged,
    /// where they are), as the network would be stored: batch norm folded.
    ///
    /// # Errors
    /// Pictures of another size; a device that fails.
    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>>;

    /// Everything that training has changed.
    ///
    /// # Errors
    /// A device that fails.
    fn download(&self) -> Result<State>;

    /// Go on from `state`.
    ///
    /// # Errors
    /// The state of another network; a device that fails.
    fn upload(&mut self, state: State) -> Result<()>;
}

impl Executor for kernels::Network {
    fn parametrisation(&self) -> &Parametrisation {
        self.parametrisation()
    }

    fn classes(&self) -> usize {
        self.classes()
    }

    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<f64> {
        Ok(self.step(batch, target, update)?)
    }

    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        Ok(self.logits(pictures)?)
    }

    fn download(&self) -> Result<State> {
        Ok(self.state().clone())
    }

    fn upload(&mut self, state: State) -> Result<()> {
        Ok(self.set_state(state)?)
    }
}

impl Executor for device::Network {
    fn parametrisation(&self) -> &Parametrisation {
        self.parametrisation()
    }

    fn classes(&self) -> usize {
        self.classes()
    }

    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<f64> {
        Ok(self.step(&batch, target, update)?)
    }

    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        Ok(self.logits(pictures)?)
    }

    fn download(&self) -> Result<State> {
        Ok(self.state()?)
    }

    fn upload(&mut self, state: State) -> Result<()> {
        Ok(self.set_state(state)?)
    }
}

/// Where networks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The CPU engine of `kernels`.
    #[default]
    Cpu,
    /// candle's tensors and autograd on the CPU: the reference, slow.
    Candle,
}

impl Device {
    /// Names on the command line, and what they mean.
    pub const NAMES: [(&'static str, &'static str); 3] = [
        ("cpu", "The engine of this project: fused operations, all cores"),
        ("candle", "candle's tensors and autograd on the CPU: the reference, slow"),
        ("auto", "The fastest that this build and this machine have; says which"),
    ];

    /// Whether this is the default, which headers leave out.
    pub fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }

    /// An executor for `model`.
    ///
    /// # Errors
    /// Weights or pictures that do not fit the graph; a device that fails.
    pub fn executor(self, model: &Model) -> Result<Box<dyn Executor>> {
        let Model { graph, weights, grids, .. } = model;
        let size = model.input.preparation.size;
        Ok(match self {
            Self::Cpu => Box::new(kernels::Network::new(graph, weights, grids, size)?),
            Self::Candle => {
                let cpu = candle_core::Device::Cpu;
                Box::new(device::Network::new(graph, weights, grids, size, &cpu)?)
            }
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_cpu() { "cpu" } else { "candle" })
    }
}

impl FromStr for Device {
    type Err = anyhow::Error;

    /// `auto` is the CPU engine: no build has anything faster yet.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "cpu" | "auto" => Self::Cpu,
            "candle" => Self::Candle,
            _ => bail!("no device {name:?}: expected cpu, candle or auto"),
        })
    }
}
