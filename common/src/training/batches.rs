//! Batches of views, made on a thread of their own while the network trains.

use super::{Settings, Targets};
use anyhow::{Result, ensure};
use artifacts::{Folds, Images, Model};
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
    /// The pictures that are shown, ascending.
    shown: &'a [usize],
    /// Those that partners are drawn from, where these are not all that are shown.
    folds: Option<Folds>,
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
pub(super) fn batch(settings: &Settings, shown: &[usize]) -> usize {
    (settings.batch as usize).min(shown.len())
}

/// A batch, and its views where they are still to be rendered.
pub(super) struct Feed {
    pub(super) batch: Batch,
    pub(super) views: Vec<(usize, View)>,
}

impl<'a> Batches<'a> {
    /// Of the pictures `shown` of `images`.
    pub(super) fn new(
        (images, shown): (&'a Images, &'a [usize]),
        targets: &'a Targets,
        settings: &'a Settings,
        model: &Model,
        is_rendered: bool,
    ) -> Result<Self> {
        let weigh = !matches!(targets, Targets::Teacher { loss, .. } if loss.alpha == 1.0);
        let labels = weigh.then(|| images.labels_to_learn_from()).transpose()?;
        ensure!(shown.len() >= 2, "{}: too few pictures to train on", images.source.name);
        let (policy, view_seed, folds) = match targets {
            Targets::Labels(policy) => (*policy, settings.seed, None),
            Targets::Teacher { logits, .. } => {
                (logits.views.policy, logits.views.seed, logits.views.folds)
            }
        };
        let folds = folds.map(|k| Folds::new(images, k)).transpose()?;
        Ok(Self {
            images,
            shown,
            folds,
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
        (self.shown.len() / self.batch()).max(1)
    }

    fn batch(&self) -> usize {
        batch(self.settings, self.shown)
    }

    /// The pictures that the partners of picture `i` are drawn from. A network that is shown some of the pictures sees
    /// nothing of the others; a student sees what its teacher did, and that one nothing but a fold.
    fn peers(&self, i: usize) -> &[usize] {
        self.folds.as_ref().map_or(self.shown, |folds| folds.members(folds.of(i)))
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
                Rng::new(self.settings.seed, "order", epoch as u64).permutation(self.shown.len());
            let order: Vec<usize> = order.iter().map(|at| self.shown[*at]).collect();
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
        let side = self.settings.side(epoch, size);
        let view = |i: usize| {
            View::among(&self.policy, self.view_seed, i, k, self.peers(i), size).at(side, size)
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

#[cfg(test)]
mod tests {
    use super::*;
    use artifacts::artifact::Data;
    use artifacts::images::Unsaved;
    use artifacts::logits::Views;
    use artifacts::{Fold, Framing, Input, Logits, Preparation, Provenance};
    use executor::Loss;
    use graph::{Array, Graph};
    use std::path::{Path, PathBuf};
    use views::FixedViews;

    /// A folder of this test's.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// 24 pictures of 8 px, of two classes in turn, all different.
    fn images(folder: &Path) -> Images {
        let at = folder.join("images");
        Unsaved {
            preparation: Preparation { size: 8, framing: Framing::Crop, exif: false },
            classes: ["a", "b"].map(String::from).into(),
            labels: (0..24).map(|i| Some(i % 2)).collect(),
            names: (0..24).map(|i| format!("{i}.png")).collect(),
            pixels: Data::Bytes((0..24 * 192).map(|p| (p / 192 * 9 + p % 7) as u8).collect()),
        }
        .save(&at, &Provenance::new("test", &()).unwrap())
        .unwrap();
        Images::load(&at).unwrap()
    }

    fn model(images: &Images) -> Model {
        let graph: Graph = "input 3;gap;f:linear 3>2".parse().unwrap();
        let weights = graph::init::weights(&graph, 1);
        let input = Input { preparation: images.preparation, normalization: Normalization::NONE };
        let classes = images.classes.clone();
        let views = FixedViews::PLAIN;
        Model { graph, weights, input, classes, grids: graph::grid::Grids::new(), views }
    }

    fn settings() -> Settings {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            settings: Settings,
        }
        let flags = ["x", "--epochs", "12", "--batch", "4"];
        <Flags as clap::Parser>::parse_from(flags).settings
    }

    /// Every (picture, partner) that twelve epochs show, and the batches of one.
    fn shown(images: &Images, shown: &[usize], targets: &Targets) -> (Vec<(usize, usize)>, usize) {
        let (settings, model) = (settings(), model(images));
        let batches = Batches::new((images, shown), targets, &settings, &model, false).unwrap();
        let mut pairs = Vec::new();
        let collect = |_, receiver: &Receiver<Feed>| {
            for _ in 0..batches.per_epoch() {
                let views = receiver.recv()?.views;
                pairs.extend(views.iter().map(|(i, view)| (*i, view.partner.0)));
            }
            Ok(())
        };
        batches.run((0, 0), collect).unwrap();
        (pairs, batches.per_epoch())
    }

    /// Two folds of 12: without the first, three steps of four pictures an epoch, and none of its pictures, alone or as a
    /// partner. Partners come from all that is shown.
    #[test]
    fn what_is_left_out_is_nowhere() {
        let dir = folder("left-out");
        let images = images(&dir);
        let folds = Folds::new(&images, 2).unwrap();
        let left = Fold { number: 1, of: 2 }.others(&images).unwrap();
        let (pairs, steps) = shown(&images, &left, &Targets::Labels("cutmix=1".parse().unwrap()));
        assert_eq!((pairs.len(), steps), (144, 3));
        assert!(pairs.iter().all(|(i, j)| folds.of(*i) == 1 && folds.of(*j) == 1));
        let mut partners: Vec<usize> = pairs.iter().map(|(_, j)| *j).collect();
        partners.sort_unstable();
        partners.dedup();
        assert_eq!(partners, left);
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// A student of teachers with folds sees every picture, with partners of its fold; without folds with any.
    #[test]
    fn a_student_sees_what_its_teachers_saw() {
        let dir = folder("seen");
        let images = images(&dir);
        let split = Folds::new(&images, 3).unwrap();
        let apart = |folds: Option<usize>| {
            let policy = "cutmix=1".parse().unwrap();
            let views =
                Views { policy, seed: 3, views: 12, images: images.source.hash.clone(), folds };
            let logits = Array::new(vec![12, 24, 2], vec![0.0; 12 * 48]).unwrap();
            let at = dir.join("logits");
            Logits::save(&at, &views, &Provenance::new("test", &()).unwrap(), &logits).unwrap();
            let logits = Logits::load(&at).unwrap();
            let loss = Loss { alpha: 0.5, temperature: 2.0 };
            let all: Vec<usize> = (0..24).collect();
            let (pairs, _) = shown(&images, &all, &Targets::Teacher { logits: &logits, loss });
            assert_eq!(pairs.len(), 12 * 24);
            pairs.iter().filter(|(i, j)| split.of(*i) != split.of(*j)).count()
        };
        assert_eq!(apart(Some(3)), 0);
        // Two partners in three are of another fold: 192 ± 8.
        assert!((150..=230).contains(&apart(None)));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
