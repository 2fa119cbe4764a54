//! Answers: the network with its batch norms folded.

use super::Network;
use crate::memory::Buffer;
use crate::op::Mode;
use crate::order::Order;
use crate::values::Engine;
use anyhow::Result;
use executor::Executor;
use graph::Layout;

/// Floats of the largest activations of the pictures run together where nothing is trained, 256 MB.
const TOGETHER: usize = 64 << 20;

/// What answering needs.
pub(super) struct Inference {
    pub(super) engine: Engine,
    parameters: Buffer,
    /// Pictures run together.
    pub(super) batch: usize,
    /// Whether the parameters are those of variables of before.
    pub(super) is_stale: bool,
}

impl Network {
    /// Logits of the batch that `inference` was given.
    pub(super) fn answer(&self, inference: &mut Inference) -> candle_core::Result<Vec<f32>> {
        let Inference { engine, parameters, .. } = inference;
        engine.forward(parameters.at, Mode::Inference)?;
        engine.result(engine.batch * self.classes())
    }

    /// What answering needs, by the variables that count; whoever takes it puts it back.
    pub(super) fn take_inference(&mut self) -> Result<Inference> {
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
