//! A network with its parameters on a candle device: answers, and training steps.

use crate::forward::{Statistics, Tensors, run};
use crate::{grid, loss, optim};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use engine::loss::Loss;
use engine::optim::Update;
use engine::parametrisation::Parametrisation;
use engine::{Batch, State};
use graph::grid::Grids;
use graph::{Graph, Layout, Weights};

/// Share of a batch's statistics in the stored ones after a step: PyTorch's.
const MOMENTUM: f64 = 0.1;

/// Pictures run together where nothing is trained.
const TOGETHER: usize = 64;

/// See the module. Buffers are flat tensors in the layout of the variables.
pub struct Network {
    graph: Graph,
    size: usize,
    device: Device,
    parametrisation: Parametrisation,
    steps: i32,
    variables: Tensor,
    average: Option<Tensor>,
    moments: Option<[Tensor; 2]>,
    /// Folded graph and parameters, for answers.
    inference: Option<(Graph, Tensors)>,
    /// The sum of the losses of all steps since it was set last, each before its update.
    pub losses: f64,
}

/// What a forward and a backward pass give.
struct Passes {
    loss: f64,
    /// Of the variables, `[n]`, zero for statistics.
    gradient: Tensor,
    /// What statistics move to, and where they begin among the variables.
    statistics: Vec<(usize, Tensor)>,
}

fn misfit(e: graph::Error) -> candle_core::Error {
    candle_core::Error::msg(e)
}

impl Network {
    /// `graph` for pictures of `size × size`, with `weights`, those in `grids` on their grids.
    ///
    /// # Errors
    /// Weights or pictures that do not fit the graph; a device that is out of memory.
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
        Ok(Self {
            graph: graph.clone(),
            size,
            device: device.clone(),
            variables: Tensor::new(variables, device)?,
            parametrisation,
            steps: 0,
            average: None,
            moments: None,
            inference: None,
            losses: 0.0,
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

    /// What training has changed so far.
    ///
    /// # Errors
    /// A device that fails.
    pub fn state(&self) -> Result<State> {
        let floats = |t: Option<&Tensor>| t.map_or(Ok(Vec::new()), |t| t.to_vec1());
        let moment = |k: usize| floats(self.moments.as_ref().map(|m| &m[k]));
        Ok(State {
            steps: self.steps,
            variables: self.variables.to_vec1()?,
            average: floats(self.average.as_ref())?,
            moments: [moment(0)?, moment(1)?],
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
        let tensor = |v: Vec<f32>| Tensor::new(v, &self.device);
        self.steps = steps;
        self.average = if average.is_empty() { None } else { Some(tensor(average)?) };
        self.moments =
            if first.is_empty() { None } else { Some([tensor(first)?, tensor(second)?]) };
        self.variables = tensor(variables)?;
        self.inference = None;
        Ok(())
    }

    fn pictures(&self, x: &[f32]) -> Result<Tensor> {
        let floats = 3 * self.size * self.size;
        let b = x.len() / floats;
        if b == 0 || b * floats != x.len() {
            bail!("a batch of {} values, {floats} per picture", x.len())
        }
        Tensor::from_slice(x, (b, self.size, self.size, 3), &self.device)
    }

    /// Loss of a batch, before the network is updated to make it smaller.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub fn step(&mut self, batch: &Batch, target: Loss, update: &Update) -> Result<f64> {
        let Passes { loss: value, gradient, statistics } =
            self.gradients(batch, target, update.rate, MOMENTUM)?;
        self.losses += value;
        self.inference = None;
        let moments = match self.moments.take() {
            Some(moments) => moments,
            None => {
                let [first, second] = update.moments(self.parametrisation.len());
                [Tensor::new(first, &self.device)?, Tensor::new(second, &self.device)?]
            }
        };
        if update.ema > 0.0 && self.average.is_none() {
            self.average = Some(self.variables.clone());
        }
        self.steps += 1;
        let gradient =
            if update.slim > 0.0 { self.slimmed(&gradient, update.slim)? } else { gradient };
        let ranges = self.parametrisation.updates(update.settled);
        let (mut variables, moments) =
            optim::step(update, &ranges, &self.variables, &gradient, &moments, self.steps)?;
        self.moments = Some(moments);
        for (start, moved) in statistics {
            variables = variables.slice_scatter0(&moved, start)?;
        }
        self.variables = variables;
        if let (true, Some(average)) = (update.ema > 0.0, &self.average) {
            let share = 1.0 - f64::from(update.keeps(self.steps));
            self.average = Some((average + ((&self.variables - average)? * share)?)?);
        }
        Ok(value)
    }

    /// `gradient` with λ · sign γ added.
    fn slimmed(&self, gradient: &Tensor, slim: f32) -> Result<Tensor> {
        let mut factor = vec![0.0; self.parametrisation.len()];
        self.parametrisation.layout().scales().for_each(|r| factor[r].fill(slim));
        gradient + (self.variables.sign()? * Tensor::new(factor, &self.device)?)?
    }

    /// The statistics move by `share` towards those of the batch.
    fn gradients(&self, batch: &Batch, target: Loss, rate: f32, share: f64) -> Result<Passes> {
        let p = &self.parametrisation;
        let slots = p.layout().slots();
        // Leaves of the tape: one for each slot, one for the logarithms of each grid's scales.
        let piece = |start: usize, len: usize| self.variables.narrow(0, start, len);
        let mut leaves: Vec<(usize, Var)> = Vec::new();
        for slot in slots {
            let t = piece(slot.range.start, slot.range.len())?.reshape(slot.shape.as_slice())?;
            leaves.push((slot.range.start, Var::from_tensor(&t.copy()?)?));
        }
        let mut parameters: Tensors = slots
            .iter()
            .zip(&leaves)
            .map(|(s, (_, v))| (s.name.clone(), v.as_tensor().clone()))
            .collect();
        for (slot, bits, log_scales) in p.on_grids() {
            let scales = Var::from_tensor(&piece(log_scales.start, log_scales.len())?.copy()?)?;
            let is_weight = slots[slot].role == graph::Role::Weight;
            let round = grid::Round { bits, rate: if is_weight { rate } else { 0.0 } };
            let w = leaves[slot].1.as_tensor().apply_op2(&scales, round)?;
            parameters.insert(slots[slot].name.clone(), w);
            leaves.push((log_scales.start, scales));
        }
        let x = self.pictures(&batch.pictures)?;
        let pass = run(&self.graph, &parameters, &x, Statistics::Batch)?;
        let like = |v: &[f32]| Tensor::from_slice(v, pass.logits.shape(), &self.device);
        let teacher = if batch.teacher.is_empty() { None } else { Some(like(&batch.teacher)?) };
        let loss = loss(&pass.logits, &like(&batch.labels)?, teacher.as_ref(), target)?;
        let store = loss.backward()?;
        let mut pieces = Vec::with_capacity(leaves.len());
        for (_, leaf) in &leaves {
            pieces.push(match store.get(leaf) {
                Some(g) => g.flatten_all()?,
                None => Tensor::zeros(leaf.elem_count(), DType::F32, &self.device)?,
            });
        }
        let gradient = Tensor::cat(&pieces, 0)?;
        let mut statistics = Vec::new();
        for (name, batch) in &pass.moments {
            for (end, batch) in ["running_mean", "running_var"].iter().zip(batch) {
                let at = p.layout().find(&format!("{name}.{end}")).map_err(misfit)?;
                let start = slots[at].range.start;
                let stored = piece(start, slots[at].range.len())?;
                statistics.push((start, (&stored + ((batch - &stored)? * share)?)?));
            }
        }
        Ok(Passes { loss: f64::from(loss.to_scalar::<f32>()?), gradient, statistics })
    }

    /// The statistics of batch norms become the means of those of `batches`, each weighing the same.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub fn recalibrate(&mut self, batches: &mut dyn Iterator<Item = Vec<f32>>) -> Result<()> {
        self.inference = None;
        for (k, pictures) in batches.enumerate() {
            let n = pictures.len() / (3 * self.size * self.size) * self.classes();
            // No labels: a loss of nothing.
            let batch = Batch { pictures, labels: vec![0.0; n], teacher: Vec::new() };
            let passes = self.gradients(&batch, Loss::LABELS, 0.0, 1.0 / (k as f64 + 1.0))?;
            for (start, moved) in passes.statistics {
                self.variables = self.variables.slice_scatter0(&moved, start)?;
            }
        }
        Ok(())
    }

    /// Loss and gradient of the variables of a batch, without an update.
    ///
    /// # Errors
    /// A batch of another size; a device that fails.
    pub fn gradient(&self, batch: &Batch, target: Loss, rate: f32) -> Result<(f64, Vec<f32>)> {
        let Passes { loss, gradient, .. } = self.gradients(batch, target, rate, MOMENTUM)?;
        Ok((loss, gradient.to_vec1()?))
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
            let tensor = |(name, a): (String, graph::Array)| {
                Ok((name, Tensor::from_vec(a.values, a.shape, &self.device)?))
            };
            let tensors = weights.into_iter().map(tensor).collect::<Result<_>>()?;
            self.inference = Some((graph, tensors));
        }
        let Some((graph, tensors)) = &self.inference else { return Ok(Vec::new()) };
        let mut logits = Vec::new();
        for x in pictures.chunks(TOGETHER * 3 * self.size * self.size) {
            let pass = run(graph, tensors, &self.pictures(x)?, Statistics::Stored)?;
            logits.extend(pass.logits.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(logits)
    }
}
