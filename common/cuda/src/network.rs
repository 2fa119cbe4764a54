//! A network with its parameters on a CUDA device: answers, and training steps.

mod answers;
mod training;

use crate::device::asked;
use crate::launch::Kernels;
use crate::memory::{Buffer, Memory};
use crate::optimizer::Rows;
use crate::order::Order;
use crate::render::Kept;
use answers::Inference;
use anyhow::{Result, bail};
use executor::{
    Batch, Executor, Kept as Album, Loss, Parametrisation, Precision, State, Update, Variables,
};
use graph::grid::Grids;
use graph::{Graph, Weights};
use std::sync::Arc;
use training::{Repeats, Training};
use views::{Normalization, Pictures, View};

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
    /// The first, and the second, which SGD has not.
    momenta: Option<(Buffer, Option<Buffer>)>,
    /// Two doubles: the sum of the losses of steps, and the last.
    losses: Buffer,
    /// Pictures that stay on the device.
    pictures: Vec<Kept>,
    training: Option<Training>,
    inference: Option<Inference>,
    /// Whether passes that repeat become graphs.
    graphs: bool,
    /// Why they do not, where one could not be captured.
    refused: Option<String>,
    replays: usize,
    /// The last to go: with it the stream is free for another executor.
    kernels: Arc<Kernels>,
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
            training: None,
            inference: None,
            graphs: !asked("no-graph"),
            refused: None,
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

    /// Why passes that repeat are launched kernel by kernel, where a graph of one could not be captured.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
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
        if self.pictures.len() <= album.0 {
            bail!("no album {}", album.0)
        }
        let mut training = self.take_training()?;
        training.repeats = Repeats::No;
        let pictures = &self.pictures[album.0];
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
        let others = self.kept();
        let kept = Kept::new(pictures, normalization, others, &mut self.memory, &self.kernels)?;
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
        let answered = pictures.chunks(inference.batch * floats).try_for_each(|x| {
            inference.engine.feed(x)?;
            logits.extend(self.answer(&mut inference)?);
            Ok(())
        });
        self.inference = Some(inference);
        answered.map(|()| logits)
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
        Ok(State {
            steps: self.steps,
            variables: floats(Some(&self.variables))?,
            average: floats(self.average.as_ref())?,
            momenta: [
                floats(self.momenta.as_ref().map(|(first, _)| first))?,
                floats(self.momenta.as_ref().and_then(|(_, second)| second.as_ref()))?,
            ],
        })
    }

    fn upload(&mut self, state: State) -> Result<()> {
        state.check(self.parametrisation.len())?;
        let State { steps, variables, average, momenta: [first, second] } = state;
        let [variables, average, first, second] =
            [variables, average, first, second].map(|values| self.order.up(&values));
        // What is replaced is given back, for what comes next.
        let (old_first, old_second) = self.momenta.take().unzip();
        let replaced = [self.average.take(), old_first, old_second.flatten()];
        replaced.into_iter().flatten().for_each(|b| self.memory.give(b));
        let memory = &mut self.memory;
        self.steps = steps;
        self.variables.write(&self.kernels, &variables)?;
        self.average = if average.is_empty() { None } else { Some(memory.hold(&average)?) };
        self.momenta = memory.hold_momenta([first, second])?;
        if let Some(inference) = &mut self.inference {
            inference.is_stale = true;
        }
        Ok(())
    }
}
