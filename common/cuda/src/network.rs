//! A network with its parameters on a CUDA device: answers, and training steps.

use crate::launch::{Kernels, args};
use crate::memory::{Buffer, Memory};
use crate::misfit;
use crate::op::Mode;
use crate::optimizer::{self, Buffers, Kinds, Rows};
use crate::values::Engine;
use crate::views::{Pictures, View};
use candle_core::{Device, Result, bail};
use engine::loss::Loss;
use engine::optim::Update;
use engine::parametrisation::Parametrisation;
use engine::{Batch, State};
use graph::grid::Grids;
use graph::{Graph, Layout, Weights};
use std::sync::Arc;

/// Floats of the largest activations of the pictures run together where nothing is trained, 256 MB.
const TOGETHER: usize = 64 << 20;

/// Share of a batch's statistics in the stored ones after a step: PyTorch's.
const MOMENTUM: f32 = 0.1;

/// See the module. Buffers are in the layout of the variables.
pub struct Network {
    graph: Graph,
    size: usize,
    parametrisation: Parametrisation,
    kernels: Arc<Kernels>,
    memory: Memory,
    rows: Option<Rows>,
    steps: i32,
    variables: Buffer,
    average: Option<Buffer>,
    moments: Option<[Buffer; 2]>,
    /// Whether the second moments are in use: those of SGD are not.
    has_second: bool,
    /// Two doubles: the sum of the losses of steps, and the last.
    losses: Buffer,
    /// A data set that stays on the device.
    pictures: Option<Pictures>,
    training: Option<Training>,
    inference: Option<Inference>,
}

/// What training needs besides the state.
struct Training {
    engine: Engine,
    /// What the network computes with, where that is not the variables.
    parameters: Option<Buffer>,
    gradient: Buffer,
    kinds: Kinds,
}

/// What answering needs.
struct Inference {
    engine: Engine,
    parameters: Buffer,
    /// Pictures run together.
    batch: usize,
}

impl Network {
    /// `graph` for pictures of `size × size`, with `weights`, those in `grids` on their grids.
    ///
    /// # Errors
    /// A device that is not CUDA's; weights or pictures that do not fit the graph; too little memory.
    pub fn new(
        graph: &Graph,
        weights: &Weights,
        grids: &Grids,
        size: usize,
        device: &Device,
    ) -> Result<Self> {
        graph.check_weights(weights).map_err(misfit)?;
        graph.shapes(size).map_err(misfit)?;
        let parametrisation = Parametrisation::new(Layout::of(graph), grids).map_err(misfit)?;
        let variables = parametrisation.variables(weights, grids).map_err(misfit)?;
        let device = device.as_cuda_device()?;
        let kernels = Arc::new(Kernels::new(device)?);
        let mut memory = Memory::new(device);
        Ok(Self {
            graph: graph.clone(),
            size,
            rows: Rows::new(&parametrisation, device)?,
            variables: memory.hold(&variables)?,
            losses: memory.hold(&[0.0; 4])?,
            parametrisation,
            kernels,
            memory,
            pictures: None,
            steps: 0,
            average: None,
            moments: None,
            has_second: false,
            training: None,
            inference: None,
        })
    }

    /// How variables stand for parameters.
    pub fn parametrisation(&self) -> &Parametrisation {
        &self.parametrisation
    }

    /// Number of logits per picture.
    pub fn classes(&self) -> usize {
        self.graph.classes()
    }

    /// Launches and matrix products so far.
    pub fn launches(&self) -> usize {
        self.kernels.launches()
    }

    /// Buffers of the device that were allocated so far.
    pub fn allocations(&self) -> usize {
        let engines = [
            self.training.as_ref().map(|t| t.engine.memory.allocations()),
            self.inference.as_ref().map(|i| i.engine.memory.allocations()),
        ];
        self.memory.allocations() + engines.into_iter().flatten().sum::<usize>()
    }

    /// What training has changed so far.
    ///
    /// # Errors
    /// A device that fails.
    pub fn state(&self) -> Result<State> {
        let (n, device) = (self.parametrisation.len(), &self.kernels.device);
        let floats = |b: Option<&Buffer>| b.map_or(Ok(Vec::new()), |b| b.read(device, n));
        let second = self.moments.as_ref().filter(|_| self.has_second).map(|m| &m[1]);
        Ok(State {
            steps: self.steps,
            variables: self.variables.read(device, n)?,
            average: floats(self.average.as_ref())?,
            moments: [floats(self.moments.as_ref().map(|m| &m[0]))?, floats(second)?],
        })
    }

    /// Go on from an earlier state.
    ///
    /// # Errors
    /// The state of another network.
    pub fn set_state(&mut self, state: State) -> Result<()> {
        let State { steps, variables, average, moments: [first, second] } = state;
        let n = self.parametrisation.len();
        let fits = |v: &Vec<f32>| v.is_empty() || v.len() == n;
        if variables.len() != n || ![&average, &first, &second].into_iter().all(fits) {
            bail!("the state of another network")
        }
        let memory = &mut self.memory;
        self.steps = steps;
        self.variables.write(&self.kernels.device, &variables)?;
        self.average = if average.is_empty() { None } else { Some(memory.hold(&average)?) };
        self.has_second = !second.is_empty();
        self.moments = if first.is_empty() {
            None
        } else {
            let second = if second.is_empty() { vec![0.0] } else { second };
            Some([memory.hold(&first)?, memory.hold(&second)?])
        };
        self.inference = None;
        Ok(())
    }

    fn doubles(&self) -> Result<[f64; 2]> {
        let read = self.losses.read(&self.kernels.device, 4)?;
        let bits = |i: usize| u64::from(read[i].to_bits()) | u64::from(read[i + 1].to_bits()) << 32;
        Ok([f64::from_bits(bits(0)), f64::from_bits(bits(2))])
    }

    /// The sum that was set last and the losses of all steps since. Waits for the device.
    ///
    /// # Errors
    /// A device that fails.
    pub fn losses(&self) -> Result<f64> {
        Ok(self.doubles()?[0])
    }

    /// Sets that sum.
    ///
    /// # Errors
    /// A device that fails.
    pub fn set_losses(&mut self, sum: f64) -> Result<()> {
        let bits = sum.to_bits();
        let words = [bits as u32, (bits >> 32) as u32].map(f32::from_bits);
        self.losses.write(&self.kernels.device, &words)
    }

    /// Keeps `count` pictures, `[3, size, size]` each, of which views will be trained on, normalized with
    /// `mean` and `std`; whether the device has room for them.
    ///
    /// # Errors
    /// A device that fails.
    pub fn keep<'a>(
        &mut self,
        pixels: impl Iterator<Item = &'a [u8]>,
        count: usize,
        normalization: [[f32; 3]; 2],
    ) -> Result<bool> {
        let (sizes, device) = ((count, self.size), &self.kernels.device);
        self.pictures = Pictures::new(pixels, sizes, normalization, &mut self.memory, device)?;
        Ok(self.pictures.is_some())
    }

    /// `views` of what is kept, `[b, size, size, 3]`, as a step is fed them.
    ///
    /// # Errors
    /// A view of no picture; a device that fails.
    pub fn rendered(&mut self, views: &[View]) -> Result<Vec<f32>> {
        if self.training.is_none() {
            self.training = Some(Training::new(self)?);
        }
        let (Some(training), Some(pictures)) = (&mut self.training, &self.pictures) else {
            bail!("{} views of no pictures", views.len())
        };
        training.engine.render(pictures, views)?;
        training.engine.fed()
    }

    /// Bytes of the pictures that are kept.
    pub fn kept(&self) -> usize {
        self.pictures.as_ref().map_or(0, Pictures::bytes)
    }

    /// Trains on a batch, of `views` of what is kept if there are any. Nothing leaves the device.
    ///
    /// # Errors
    /// A batch of another size; a device that fails or has too little memory for so many pictures.
    pub fn step(
        &mut self,
        batch: &Batch,
        views: &[View],
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        if update.ema > 0.0 && self.average.is_none() {
            // Of the variables as they were before this step, statistics included.
            self.average = Some(self.variables.copy(&mut self.memory)?);
        }
        self.passes(batch, views, target, update.rate, MOMENTUM)?;
        let (n, device) = (self.parametrisation.len(), self.kernels.device.clone());
        if self.moments.is_none() {
            let [first, second] = update.moments(n);
            self.has_second = !second.is_empty();
            let second = if second.is_empty() { vec![0.0] } else { second };
            self.moments = Some([self.memory.hold(&first)?, self.memory.hold(&second)?]);
        }
        self.steps += 1;
        let Some(training) = &mut self.training else { bail!("no gradient") };
        if !training.kinds.holds(update.settled) {
            training.kinds = Kinds::new(&self.parametrisation, update.settled, &device)?;
        }
        if let Some(moments) = &self.moments {
            let buffers = Buffers {
                variables: &self.variables,
                gradient: &training.gradient,
                moments,
                kinds: &training.kinds,
                n,
            };
            optimizer::step(update, &buffers, self.steps, &self.kernels, &mut self.memory)?;
        }
        if update.ema > 0.0
            && let Some(average) = &self.average
        {
            let share = 1.0 - update.keeps(self.steps);
            self.kernels.each("average", n, args![self.variables.at, share, average.at])?;
        }
        Ok(())
    }

    /// The statistics of batch norms become the means of those of `batches`, each weighing the same.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()> {
        for (k, pictures) in batches.enumerate() {
            let n = pictures.len() / (3 * self.size * self.size) * self.classes();
            // No labels: a loss of nothing.
            let batch = Batch { pictures, labels: vec![0.0; n], teacher: Vec::new() };
            self.passes(&batch, &[], Loss::LABELS, 0.0, 1.0 / (k as f32 + 1.0))?;
        }
        Ok(())
    }

    /// Loss and gradient of the variables of a batch, as for [`Network::step`], without an update.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub fn gradient(&mut self, batch: &Batch, target: Loss, rate: f32) -> Result<(f64, Vec<f32>)> {
        self.passes(batch, &[], target, rate, 0.0)?;
        let Some(training) = &self.training else { bail!("no gradient") };
        Ok((
            self.doubles()?[1],
            training.gradient.read(&self.kernels.device, self.parametrisation.len())?,
        ))
    }
}

impl Training {
    fn new(network: &mut Network) -> Result<Self> {
        let p = &network.parametrisation;
        let parameters = match &network.rows {
            None => None,
            Some(_) => Some(network.memory.take(p.layout().len())?),
        };
        Ok(Self {
            engine: Engine::new(&network.graph, network.size, &network.kernels)?,
            parameters,
            // Zeros: those of statistics stay so.
            gradient: network.memory.hold(&vec![0.0; p.len()])?,
            kinds: Kinds::new(p, false, &network.kernels.device)?,
        })
    }
}

impl Network {
    /// A forward pass with batch statistics, the loss, the backward pass.
    fn passes(
        &mut self,
        batch: &Batch,
        views: &[View],
        target: Loss,
        rate: f32,
        momentum: f32,
    ) -> Result<()> {
        self.inference = None;
        if self.training.is_none() {
            self.training = Some(Training::new(self)?);
        }
        let classes = self.graph.classes();
        let Some(training) = &mut self.training else { bail!("no engine") };
        let Training { engine, parameters, gradient, .. } = training;
        let (kernels, variables) = (&self.kernels, self.variables.at);
        let computed = match (&self.rows, parameters) {
            (Some(rows), Some(parameters)) => {
                let n = self.parametrisation.layout().len();
                parameters.copy_from(&self.variables, n, &kernels.device)?;
                rows.round(kernels, variables, parameters.at)?;
                parameters.at
            }
            _ => variables,
        };
        let mode = Mode::Training { statistics: variables, momentum };
        let fed = match &self.pictures {
            Some(pictures) if !views.is_empty() => engine.render(pictures, views),
            _ => engine.feed(&batch.pictures),
        };
        let to = [gradient.at, self.losses.at];
        let passed = fed.and_then(|()| engine.pass(batch, target, mode, computed, to));
        passed.map_err(|e| engine.explain(e, batch.labels.len() / classes.max(1)))?;
        if let Some(rows) = &self.rows {
            rows.gradients(kernels, rate, variables, gradient.at)?;
        }
        Ok(())
    }

    /// Logits `[b, classes]` for pictures `[b, size, size, 3]`, by the variables that count: as the
    /// network would be stored, with batch norm folded.
    ///
    /// # Errors
    /// Pictures of another size; a device that fails.
    pub fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        if self.inference.is_none() {
            let (weights, _) =
                self.parametrisation.stored(self.state()?.counting()).map_err(misfit)?;
            let (graph, weights) = self.graph.fold(weights).map_err(misfit)?;
            let shapes = graph.shapes(self.size).map_err(misfit)?;
            let largest = shapes.iter().map(|s| s.iter().product()).max().unwrap_or(1);
            let packed = Layout::of(&graph).pack_all(weights).map_err(misfit)?;
            self.inference = Some(Inference {
                engine: Engine::new(&graph, self.size, &self.kernels)?,
                parameters: self.memory.hold(&packed)?,
                batch: (TOGETHER / largest.max(1)).max(1),
            });
        }
        let (classes, floats) = (self.classes(), 3 * self.size * self.size);
        let Some(inference) = &mut self.inference else { return Ok(Vec::new()) };
        let mut logits = Vec::with_capacity(pictures.len() / floats * classes);
        for x in pictures.chunks(inference.batch * floats) {
            let engine = &mut inference.engine;
            engine.feed(x)?;
            engine.forward(inference.parameters.at, Mode::Inference)?;
            logits.extend(engine.result(engine.batch * classes)?);
        }
        Ok(logits)
    }
}
