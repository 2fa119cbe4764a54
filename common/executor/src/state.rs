//! What training changes, and where a network begins.

use crate::Parametrisation;
use anyhow::{Result, ensure};
use graph::grid::Grids;
use graph::{Graph, Layout, Weights};

/// Everything that training steps change, in buffers of the variables' layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Steps done.
    pub steps: i32,
    /// What is trained, and the statistics of batch norms.
    pub variables: Vec<f32>,
    /// Their moving average; empty where there is none.
    pub average: Vec<f32>,
    /// The optimizer's momenta, the first and the second; empty before the first step, the second always for
    /// SGD.
    pub momenta: [Vec<f32>; 2],
}

impl State {
    /// The variables that count: averaged, where they are.
    pub fn counting(&self) -> &[f32] {
        if self.average.is_empty() { &self.variables } else { &self.average }
    }

    /// Checks that it is that of a network with `variables` variables.
    ///
    /// # Errors
    /// Buffers of another length.
    pub fn check(&self, variables: usize) -> Result<()> {
        let [first, second] = &self.momenta;
        let fits = |v: &Vec<f32>| v.is_empty() || v.len() == variables;
        ensure!(
            self.variables.len() == variables
                && [&self.average, first, second].into_iter().all(fits),
            "the state of another network: {} variables, expected {variables}",
            self.variables.len()
        );
        Ok(())
    }
}

/// Where a network begins, on whatever device: its graph, checked, and its variables.
pub struct Variables {
    /// How they stand for the parameters.
    pub parametrisation: Parametrisation,
    /// Their values.
    pub values: Vec<f32>,
}

impl Variables {
    /// Those of `graph` for pictures of `size × size`, with `weights`, those in `grids` on their grids.
    ///
    /// # Errors
    /// Weights, grids or pictures that do not fit the graph.
    pub fn new(graph: &Graph, weights: &Weights, grids: &Grids, size: usize) -> Result<Self> {
        graph.check_weights(weights)?;
        graph.shapes(size)?;
        let parametrisation = Parametrisation::new(Layout::of(graph), grids)?;
        let values = parametrisation.variables(weights, grids)?;
        Ok(Self { parametrisation, values })
    }
}
