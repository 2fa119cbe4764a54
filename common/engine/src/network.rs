//! A network with its parameters on the CPU: answers, and training steps.

use crate::loss::{Loss, loss};
use crate::optim::{self, Update};
use crate::parametrisation::Parametrisation;
use crate::pass::{Engine, Mode};
use graph::grid::Grids;
use graph::{Error, Graph, Layout, Result, Weights};

/// Everything that training steps change, in buffers of the variables' layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Steps done.
    pub steps: i32,
    /// What is trained, and the statistics of batch norms.
    pub variables: Vec<f32>,
    /// Their moving average; empty where there is none.
    pub average: Vec<f32>,
    /// First and second moments of the optimizer; empty before the first step, the second always for
    /// SGD.
    pub moments: [Vec<f32>; 2],
}

impl State {
    /// The variables that count: averaged, where they are.
    pub fn counting(&self) -> &[f32] {
        if self.average.is_empty() { &self.variables } else { &self.average }
    }
}

/// A batch to train on.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[b, size, size, 3]`, normalized.
    pub pictures: Vec<f32>,
    /// Target distributions from the labels, `[b, classes]`.
    pub labels: Vec<f32>,
    /// The teacher's logits, `[b, classes]`; empty without a teacher.
    pub teacher: Vec<f32>,
}

/// What training needs besides the state.
struct Training {
    engine: Engine,
    /// What the network computes with; empty where that is the variables.
    parameters: Vec<f32>,
    /// Of the loss, with respect to the parameters, then the variables.
    gradient: Vec<f32>,
}

/// What answering needs.
struct Inference {
    engine: Engine,
    parameters: Vec<f32>,
    /// Pictures run together.
    batch: usize,
}

/// Share of a batch's statistics in the stored ones after a step: PyTorch's.
const MOMENTUM: f32 = 0.1;

/// −1, 0 or 1.
fn sign(v: f32) -> f32 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

/// Floats of the largest activations of the pictures run together, 16 MiB: enough rows for the deep
/// layers' sums, little enough that what one layer writes is near when the next reads it.
const TOGETHER: usize = 4 * 1024 * 1024;

/// See the module.
pub struct Network {
    graph: Graph,
    size: usize,
    parametrisation: Parametrisation,
    state: State,
    training: Option<Training>,
    inference: Option<Inference>,
    /// The sum of the losses of all steps since it was set last, each before its update.
    pub losses: f64,
}

impl Network {
    /// `graph` for pictures of `size × size`, with `weights`, those in `grids` on their grids.
    ///
    /// # Errors
    /// Weights or pictures that do not fit the graph.
    pub fn new(graph: &Graph, weights: &Weights, grids: &Grids, size: usize) -> Result<Self> {
        graph.check_weights(weights)?;
        let parametrisation = Parametrisation::new(Layout::of(graph), grids)?;
        let variables = parametrisation.variables(weights, grids)?;
        let state = State { variables, ..State::default() };
        let graph = graph.clone();
        Ok(Self {
            graph,
            size,
            parametrisation,
            state,
            training: None,
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
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Go on from an earlier state.
    ///
    /// # Errors
    /// The state of another network.
    pub fn set_state(&mut self, state: State) -> Result<()> {
        let n = self.parametrisation.len();
        let fits = |v: &[f32]| v.is_empty() || v.len() == n;
        let [first, second] = &state.moments;
        if state.variables.len() != n || ![&state.average, first, second].iter().all(|v| fits(v)) {
            return Err(Error::new("the state of another network"));
        }
        self.state = state;
        self.inference = None;
        Ok(())
    }

    /// Loss of a batch, before the network is updated to make it smaller.
    ///
    /// # Errors
    /// A batch of another size.
    pub fn step(&mut self, batch: Batch, target: Loss, update: &Update) -> Result<f64> {
        let loss = self.gradients(batch, target, update.rate)?;
        self.losses += loss;
        let Some(training) = &mut self.training else { return Ok(loss) };
        let state = &mut self.state;
        if state.moments[0].is_empty() {
            state.moments = update.moments(state.variables.len());
        }
        if update.ema > 0.0 && state.average.is_empty() {
            state.average.clone_from(&state.variables);
        }
        // The statistics that this batch has moved are averaged with the variables.
        training.engine.update_statistics(&mut state.variables, MOMENTUM);
        state.steps += 1;
        let ranges = self.parametrisation.updates(update.settled);
        let (variables, gradient) = (&mut state.variables, &mut training.gradient);
        if update.slim > 0.0 {
            for i in self.parametrisation.layout().scales().flatten() {
                gradient[i] += update.slim * sign(variables[i]);
            }
        }
        update.step(&ranges, variables, gradient, &mut state.moments, state.steps);
        if update.ema > 0.0 {
            let keep = update.keeps(state.steps);
            optim::average(&mut state.average, &state.variables, keep);
        }
        Ok(loss)
    }

    /// Forget the statistics of batch norms: they become the means of those of `batches` of pictures,
    /// each weighing the same, which a network needs whose channels have been cut.
    ///
    /// # Errors
    /// A batch of another size, or what a batch says.
    pub fn recalibrate<E: From<Error>>(
        &mut self,
        batches: impl Iterator<Item = std::result::Result<Vec<f32>, E>>,
    ) -> std::result::Result<(), E> {
        for (k, pictures) in batches.enumerate() {
            self.passes(pictures?, 0.0, |_, _| Ok(()))?;
            if let Some(training) = &self.training {
                let momentum = 1.0 / (k as f32 + 1.0);
                training.engine.update_statistics(&mut self.state.variables, momentum);
            }
        }
        Ok(())
    }

    /// Loss of a batch; the gradients of the variables are then in [`Network::gradient`].
    ///
    /// # Errors
    /// A batch of another size.
    pub fn gradients(&mut self, batch: Batch, target: Loss, rate: f32) -> Result<f64> {
        let Batch { pictures, labels, teacher } = batch;
        let classes = self.classes();
        self.passes(pictures, rate, |logits, grad| {
            let expected = logits.len();
            for (what, n) in [("labels", labels.len()), ("teacher's logits", teacher.len())] {
                if n != expected && !(n == 0 && what != "labels") {
                    return Err(Error::new(format!("{n} {what} for {expected} logits")));
                }
            }
            Ok(loss(logits, &labels, &teacher, classes, target, grad))
        })
    }

    /// A forward pass with batch statistics, what `loss(logits, gradient)` makes of its result, and
    /// the backward pass of that gradient.
    ///
    /// # Errors
    /// A batch of another size, or what `loss` says.
    pub fn passes<T>(
        &mut self,
        pictures: Vec<f32>,
        rate: f32,
        loss: impl FnOnce(&[f32], &mut [f32]) -> Result<T>,
    ) -> Result<T> {
        self.inference = None;
        let p = &self.parametrisation;
        let training = match &mut self.training {
            Some(training) => training,
            none => {
                let parameters =
                    if p.is_identity() { Vec::new() } else { vec![0.0; p.layout().len()] };
                let engine = Engine::new(&self.graph, self.size)?;
                none.insert(Training { engine, parameters, gradient: vec![0.0; p.len()] })
            }
        };
        let Training { engine, parameters, gradient } = training;
        let variables = &self.state.variables;
        let parameters = if p.is_identity() {
            &variables[..]
        } else {
            p.parameters(variables, parameters);
            parameters
        };
        let logits = engine.forward(parameters, pictures, Mode::Training)?;
        let mut grad = vec![0.0; logits.len()];
        let value = loss(logits, &mut grad)?;
        engine.backward(parameters, &grad, &mut gradient[..p.layout().len()])?;
        p.gradients(variables, gradient, rate);
        Ok(value)
    }

    /// Gradients of the variables in the last pass, zero for statistics; empty before the first.
    pub fn gradient(&self) -> &[f32] {
        self.training.as_ref().map_or(&[], |t| &t.gradient)
    }

    /// Logits `[b, classes]` for pictures `[b, size, size, 3]`, by the variables that count: as the
    /// network would be stored, with batch norm folded.
    ///
    /// # Errors
    /// Pictures of another size.
    pub fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        let classes = self.classes();
        let floats = 3 * self.size * self.size;
        let inference = match &mut self.inference {
            Some(inference) => inference,
            none => {
                let (weights, _) = self.parametrisation.stored(self.state.counting())?;
                none.insert(Inference::new(&self.graph, weights, self.size)?)
            }
        };
        let mut logits = Vec::with_capacity(pictures.len() / floats * classes);
        for x in pictures.chunks(inference.batch * floats) {
            let mode = Mode::Inference;
            logits.extend(inference.engine.forward(&inference.parameters, x.to_vec(), mode)?);
        }
        Ok(logits)
    }

    /// Bytes of the training pass's activations, gradients of activations and their like.
    pub fn bytes(&self) -> usize {
        self.training.as_ref().map_or(0, |t| t.engine.bytes())
    }
}

impl Inference {
    fn new(graph: &Graph, weights: Weights, size: usize) -> Result<Self> {
        let (graph, weights) = graph.fold(weights)?;
        let largest = graph.shapes(size)?.iter().map(|s| s.iter().product()).max().unwrap_or(1);
        Ok(Self {
            engine: Engine::new(&graph, size)?,
            parameters: Layout::of(&graph).pack_all(weights)?,
            batch: (TOGETHER / largest.max(1)).max(1),
        })
    }
}
