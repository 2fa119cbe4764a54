//! The seam where compute happens: nobody above knows which executor runs.

use crate::view::View;
#[cfg(feature = "cuda")]
use anyhow::anyhow;
use anyhow::{Result, bail};
use artifacts::{Images, Model, Normalization};
use engine::loss::Loss;
use engine::optim::Update;
use engine::parametrisation::Parametrisation;
use engine::{Batch, State};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A network with its parameters on a device.
pub trait Executor: Send {
    /// How what is trained stands for the network's parameters.
    fn parametrisation(&self) -> &Parametrisation;

    /// Number of logits per picture.
    fn classes(&self) -> usize;

    /// Trains on a batch: forward, loss, backward, update, moving average. Nothing leaves the device, and
    /// it need not be done when this returns.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<()>;

    /// Keeps pictures on the device, so that views of them can be trained on; whether this device does that
    /// and has room for them. The CPU is fed rendered pictures instead.
    ///
    /// # Errors
    /// A device that fails.
    fn keep(&mut self, images: &Images, normalization: &Normalization) -> Result<bool> {
        let _ = (images, normalization);
        Ok(false)
    }

    /// [`Executor::step`] on these views of the pictures that are kept; those of `batch` are left out.
    ///
    /// # Errors
    /// As for `step`; a device that keeps none.
    fn step_on(
        &mut self,
        views: &[(usize, View)],
        batch: Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        let _ = (batch, target, update);
        bail!("{} views for a device that keeps no pictures", views.len())
    }

    /// The sum that was set last and the losses of all steps since, each before its update, added one by
    /// one. Waits for the device.
    ///
    /// # Errors
    /// A device that fails.
    fn losses(&self) -> Result<f64>;

    /// Sets that sum, 0 at first.
    ///
    /// # Errors
    /// A device that fails.
    fn set_losses(&mut self, sum: f64) -> Result<()>;

    /// The gradient of a batch's loss with respect to the variables, without an update.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<Vec<f32>>;

    /// Forgets the statistics of batch norms: they become the means of those of `batches` of pictures, each
    /// weighing the same, which a network needs whose channels have been cut.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()>;

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

impl Executor for engine::Network {
    fn parametrisation(&self) -> &Parametrisation {
        self.parametrisation()
    }

    fn classes(&self) -> usize {
        self.classes()
    }

    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<()> {
        self.step(batch, target, update)?;
        Ok(())
    }

    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<Vec<f32>> {
        self.gradients(batch, target, 0.0)?;
        Ok(Self::gradient(self).to_vec())
    }

    fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()> {
        Ok(self.recalibrate(batches.map(Ok::<_, graph::Error>))?)
    }

    fn losses(&self) -> Result<f64> {
        Ok(self.losses)
    }

    fn set_losses(&mut self, sum: f64) -> Result<()> {
        self.losses = sum;
        Ok(())
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

impl Executor for reference::Network {
    fn parametrisation(&self) -> &Parametrisation {
        self.parametrisation()
    }

    fn classes(&self) -> usize {
        self.classes()
    }

    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<()> {
        self.step(&batch, target, update)?;
        Ok(())
    }

    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<Vec<f32>> {
        Ok(Self::gradient(self, &batch, target, 0.0)?.1)
    }

    fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()> {
        Ok(self.recalibrate(batches)?)
    }

    fn losses(&self) -> Result<f64> {
        Ok(self.losses)
    }

    fn set_losses(&mut self, sum: f64) -> Result<()> {
        self.losses = sum;
        Ok(())
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

#[cfg(feature = "cuda")]
impl Executor for cuda::Network {
    fn parametrisation(&self) -> &Parametrisation {
        self.parametrisation()
    }

    fn classes(&self) -> usize {
        self.classes()
    }

    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<()> {
        Ok(self.step(&batch, &[], target, update)?)
    }

    fn keep(&mut self, images: &Images, normalization: &Normalization) -> Result<bool> {
        let pixels = (0..images.len()).map(|i| images.pixels(i));
        Ok(self.keep(pixels, images.len(), [normalization.mean, normalization.std])?)
    }

    fn step_on(
        &mut self,
        views: &[(usize, View)],
        batch: Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        let views: Vec<_> = views.iter().map(|(i, view)| view.on_device(*i)).collect();
        Ok(self.step(&batch, &views, target, update)?)
    }

    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<Vec<f32>> {
        Ok(Self::gradient(self, &batch, target, 0.0)?.1)
    }

    fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()> {
        Ok(self.recalibrate(batches)?)
    }

    fn losses(&self) -> Result<f64> {
        Ok(self.losses()?)
    }

    fn set_losses(&mut self, sum: f64) -> Result<()> {
        Ok(self.set_losses(sum)?)
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU engine of `kernels`.
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
    /// What the fastest is that this build and this machine have.
    pub fn fastest() -> Self {
        #[cfg(feature = "cuda")]
        if candle_core::Device::new_cuda(0).is_ok() {
            return Self::Cuda(0);
        }
        Self::Cpu
    }

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
            Self::Cpu => Box::new(engine::Network::new(graph, weights, grids, size)?),
            Self::Candle => {
                let cpu = candle_core::Device::Cpu;
                Box::new(reference::Network::new(graph, weights, grids, size, &cpu)?)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => {
                let device = candle_core::Device::new_cuda(number).map_err(|e| {
                    let reason = e.to_string().lines().next().unwrap_or_default().to_owned();
                    anyhow!("no CUDA device {number}: {reason}; nvidia-smi lists those there are")
                })?;
                Box::new(cuda::Network::new(graph, weights, grids, size, &device)?)
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

impl FromStr for Device {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let number = match name {
            "cpu" => return Ok(Self::Cpu),
            "candle" => return Ok(Self::Candle),
            "auto" => return Ok(Self::fastest()),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        match number {
            Some(number) => Ok(Self::Cuda(number)),
            None => bail!("no device {name:?}: expected cpu, candle, cuda, cuda:N or auto"),
        }
    }
}
