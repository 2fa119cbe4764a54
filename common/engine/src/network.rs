//! A network with its parameters on the CPU: answers, and training steps.

use crate::answers::Answers;
use crate::loss::loss;
use crate::optim;
use crate::parallel::within;
use crate::pass::{Engine, Manner, Mode};
use anyhow::Result;
use executor::{
    Batch, Executor, Loss, MOMENTUM, Parametrisation, Precision, State, Update, Variables,
};
use graph::grid::Grids;
use graph::{Graph, Weights};

/// What training needs besides the state.
struct Training {
    engine: Engine,
    /// What the network computes with; empty where that is the variables.
    parameters: Vec<f32>,
    /// Of the loss, with respect to the parameters, then the variables.
    gradient: Vec<f32>,
}

/// −1, 0 or 1.
fn sign(v: f32) -> f32 {
    if v == 0.0 { 0.0 } else { v.signum() }
}

/// See the module.
pub struct Network {
    graph: Graph,
    size: usize,
    precision: Precision,
    parametrisation: Parametrisation,
    state: State,
    training: Option<Training>,
    answers: Option<Answers>,
    /// The sum of the losses of all steps since it was set last, each before its update.
    losses: f64,
}

impl Network {
    /// `graph` for pictures of `size × size`, with `weights`, those in `grids` on their grids.
    ///
    /// # Errors
    /// Weights or pictures that do not fit the graph.
    pub fn new(graph: &Graph, weights: &Weights, grids: &Grids, size: usize) -> Result<Self> {
        let Variables { parametrisation, values } = Variables::new(graph, weights, grids, size)?;
        Ok(Self {
            graph: graph.clone(),
            size,
            precision: Precision::F32,
            parametrisation,
            state: State { variables: values, ..State::default() },
            training: None,
            answers: None,
            losses: 0.0,
        })
    }

    /// The same with products of `precision`.
    #[must_use]
    pub fn at(self, precision: Precision) -> Self {
        Self { precision, training: None, answers: None, ..self }
    }

    /// What training needs, ready for the variables as they are.
    fn training(&mut self) -> Result<(&mut Training, &Parametrisation, &mut State)> {
        self.answers = None;
        let p = &self.parametrisation;
        let training = match &mut self.training {
            Some(training) => training,
            none => {
                let parameters =
                    if p.is_identity() { Vec::new() } else { vec![0.0; p.layout().len()] };
                let engine =
                    Engine::new(&self.graph, self.size, Mode::Training)?.at(self.precision);
                none.insert(Training { engine, parameters, gradient: vec![0.0; p.len()] })
            }
        };
        if !p.is_identity() {
            p.parameters(&self.state.variables, &mut training.parameters);
        }
        Ok((training, p, &mut self.state))
    }

    /// A forward pass with batch statistics, what `loss(logits, gradient)` makes of its result, and the
    /// backward pass of that gradient; the gradients of the variables are then in [`Network::gradients`].
    ///
    /// # Errors
    /// A batch of another size, or what `loss` says.
    pub fn passes<T: Send>(
        &mut self,
        pictures: Vec<f32>,
        loss: impl FnOnce(&[f32], &mut [f32]) -> Result<T> + Send,
    ) -> Result<T> {
        self.passes_in(Manner::default(), pictures, loss)
    }

    /// [`Network::passes`] in a manner of its own; with gradients of the head alone the others are old.
    fn passes_in<T: Send>(
        &mut self,
        manner: Manner,
        pictures: Vec<f32>,
        loss: impl FnOnce(&[f32], &mut [f32]) -> Result<T> + Send,
    ) -> Result<T> {
        let (training, p, state) = self.training()?;
        let Training { engine, parameters, gradient } = training;
        engine.set_manner(manner);
        let variables = &state.variables;
        let parameters = if p.is_identity() { variables } else { &*parameters };
        within(|| {
            let logits = engine.forward(parameters, pictures)?;
            let mut grad = vec![0.0; logits.len()];
            let value = loss(logits, &mut grad)?;
            engine.backward(parameters, &grad, &mut gradient[..p.layout().len()])?;
            p.gradients(variables, gradient);
            Ok(value)
        })
    }

    /// Gradients of the variables in the last pass, zero for statistics; empty before the first.
    pub fn gradients(&self) -> &[f32] {
        self.training.as_ref().map_or(&[], |t| &t.gradient)
    }

    /// [`Network::passes`] with the loss of a batch.
    fn loss(&mut self, mut batch: Batch, target: Loss, manner: Manner) -> Result<f64> {
        let classes = self.classes();
        let pictures = std::mem::take(&mut batch.pictures);
        self.passes_in(manner, pictures, |logits, grad| {
            batch.check(logits.len())?;
            Ok(loss(logits, &batch.labels, &batch.teacher, classes, target, grad))
        })
    }

    /// Bytes of the training pass's activations, gradients of activations and their like.
    pub fn bytes(&self) -> usize {
        self.training.as_ref().map_or(0, |t| t.engine.bytes())
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
        let manner = Manner { stored: update.keeps_statistics(), head_only: update.rests() };
        self.losses += self.loss(batch, target, manner)?;
        let training = self.training.as_mut().expect("a loss has been computed by it");
        let state = &mut self.state;
        if state.momenta[0].is_empty() {
            state.momenta = update.momenta(state.variables.len());
        }
        if update.ema > 0.0 && state.average.is_empty() {
            state.average.clone_from(&state.variables);
        }
        // The statistics that this batch has moved are averaged with the variables.
        if !manner.stored {
            training.engine.update_statistics(&mut state.variables, MOMENTUM);
        }
        state.steps += 1;
        let parts = self.parametrisation.updates(update);
        let (variables, gradient) = (&mut state.variables, &mut training.gradient);
        if update.slim > 0.0 {
            for i in self.parametrisation.layout().gammas().flatten() {
                gradient[i] += update.slim * sign(variables[i]);
            }
        }
        optim::step(update, &parts, variables, gradient, &mut state.momenta, state.steps);
        if update.ema > 0.0 {
            let keep = update.keeps(state.steps);
            optim::average(&mut state.average, &state.variables, keep);
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
        let loss = self.loss(batch, target, Manner::default())?;
        Ok((loss, self.gradients().to_vec()))
    }

    fn move_statistics(&mut self, pictures: Vec<f32>, share: f32) -> Result<()> {
        let (Training { engine, parameters, .. }, p, state) = self.training()?;
        let parameters = if p.is_identity() { &state.variables } else { &*parameters };
        engine.set_manner(Manner::default());
        engine.forward(parameters, pictures)?;
        engine.update_statistics(&mut state.variables, share);
        Ok(())
    }

    fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        let answers = match &mut self.answers {
            Some(answers) => answers,
            none => {
                let folded = self.parametrisation.folded(&self.graph, self.state.counting())?;
                none.insert(Answers::new(folded, self.size, self.precision)?)
            }
        };
        answers.logits(pictures)
    }

    fn counting(&self) -> Result<Vec<f32>> {
        Ok(self.state.counting().to_vec())
    }

    fn download(&self) -> Result<State> {
        Ok(self.state.clone())
    }

    fn upload(&mut self, state: State) -> Result<()> {
        state.check(self.parametrisation.len())?;
        self.state = state;
        self.answers = None;
        Ok(())
    }
}
