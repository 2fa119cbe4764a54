//! A network with its parameters on a CUDA device: answers, and training steps.

use crate::capture::Captured;
use crate::device::asked;
use crate::inputs::Targets;
use crate::launch::Kernels;
use crate::memory::{Buffer, Memory};
use crate::op::Mode;
use crate::optimizer::{self, Buffers, Kinds, Rows};
use crate::order::Order;
use crate::render::Kept;
use crate::values::Engine;
use anyhow::{Result, bail};
use executor::{
    Batch, Executor, Kept as Album, Loss, MOMENTUM, Parametrisation, Precision, Rule, State,
    Update, Variables,
};
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
    order: Order,
    precision: Precision,
    parametrisation: Parametrisation,
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
    /// Pictures that stay on the device.
    pictures: Vec<Kept>,
    training: Option<Training>,
    inference: Option<Inference>,
    /// Whether passes that repeat become graphs.
    graphs: bool,
    replays: usize,
    /// The last to go: with it the stream is free for another executor.
    kernels: Arc<Kernels>,
}

/// Views of pictures that are kept, if a step is on any.
type Views<'a> = Option<(Album, &'a [(usize, View)])>;

/// What training needs besides the state.
struct Training {
    engine: Engine,
    /// What the network computes with, where that is not the variables.
    parameters: Option<Buffer>,
    gradient: Buffer,
    kinds: Kinds,
    repeats: Repeats,
}

/// What the last pass was, which tells whether the next is the same again.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shape {
    pictures: usize,
    targets: Targets,
    /// Whose views it is fed.
    album: Option<usize>,
    mode: Mode,
}

/// Passes that repeat. One is captured when it comes again after one of its shape that allocated nothing; then buffers
/// are taken and given back in the same order, so that what was captured writes nowhere else. Nothing else runs in the
/// engine's memory while a graph is kept.
enum Repeats {
    /// Another may be another.
    No,
    /// One of this shape has run, and allocated nothing.
    Once(Shape),
    /// It is one launch.
    As(Shape, Captured),
}

/// What answering needs.
struct Inference {
    engine: Engine,
    parameters: Buffer,
    /// Pictures run together.
    batch: usize,
    /// Whether the parameters are those of variables of before.
    is_stale: bool,
}

impl Network {
    /// `graph` for pictures of `size × size`, with `weights`, those in `grids` on their grids, on device `number`,
    /// counted from 0.
    ///
    /// # Errors
    /// No such device; weights or pictures that do not fit the graph; too little memory.
    pub fn new(
        graph: &Graph,
        weights: &Weights,
        grids: &Grids,
        size: usize,
        number: usize,
    ) -> Result<Self> {
        let Variables { parametrisation, values } = Variables::new(graph, weights, grids, size)?;
        let kernels = Arc::new(Kernels::new(number)?);
        let mut memory = Memory::new(&kernels);
        let order = Order::of(graph);
        Ok(Self {
            graph: graph.clone(),
            size,
            rows: Rows::new(&parametrisation, &kernels.device)?,
            variables: memory.hold(&order.up(&values))?,
            order,
            precision: Precision::F32,
            losses: memory.hold(&[0.0; 4])?,
            parametrisation,
            memory,
            pictures: Vec::new(),
            steps: 0,
            average: None,
            momenta: None,
            has_second: false,
            training: None,
            inference: None,
            graphs: !asked("no-graph"),
            replays: 0,
            kernels,
        })
    }

    /// The same with products of `precision`, steps' and answers'.
    ///
    /// # Errors
    /// A device that does not multiply such numbers.
    pub fn at(self, precision: Precision) -> Result<Self> {
        self.kernels.multiplies(precision)?;
        Ok(Self { precision, training: None, inference: None, ..self })
    }

    /// The same, whose passes are launched kernel by kernel, also where they repeat.
    pub fn without_graphs(self) -> Self {
        Self { graphs: false, ..self }
    }

    /// Passes so far that were one launch.
    pub fn replays(&self) -> usize {
        self.replays
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

    /// `views` of what is kept as `album`, `[b, size, size, 3]`, as a step is fed them.
    ///
    /// # Errors
    /// A view of no picture; a device that fails.
    pub fn rendered(&mut self, album: Album, views: &[(usize, View)]) -> Result<Vec<f32>> {
        let mut training = self.take_training()?;
        training.repeats = Repeats::No;
        let Some(pictures) = self.pictures.get(album.0) else { bail!("no album {}", album.0) };
        let engine = &mut training.engine;
        let drawn = engine.draw(pictures, views).and_then(|()| engine.render(pictures));
        let fed = drawn.and_then(|()| engine.fed());
        self.training = Some(training);
        Ok(fed?)
    }

    /// Bytes of the pictures that are kept.
    pub fn kept(&self) -> usize {
        self.pictures.iter().map(Kept::bytes).sum()
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
            engine: Engine::new(&network.graph, network.size, &network.kernels)?
                .at(network.precision),
            parameters,
            // Zeros: those of statistics stay so.
            gradient: network.memory.hold(&vec![0.0; p.len()])?,
            kinds: Kinds::new(p, &Update::new(Rule::Sgd, 0.0), &network.kernels.device)?,
            repeats: Repeats::No,
        })
    }
}

impl Network {
    /// A forward pass with batch statistics, the loss, the backward pass; on views of what is kept if there are any.
    fn passes(&mut self, batch: &Batch, views: Views, target: Loss, mode: Mode) -> Result<()> {
        if let Some(inference) = &mut self.inference {
            inference.is_stale = true;
        }
        let mut training = self.take_training()?;
        let passed = self.pass(&mut training, batch, views, target, mode);
        let passed = passed.map_err(|e| {
            let pictures = batch.labels.len() / self.graph.classes();
            training.repeats = Repeats::No;
            training.engine.explain(e, pictures)
        });
        self.training = Some(training);
        Ok(passed?)
    }

    fn pass(
        &mut self,
        training: &mut Training,
        batch: &Batch,
        views: Views,
        target: Loss,
        mode: Mode,
    ) -> candle_core::Result<()> {
        let (album, views) = views.map_or((None, [].as_slice()), |(a, v)| (Some(a.0), v));
        let pictures = album.and_then(|a| self.pictures.get(a));
        let targets = training.engine.stage(batch, views, pictures, target)?;
        let shape = Shape { pictures: training.engine.batch, targets, album, mode };
        if matches!(&training.repeats, Repeats::Once(s) if *s == shape) && self.graphs {
            match self.kernels.capture(|| self.launch(training, &shape)) {
                Ok(captured) => training.repeats = Repeats::As(shape, captured),
                // Not for graphs: what is wrong besides, the launches below tell.
                Err(_) => self.graphs = false,
            }
        }
        if let Repeats::As(s, captured) = &training.repeats
            && *s == shape
        {
            self.replays += 1;
            return self.kernels.replay(captured);
        }
        let before = training.engine.memory.allocations();
        training.repeats = Repeats::No;
        self.launch(training, &shape)?;
        if training.engine.memory.allocations() == before {
            training.repeats = Repeats::Once(shape);
        }
        Ok(())
    }

    /// Everything of a pass that depends on its shape alone: launches, and nothing else.
    fn launch(&self, training: &mut Training, shape: &Shape) -> candle_core::Result<()> {
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
        if let Some(pictures) = shape.album.and_then(|a| self.pictures.get(a)) {
            engine.render(pictures)?;
        }
        engine.pass(shape.targets, shape.mode, computed, [gradient.at, self.losses.at])?;
        match &self.rows {
            None => Ok(()),
            Some(rows) => rows.gradients(kernels, variables, gradient.at),
        }
    }

    /// A training step on `views` of what is kept, or else on the pictures of `batch`.
    fn train(&mut self, views: Views, batch: &Batch, target: Loss, update: &Update) -> Result<()> {
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

    /// Logits of the batch that `inference` was given.
    fn answer(&self, inference: &mut Inference) -> candle_core::Result<Vec<f32>> {
        let Inference { engine, parameters, .. } = inference;
        engine.forward(parameters.at, Mode::Inference)?;
        engine.result(engine.batch * self.classes())
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

    /// What answering needs, by the variables that count; whoever takes it puts it back.
    fn take_inference(&mut self) -> Result<Inference> {
        let before = match self.inference.take() {
            Some(inference) if !inference.is_stale => return Ok(inference),
            before => before,
        };
        let (graph, weights) = self.parametrisation.folded(&self.graph, &self.counting()?)?;
        let shapes = graph.shapes(self.size)?;
        let largest = shapes.iter().map(|s| s.iter().product()).max().unwrap_or(1);
        let packed = Order::of(&graph).up(&Layout::of(&graph).pack_all(weights)?);
        // The folded graph is the same whatever the variables are.
        if let Some(mut inference) = before {
            inference.parameters.write(&self.kernels, &packed)?;
            return Ok(Inference { is_stale: false, ..inference });
        }
        Ok(Inference {
            engine: Engine::new(&graph, self.size, &self.kernels)?.at(self.precision),
            parameters: self.memory.hold(&packed)?,
            batch: (TOGETHER / largest.max(1)).max(1),
            is_stale: false,
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
        self.train(None, &batch, target, update)
    }

    fn keep(
        &mut self,
        pictures: &dyn Pictures,
        normalization: &Normalization,
    ) -> Result<Option<Album>> {
        let before = self.pictures.len();
        let kept = Kept::new(pictures, normalization, &mut self.memory, &self.kernels)?;
        self.pictures.extend(kept);
        Ok((self.pictures.len() > before).then_some(Album(before)))
    }

    fn step_on(
        &mut self,
        album: Album,
        views: &[(usize, View)],
        batch: Batch,
        target: Loss,
        update: &Update,
    ) -> Result<()> {
        self.train(Some((album, views)), &batch, target, update)
    }

    fn logits_on(&mut self, album: Album, views: &[(usize, View)]) -> Result<Vec<f32>> {
        let mut inference = self.take_inference()?;
        let answered = self.pictures.get(album.0).map(|pictures| {
            let mut logits = Vec::with_capacity(views.len() * self.classes());
            for views in views.chunks(inference.batch) {
                inference.engine.draw(pictures, views)?;
                inference.engine.render(pictures)?;
                logits.extend(self.answer(&mut inference)?);
            }
            Ok(logits)
        });
        self.inference = Some(inference);
        answered.unwrap_or_else(|| bail!("no album {}", album.0))
    }

    fn losses(&self) -> Result<f64> {
        Ok(self.doubles()?[0])
    }

    fn set_losses(&mut self, sum: f64) -> Result<()> {
        let bits = sum.to_bits();
        let words = [bits as u32, (bits >> 32) as u32].map(f32::from_bits);
        Ok(self.losses.write(&self.kernels, &words)?)
    }

    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<(f64, Vec<f32>)> {
        self.passes(&batch, None, target, self.by_batch(0.0))?;
        let training = self.training.as_ref().expect("passes have run in it");
        let n = self.parametrisation.len();
        Ok((self.doubles()?[1], self.order.down(&training.gradient.read(&self.kernels.device, n)?)))
    }

    fn move_statistics(&mut self, pictures: Vec<f32>, share: f32) -> Result<()> {
        let n = pictures.len() / (3 * self.size * self.size) * self.classes();
        // No labels: a loss of nothing.
        let batch = Batch { pictures, labels: vec![0.0; n], teacher: Vec::new() };
        self.passes(&batch, None, Loss::LABELS, self.by_batch(share))
    }

    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        let mut inference = self.take_inference()?;
        let floats = 3 * self.size * self.size;
        let mut logits = Vec::with_capacity(pictures.len() / floats * self.classes());
        for x in pictures.chunks(inference.batch * floats) {
            inference.engine.feed(x)?;
            logits.extend(self.answer(&mut inference)?);
        }
        self.inference = Some(inference);
        Ok(logits)
    }

    fn counting(&self) -> Result<Vec<f32>> {
        let counting = self.average.as_ref().unwrap_or(&self.variables);
        Ok(self.order.down(&counting.read(&self.kernels.device, self.parametrisation.len())?))
    }

    fn download(&self) -> Result<State> {
        let (n, device) = (self.parametrisation.len(), &self.kernels.device);
        let floats = |b: Option<&Buffer>| {
            b.map_or(Ok(Vec::new()), |b| {
                Ok::<_, candle_core::Error>(self.order.down(&b.read(device, n)?))
            })
        };
        let second = self.momenta.as_ref().filter(|_| self.has_second).map(|m| &m[1]);
        Ok(State {
            steps: self.steps,
            variables: floats(Some(&self.variables))?,
            average: floats(self.average.as_ref())?,
            momenta: [floats(self.momenta.as_ref().map(|m| &m[0]))?, floats(second)?],
        })
    }

    fn upload(&mut self, state: State) -> Result<()> {
        state.check(self.parametrisation.len())?;
        let State { steps, variables, average, momenta: [first, second] } = state;
        let [variables, average, first, second] =
            [variables, average, first, second].map(|values| self.order.up(&values));
        // What is replaced is given back, for what comes next.
        let replaced =
            self.average.take().into_iter().chain(self.momenta.take().into_iter().flatten());
        replaced.for_each(|b| self.memory.give(b));
        let memory = &mut self.memory;
        self.steps = steps;
        self.variables.write(&self.kernels, &variables)?;
        self.average = if average.is_empty() { None } else { Some(memory.hold(&average)?) };
        self.has_second = !second.is_empty();
        self.momenta = if first.is_empty() {
            None
        } else {
            let second = if second.is_empty() { vec![0.0] } else { second };
            Some([memory.hold(&first)?, memory.hold(&second)?])
        };
        if let Some(inference) = &mut self.inference {
            inference.is_stale = true;
        }
        Ok(())
    }
}
