//! A network with its parameters in candle tensors: answers, and training steps.

use crate::op::{Statistics, Tensors};
use crate::pass::pass;
use crate::{grid, loss, optim};
use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var, bail};
use executor::{Batch, Executor, Loss, MOMENTUM, Parametrisation, State, Update, Variables};
use graph::grid::Grids;
use graph::{Graph, Weights};

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
    momenta: Option<[Tensor; 2]>,
    /// Folded graph and parameters, for answers.
    inference: Option<(Graph, Tensors)>,
    /// The sum of the losses of all steps since it was set last, each before its update.
    losses: f64,
}

/// What a forward and a backward pass give.
struct Passes {
    loss: f64,
    /// Of the variables, `[n]`, zero for statistics.
    gradient: Tensor,
    /// What statistics move to, and where they begin among the variables.
    statistics: Vec<(usize, Tensor)>,
}

/// `x` as pictures of `size × size`, `[b, size, size, 3]`.
fn pictures(x: &[f32], size: usize, device: &Device) -> candle_core::Result<Tensor> {
    let floats = 3 * size * size;
    let b = x.len() / floats;
    if b == 0 || b * floats != x.len() {
        bail!("a batch of {} values, {floats} per picture", x.len())
    }
    Tensor::from_slice(x, (b, size, size, 3), device)
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
        let Variables { parametrisation, values } = Variables::new(graph, weights, grids, size)?;
        Ok(Self {
            graph: graph.clone(),
            size,
            device: device.clone(),
            variables: Tensor::new(values, device)?,
            parametrisation,
            steps: 0,
            average: None,
            momenta: None,
            inference: None,
            losses: 0.0,
        })
    }

    /// `gradient` with λ · sign γ added.
    fn slimmed(&self, gradient: &Tensor, slim: f32) -> candle_core::Result<Tensor> {
        let mut factor = vec![0.0; self.parametrisation.len()];
        self.parametrisation.layout().gammas().for_each(|r| factor[r].fill(slim));
        gradient + (self.variables.sign()? * Tensor::new(factor, &self.device)?)?
    }

    /// The statistics move by `share` towards those of the batch, or else batch norms go by stored ones.
    fn gradients(&self, batch: &Batch, target: Loss, share: Option<f64>) -> Result<Passes> {
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
            let w = leaves[slot].1.as_tensor().apply_op2(&scales, grid::Round { bits })?;
            parameters.insert(slots[slot].name.clone(), w);
            leaves.push((log_scales.start, scales));
        }
        let x = pictures(&batch.pictures, self.size, &self.device)?;
        let by = if share.is_some() { Statistics::Batch } else { Statistics::Stored };
        let pass = pass(&self.graph, &parameters, &x, by)?;
        batch.check(pass.logits.elem_count())?;
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
        let share = share.unwrap_or(0.0);
        let mut statistics = Vec::new();
        for (name, batch) in &pass.statistics {
            for (end, batch) in ["running_mean", "running_var"].iter().zip(batch) {
                let at = p.layout().find(&format!("{name}.{end}"))?;
                let start = slots[at].range.start;
                let stored = piece(start, slots[at].range.len())?;
                statistics.push((start, (&stored + ((batch - &stored)? * share)?)?));
            }
        }
        Ok(Passes { loss: f64::from(loss.to_scalar::<f32>()?), gradient, statistics })
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
        let share = (!update.keeps_statistics()).then_some(f64::from(MOMENTUM));
        let Passes { loss, gradient, statistics } = self.gradients(&batch, target, share)?;
        self.losses += loss;
        self.inference = None;
        let momenta = match self.momenta.take() {
            Some(momenta) => momenta,
            None => {
                let [first, second] = update.momenta(self.parametrisation.len());
                [Tensor::new(first, &self.device)?, Tensor::new(second, &self.device)?]
            }
        };
        if update.ema > 0.0 && self.average.is_none() {
            self.average = Some(self.variables.clone());
        }
        self.steps += 1;
        let gradient =
            if update.slim > 0.0 { self.slimmed(&gradient, update.slim)? } else { gradient };
        let parts = self.parametrisation.updates(update);
        let (mut variables, momenta) =
            optim::step(update, &parts, &self.variables, &gradient, &momenta, self.steps)?;
        self.momenta = Some(momenta);
        for (start, moved) in statistics {
            variables = variables.slice_scatter0(&moved, start)?;
        }
        self.variables = variables;
        if let (true, Some(average)) = (update.ema > 0.0, &self.average) {
            let share = 1.0 - f64::from(update.keeps(self.steps));
            self.average = Some((average + ((&self.variables - average)? * share)?)?);
        }
        Ok(())
    }

    fn losses(&self) -> Result<f64> {
        Ok(self.losses)
    }

    fn set_losses(&mut self, sum: f64) -> Result<()> {
        self.losses = sum;
        Ok(())
    }

    fn gradient(&mut self, batch: Batch, target: Loss) -> Result<(f64, Vec<f32>)> {
        let Passes { loss, gradient, .. } = self.gradients(&batch, target, Some(0.0))?;
        Ok((loss, gradient.to_vec1()?))
    }

    fn move_statistics(&mut self, pictures: Vec<f32>, share: f32) -> Result<()> {
        self.inference = None;
        let n = pictures.len() / (3 * self.size * self.size) * self.classes();
        // No labels: a loss of nothing.
        let batch = Batch { pictures, labels: vec![0.0; n], teacher: Vec::new() };
        let passes = self.gradients(&batch, Loss::LABELS, Some(f64::from(share)))?;
        for (start, moved) in passes.statistics {
            self.variables = self.variables.slice_scatter0(&moved, start)?;
        }
        Ok(())
    }

    fn logits(&mut self, all: &[f32]) -> Result<Vec<f32>> {
        let size = self.size;
        let (graph, tensors) = match &self.inference {
            Some(folded) => folded,
            None => {
                let (graph, weights) =
                    self.parametrisation.folded(&self.graph, &self.counting()?)?;
                let tensor = |(name, a): (String, graph::Array)| {
                    Ok((name, Tensor::from_vec(a.values, a.shape, &self.device)?))
                };
                let tensors = weights.into_iter().map(tensor).collect::<Result<_>>()?;
                self.inference.insert((graph, tensors))
            }
        };
        let mut logits = Vec::new();
        for x in all.chunks(TOGETHER * 3 * size * size) {
            let pass = pass(graph, tensors, &pictures(x, size, &self.device)?, Statistics::Stored)?;
            logits.extend(pass.logits.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(logits)
    }

    fn counting(&self) -> Result<Vec<f32>> {
        Ok(self.average.as_ref().unwrap_or(&self.variables).to_vec1()?)
    }

    fn download(&self) -> Result<State> {
        let floats = |t: Option<&Tensor>| t.map_or(Ok(Vec::new()), |t| t.to_vec1());
        let momentum = |k: usize| floats(self.momenta.as_ref().map(|m| &m[k]));
        Ok(State {
            steps: self.steps,
            variables: self.variables.to_vec1()?,
            average: floats(self.average.as_ref())?,
            momenta: [momentum(0)?, momentum(1)?],
        })
    }

    fn upload(&mut self, state: State) -> Result<()> {
        state.check(self.parametrisation.len())?;
        let State { steps, variables, average, momenta: [first, second] } = state;
        let tensor = |v: Vec<f32>| Tensor::new(v, &self.device);
        self.steps = steps;
        self.average = if average.is_empty() { None } else { Some(tensor(average)?) };
        self.momenta =
            if first.is_empty() { None } else { Some([tensor(first)?, tensor(second)?]) };
        self.variables = tensor(variables)?;
        self.inference = None;
        Ok(())
    }
}
