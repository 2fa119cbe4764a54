//! Batches of views, made on a thread of their own while the network trains.

use super::{Settings, Targets};
use anyhow::{Result, ensure};
use artifacts::{Images, Model};
use executor::Batch;
use graph::rng::Rng;
use rayon::prelude::*;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use views::{Normalization, Policy, View};

/// Batches made ahead of the one being trained on.
const AHEAD: usize = 2;

/// All batches of a run.
pub(super) struct Batches<'a> {
    images: &'a Images,
    /// None where they weigh nothing.
    labels: Option<Vec<usize>>,
    targets: &'a Targets<'a>,
    settings: &'a Settings,
    policy: Policy,
    view_seed: u64,
    /// None where the executor renders views.
    normalization: Option<Normalization>,
    classes: usize,
}

/// Pictures in a step: fewer than asked for where there are no more.
pub(super) fn batch(settings: &Settings, images: &Images) -> usize {
    (settings.batch as usize).min(images.len())
}

/// A batch, and its views where they are still to be rendered.
pub(super) struct Feed {
    pub(super) batch: Batch,
    pub(super) views: Vec<(usize, View)>,
}

impl<'a> Batches<'a> {
    pub(super) fn new(
        images: &'a Images,
        targets: &'a Targets,
        settings: &'a Settings,
        model: &Model,
        is_rendered: bool,
    ) -> Result<Self> {
        let weigh = !matches!(targets, Targets::Teacher { loss, .. } if loss.alpha == 1.0);
        let labels = weigh.then(|| images.labels_to_learn_from()).transpose()?;
        ensure!(images.len() >= 2, "{}: too few pictures to train on", images.source.name);
        let (policy, view_seed) = match targets {
            Targets::Labels(policy) => (*policy, settings.seed),
            Targets::Teacher { logits, .. } => (logits.views.policy, logits.views.seed),
        };
        Ok(Self {
            images,
            labels,
            targets,
            settings,
            policy,
            view_seed,
            normalization: is_rendered.then_some(model.input.normalization),
            classes: model.graph.classes(),
        })
    }

    /// Steps per epoch: an incomplete last batch is left out, as its pictures come earlier in
    /// other epochs; fewer pictures than a batch make one step.
    pub(super) fn per_epoch(&self) -> usize {
        (self.images.len() / self.batch()).max(1)
    }

    fn batch(&self) -> usize {
        batch(self.settings, self.images)
    }

    /// Calls `body(epoch, batches)` for every epoch from that of `start`, an epoch and the steps of it
    /// that are done, with the batches to be received.
    pub(super) fn run(
        &self,
        start: (usize, usize),
        mut body: impl FnMut(usize, &Receiver<Feed>) -> Result<()>,
    ) -> Result<()> {
        let (sender, receiver) = sync_channel(AHEAD);
        std::thread::scope(|scope| {
            scope.spawn(move || self.produce(start, &sender));
            // The receiver goes with the error, which ends the other thread.
            let receiver = receiver;
            (start.0..self.settings.epochs as usize).try_for_each(|epoch| body(epoch, &receiver))
        })
    }

    fn produce(&self, (start, done): (usize, usize), sender: &SyncSender<Feed>) {
        for epoch in start..self.settings.epochs as usize {
            let done = if epoch == start { done } else { 0 };
            let order =
                Rng::new(self.settings.seed, "order", epoch as u64).permutation(self.images.len());
            for chosen in order.chunks_exact(self.batch()).skip(done) {
                if sender.send(self.make(epoch, chosen)).is_err() {
                    return; // training has ended
                }
            }
        }
    }

    fn make(&self, epoch: usize, chosen: &[usize]) -> Feed {
        let k = match self.targets {
            Targets::Labels(_) => epoch,
            Targets::Teacher { logits, .. } => epoch % logits.views.views,
        };
        let size = self.images.size();
        let side = self.settings.sizes.at(epoch, self.settings.epochs, size);
        let view = |i: usize| {
            let view = View::of(&self.policy, self.view_seed, i, k, self.images.len(), size);
            if side == size { view } else { view.at(side, size) }
        };
        let views: Vec<(usize, View)> = chosen.iter().map(|i| (*i, view(*i))).collect();
        let mut labels = vec![0.0; chosen.len() * self.classes];
        let smoothing = self.settings.label_smoothing;
        for (target, (i, view)) in labels.chunks_mut(self.classes).zip(&views) {
            let Some(labels) = &self.labels else { break };
            target.fill(smoothing / self.classes as f32);
            target[labels[*i]] += (1.0 - smoothing) * view.weight;
            target[labels[view.partner.0]] += (1.0 - smoothing) * (1.0 - view.weight);
        }
        let teacher = match self.targets {
            Targets::Labels(_) => Vec::new(),
            Targets::Teacher { logits, .. } => {
                chosen.iter().flat_map(|i| logits.of(k, *i)).copied().collect()
            }
        };
        let Some(normalization) = &self.normalization else {
            return Feed { batch: Batch { pictures: Vec::new(), labels, teacher }, views };
        };
        let floats = 3 * side * side;
        let mut pictures = vec![0.0; chosen.len() * floats];
        pictures.par_chunks_mut(floats).zip(&views).for_each(|(x, (i, view))| {
            views::render(self.images, *i, view, normalization, x);
        });
        Feed { batch: Batch { pictures, labels, teacher }, views: Vec::new() }
    }
}
