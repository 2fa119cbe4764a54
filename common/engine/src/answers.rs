//! A network that answers: folded, its weights packed once, its pictures run through all layers in groups.
//!
//! What a layer writes should be near when the next reads it, so a group is as many pictures as a core's cache has room
//! for; where weights are larger than that, as many as make reading them worth while. Groups run side by side, each on
//! one thread; the layers of a single group share its work. A picture's logits have the same bits in any group.

use crate::parallel::{alone, prelude::*, threads, together};
use crate::pass::{Engine, Mode};
use anyhow::{Result, ensure};
use executor::Precision;
use graph::{Graph, Layout, Weights};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Floats of the largest results of a group: 512 KiB, half of a core's L2.
const NEAR: usize = 128 * 1024;
/// Most floats of weights that each thread reads for itself: 16 MiB.
const SMALL: usize = 4 * 1024 * 1024;
/// Floats of the largest results of a group of larger networks, 16 MiB: enough rows for the deep layers' sums.
const TOGETHER: usize = 4 * 1024 * 1024;

/// See the module.
pub struct Answers {
    /// One for each group that runs at a time; all of one network.
    engines: Mutex<Vec<Engine>>,
    first: Engine,
    parameters: Vec<f32>,
    /// Of a picture.
    floats: usize,
    classes: usize,
    /// Most pictures of a group.
    group: usize,
}

impl Answers {
    /// Of a folded network on pictures of `size × size`, with products of `precision`.
    ///
    /// # Errors
    /// Weights or pictures that do not fit it.
    pub fn new(
        (graph, weights): (Graph, Weights),
        size: usize,
        precision: Precision,
    ) -> Result<Self> {
        let first = Engine::new(&graph, size, Mode::Inference)?.at(precision);
        let parameters = Layout::of(&graph).pack_all(weights)?;
        let largest = first.largest();
        let group = if parameters.len() > SMALL {
            TOGETHER / largest
        } else {
            (NEAR / largest).max(parameters.len() / first.total())
        };
        Ok(Self {
            engines: Mutex::new(Vec::new()),
            first,
            parameters,
            floats: 3 * size * size,
            classes: graph.classes(),
            group: group.max(1),
        })
    }

    /// Logits `[n, classes]` of pictures `[n, size, size, 3]`.
    ///
    /// # Errors
    /// Pictures of another size.
    pub fn logits(&mut self, pictures: &[f32]) -> Result<Vec<f32>> {
        let n = pictures.len() / self.floats;
        ensure!(n * self.floats == pictures.len(), "{} values of pictures", pictures.len());
        let mut logits = vec![0.0; n * self.classes];
        let small = self.parameters.len() <= SMALL;
        let share = if small { n.div_ceil(threads()) } else { n };
        let group = self.group.min(share).max(1);
        let pieces = || pictures.par_chunks(group * self.floats);
        let pieces = logits.par_chunks_mut(group * self.classes).zip(pieces());
        let run = |(logits, x): (&mut [f32], &[f32])| {
            let spare = lock(&self.engines).pop();
            let mut engine = spare.unwrap_or_else(|| self.first.twin());
            let mut pictures = engine.pictures();
            pictures.clear();
            pictures.extend_from_slice(x);
            let answers = engine.forward(&self.parameters, pictures);
            logits.copy_from_slice(answers.expect("pictures of this size have been asked for"));
            lock(&self.engines).push(engine);
        };
        if small && n > group {
            // Each on one thread, also where another network's answers have the team.
            together(|| pieces.for_each(|piece| alone(|| run(piece))));
        } else {
            together(|| pieces.in_order(run));
        }
        Ok(logits)
    }
}

/// What a panic elsewhere has left is still an engine.
fn lock(engines: &Mutex<Vec<Engine>>) -> MutexGuard<'_, Vec<Engine>> {
    engines.lock().unwrap_or_else(PoisonError::into_inner)
}
