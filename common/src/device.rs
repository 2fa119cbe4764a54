//! Where networks run: which executor stands behind a name.

use anyhow::{Result, bail, ensure};
use artifacts::Model;
use executor::Executor;
pub use executor::Precision;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Where networks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU engine.
    #[default]
    Cpu,
    /// candle's tensors and autograd on the CPU: the reference, slow.
    Candle,
    /// The engine's schedule on the CUDA device of this number, counted from 0.
    Cuda(usize),
}

/// What to do where a program was built without CUDA.
#[cfg(not(feature = "cuda"))]
const WITHOUT: &str = "this program was built without CUDA: build it with make tools FEATURES=cuda \
                       (needs nvcc; README, \"On a GPU\")";

impl Device {
    /// Whether this is the default, which headers leave out.
    pub fn is_cpu(&self) -> bool {
        *self == Self::Cpu
    }

    /// An executor for `model`, with products of f32.
    ///
    /// # Errors
    /// Weights or pictures that do not fit the graph; a device that fails.
    pub fn executor(self, model: &Model) -> Result<Box<dyn Executor>> {
        self.executor_at(model, Precision::F32)
    }

    /// Whether it has products of `precision`.
    ///
    /// # Errors
    /// It does not.
    pub fn multiplies(self, precision: Precision) -> Result<()> {
        let [cpu, cuda] = [self.is_cpu(), matches!(self, Self::Cuda(_))];
        ensure!(
            precision.is_f32() || cpu || cuda,
            "--precision {precision}: {self} multiplies f32 alone; leave out --device, or --precision"
        );
        ensure!(
            precision != Precision::Tf32 || cuda,
            "--precision tf32: numbers of tensor cores, which --device cuda has; the CPU has f32 and bf16"
        );
        Ok(())
    }

    /// An executor for `model`, with products of `precision`.
    ///
    /// # Errors
    /// As for [`Device::executor`]; a precision that the device does not have.
    pub fn executor_at(self, model: &Model, precision: Precision) -> Result<Box<dyn Executor>> {
        self.multiplies(precision)?;
        let Model { graph, weights, grids, .. } = model;
        let size = model.input.preparation.size;
        Ok(match self {
            Self::Cpu => Box::new(engine::Network::new(graph, weights, grids, size)?.at(precision)),
            Self::Candle => {
                let cpu = candle_core::Device::Cpu;
                Box::new(reference::Network::new(graph, weights, grids, size, &cpu)?)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => {
                Box::new(cuda::Network::new(graph, weights, grids, size, number)?.at(precision)?)
            }
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => bail!(WITHOUT),
        })
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Candle => f.write_str("candle"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That device.
    This(Device),
    /// The fastest that this build and this machine have.
    Fastest,
}

impl Wanted {
    /// The device that it is here.
    pub fn device(self) -> Device {
        match self {
            Self::This(device) => device,
            #[cfg(feature = "cuda")]
            Self::Fastest if cuda::is_there(0) => Device::Cuda(0),
            Self::Fastest => Device::Cpu,
        }
    }
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let number = match name {
            "cpu" => return Ok(Self::This(Device::Cpu)),
            "candle" => return Ok(Self::This(Device::Candle)),
            "auto" => return Ok(Self::Fastest),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        match number {
            Some(number) => Ok(Self::This(Device::Cuda(number))),
            None => bail!("no device {name:?}: expected cpu, candle, cuda, cuda:N or auto"),
        }
    }
}
