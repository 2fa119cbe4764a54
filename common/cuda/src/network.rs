//! A network with its parameters on a CUDA device: answers, and training steps.

use crate::launch::Kernels;
use crate::memory::{Buffer, Memory};
use crate::op::Mode;
use crate::optimizer::{self, Buffers, Kinds, Rows};
use crate::render::Kept;
use crate::values::Engine;
use anyhow::{Result, bail};
use candle_core::Device;
use executor::{Batch, Executor, Loss, MOMENTUM, Parametrisation, Rule, State, Update, Variables};
use graph::grid::Grids;
use graph::{Graph, Layout, Weights};
use std::sync::Arc;
use views::{Normalization, Pictures, View};

/// Floats of the largest activations of the pictures run together where nothing is trained, 256 MB.
const TOGETHER: usize = 64 << 20;

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
    momenta: Option<[Buffer; 2]>,
    /// Whether the second ones are in use: those of SGD are not.
    has_second: bool,
    /// Two doubles: the sum of the losses of steps, and the last.
    losses: Buffer,
    /// A data set that stays on the device.
    pictures: Option<Kept>,
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
        let Variables { parametrisation, values } = Variables::new(graph, weights, grids, size)?;
        let device = device.as_cuda_device()?;
        let kernels = Arc::new(Kernels::new(device)?);
        let mut memory = Memory::new(device);
        Ok(Self {
            graph: graph.clone(),
            size,
            rows: Rows::new(&parametrisation, device)?,
            variables: memory.hold(&values)?,
            losses: memory.hold(&[0.0; 4])?,
            parametrisation,
            kernels,
            memory,
            pictures: None,
            steps: 0,
            average: None,
            momenta: None,
            has_second: false,
            training: None,
            inference: None,
        })
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

    fn doubles(&self) -> Result<[f64; 2]> {
        let read = self.losses.read(&self.kernels.device, 4)?;
        let bits = |i: usize| u64::from(read[i].to_bits()) | u64::from(read[i + 1].to_bits()) << 32;
        Ok([f64::from_bits(bits(0)), f64::from_bits(bits(2))])
    }

    /// `views` of what is kept, `[b, size, size, 3]`, as a step is fed them.
    ///
    /// # Errors
    /// A view of no picture; a device that fails.
    pub fn rendered(&mut self, views: &[(usize, View)]) -> Result<Vec<f32>> {
        let mut training = self.take_training()?;
        let Some(pictures) = &self.pictures else { bail!("{} views of no pictures", views.len()) };
        let fed = training.engine.render(pictures, views).and_then(|()| training.engine.fed());
        self.training = Some(training);
        Ok(fed?)
    }

    /// Bytes of the pictures that are kept.
    pub fn kept(&self) -> usize {
        self.pictures.as_ref().map_or(0, Kept::bytes)
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
            kinds: Kinds::new(p, &Update::new(Rule::Sgd, 0.0), &network.kernels.device)?,
        })
    }
}

impl Network {
    /// A forward pass with batch statistics, the loss, the backward pass; of `views` of what is kept if there
    /// are any.
    fn passes(
        &mut self,
        batch: &Batch,
        views: &[(usize, View)],
        target: Loss,
        mode: Mode,
    ) -> Result<()> {
        self.inference = None;
        let mut training = self.take_training()?;
        let passed = self.pass(&mut training, batch, views, target, mode);
        let passed = passed.and_then(|()| match &self.rows {
            None => Ok(()),
            Some(rows) => {
                let (variables, gradient) = (self.variables.at, training.gradient.at);
                Ok(rows.gradients(&self.kernels, variables, gradient)?)
            }
        });
        self.training = Some(training);
        passed
    }

    fn pass(
        &self,
        training: &mut Training,
        batch: &Batch,
        views: &[(usize, View)],
        target: Loss,
        mode: Mode,
    ) -> Result<()> {
        let (kernels, variables) = (&self.kernels, self.variables.at);
        let Training { engine, parameters, gradient, .. } = training;
        let computed = match &self.rows {
            None => variables,
            Some(rows) => {
                let parameters = parameters.as_mut().expect("what is on grids has parameters");
                let n = self.parametrisation.layout().len();
                parameters.copy_from(&self.variables, n, &kernels.device)?;
                rows.round(kernels, variables, parameters.at)?;
                parameters.at
            }
        };
        let fed = match &self.pictures {
            _ if views.is_empty() => engine.feed(&batch.pictures),
            Some(pictures) => engine.render(pictures, views),
            None => bail!("{} views where no pictures are kept", views.len()),
        };
        let to = [gradient.at, self.losses.at];
        let passed = fed.and_then(|()| engine.pass(batch, target, mode, computed, to));
        Ok(passed.map_err(|e| engine.explain(e, batch.labels.len() / self.graph.classes()))?)
    }

    /// A training step on `views` of what is kept, or else on the pictures of `batch`.
    fn train(
        &mut self,
        views: &[(usize, View)],
        batch: &Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        if update.ema > 0.0 && self.average.is_none() {
            // Of the variables as they were before this step, statistics included.
            self.average = Some(self.variables.copy(&mut self.memory)?);
        }
        let mode = if update.keeps_statistics() {
            Mode::Stored { head_only: update.rests() }
        } else {
            self.by_batch(MOMENTUM)
        };
        self.passes(batch, views, target, mode)?;
        let (n, device) = (self.parametrisation.len(), self.kernels.device.clone());
        if self.momenta.is_none() {
            let [first, second] = update.momenta(n);
            self.has_second = !second.is_empty();
            let second = if second.is_empty() { vec![0.0] } else { second };
            self.momenta = Some([self.memory.hold(&first)?, self.memory.hold(&second)?]);
        }
        self.steps += 1;
        let training = self.training.as_mut().expect("passes have run in it");
        if !training.kinds.holds(update) {
            training.kinds = Kinds::new(&self.parametrisation, update, &device)?;
        }
        let buffers = Buffers {
            variables: &self.variables,
            gradient: &training.gradient,
            momenta: self.momenta.as_ref().expect("set above"),
            kinds: &training.kinds,
            average: self.average.as_ref().filter(|_| update.ema > 0.0).map(|average| {
                let share = 1.0 - update.keeps(self.steps);
                (average.at, share)
            }),
            n,
        };
        Ok(optimizer::step(update, &buffers, self.steps, &self.kernels, &mut self.memory)?)
    }

    /// By the statistics of the batch, towards which those of the variables move by the share `momentum`.
    fn by_batch(&self, momentum: f32) -> Mode {
        Mode::Training { statistics: self.variables.at, momentum }
    }

    /// What training needs, made at the first use; whoever takes it puts it back.
    fn take_training(&mut self) -> Result<Training> {
        match self.training.take() {
            Some(training) => Ok(training),
            None => Training::new(self),
        }
    }

    /// What answering needs, by the variables that count.
    fn take_inference(&mut self) -> Result<Inference> {
        if let Some(inference) = self.inference.take() {
            return Ok(inference);
        }
        let (graph, weights) = self.parametrisation.folded(&self.graph, &self.counting()?)?;
        let shapes = graph.shapes(self.size)?;
        let largest = shapes.iter().map(|s| s.iter().product()).max().unwrap_or(1);
        let packed = Layout::of(&graph).pack_all(weights)?;
        Ok(Inference {
            engine: Engine::new(&graph, self.size, &self.kernels)?,
            parameters: self.memory.hold(&packed)?,
            batch: (TOGETHER / largest.max(1)).max(1),
        })
    }
}

impl Executor for Network {
    fn parametrisation(&self) -> &Parametrisation {
        &self.parametrisation
    }

    fn classes(&self) -> usize {
        self.graph.classes()
    }

    fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<()> {
        self.train(&[], &batch, target, update)
    }

    fn keep(&mut self, pictures: &dyn Pictures, normalization: &Normalization) -> Result<bool> {
        let device = &self.kernels.device;
        self.pictures = Kept::new(pictures, normalization, &mut self.memory, device)?;
        Ok(self.pictures.is_some())
    }

    fn step_on(
        &mut self,
        views: &[(usize, View)],
        batch: Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        self.train(views, &batch, target, update)
    }

    fn losses(&self) -> Result<f64> {
        Ok(self.doubles()?[0])
    }

    fn set_losses(&mut self, sum: f64) -> Result<()> {
        let bits = sum.to_bits();
        let words = [bits as u32, (bits >> 32) as u32].map(f32::from_bits);
        Ok(self.losses.write(&self.kernels.device, &words)?)
    }

    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<(f64, Vec<f32>)> {
        self.passes(&batch, &[], target, self.by_batch(0.0))?;
        let training = self.training.as_ref().expect("passes have run in it");
        let n = self.parametrisation.len();
        Ok((self.doubles()?[1], training.gradient.read(&self.kernels.device, n)?))
    }

    fn move_statistics(&mut self, pictures: Vec<f32>, share: f32) -> Result<()> {
        let n = pictures.len() / (3 * self.size * self.size) * self.classes();
        // No labels: a loss of nothing.
        let batch = Batch { pictures, labels: vec![0.0; n], teacher: Vec::new() };
        self.passes(&batch, &[], Loss::LABELS, self.by_batch(share))
    }

    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        let mut inference = self.take_inference()?;
        let (classes, floats) = (self.classes(), 3 * self.size * self.size);
        let mut logits = Vec::with_capacity(pictures.len() / floats * classes);
        for x in pictures.chunks(inference.batch * floats) {
            let engine = &mut inference.engine;
            engine.feed(x)?;
            engine.forward(inference.parameters.at, Mode::Inference)?;
            logits.extend(engine.result(engine.batch * classes)?);
        }
        self.inference = Some(inference);
        Ok(logits)
    }

    fn counting(&self) -> Result<Vec<f32>> {
        let counting = self.average.as_ref().unwrap_or(&self.variables);
        Ok(counting.read(&self.kernels.device, self.parametrisation.len())?)
    }

    fn download(&self) -> Result<State> {
        let (n, device) = (self.parametrisation.len(), &self.kernels.device);
        let floats = |b: Option<&Buffer>| b.map_or(Ok(Vec::new()), |b| b.read(device, n));
        let second = self.momenta.as_ref().filter(|_| self.has_second).map(|m| &m[1]);
        Ok(State {
            steps: self.steps,
            variables: self.variables.read(device, n)?,
            average: floats(self.average.as_ref())?,
            momenta: [floats(self.momenta.as_ref().map(|m| &m[0]))?, floats(second)?],
        })
    }

    fn upload(&mut self, state: State) -> Result<()> {
        state.check(self.parametrisation.len())?;
        let State { steps, variables, average, momenta: [first, second] } = state;
        let memory = &mut self.memory;
        self.steps = steps;
        self.variables.write(&self.kernels.device, &variables)?;
        self.average = if average.is_empty() { None } else { Some(memory.hold(&average)?) };
        self.has_second = !second.is_empty();
        self.momenta = if first.is_empty() {
            None
        } else {
            let second = if second.is_empty() { vec![0.0] } else { second };
            Some([memory.hold(&first)?, memory.hold(&second)?])
        };
        self.inference = None;
        Ok(())
    }
}
