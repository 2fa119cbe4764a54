//! Pictures → logits: the one loop that every stage asks networks with.

use anyhow::{Context, Result};
use artifacts::{Images, Model};
use executor::{Executor, Kept};
use rayon::prelude::*;
use std::sync::mpsc::sync_channel;
use views::{Normalization, View, render};

/// Pictures per batch.
pub const BATCH: usize = 64;

/// Logits `[n, classes]` of `n` pictures of `floats` values; `fill(i, x)` makes the i-th. The next
/// pictures are made while the network looks at these; after each batch `tick` gets all logits so far
/// and the number of pictures that are new among them.
///
/// # Errors
/// What `fill` and `tick` say, or pictures of another size than the network's.
pub fn forward_all(
    executor: &mut dyn Executor,
    n: usize,
    floats: usize,
    fill: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    tick: impl FnMut(&[f32], usize) -> Result<()>,
) -> Result<Vec<f32>> {
    forward_batches(executor, n, (BATCH, floats), fill, tick)
}

/// [`forward_all`] by batches of so many.
fn forward_batches(
    executor: &mut dyn Executor,
    n: usize,
    (batch, floats): (usize, usize),
    fill: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    mut tick: impl FnMut(&[f32], usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let batches = || (0..n).step_by(batch).map(|start| start..(start + batch).min(n));
    let make = |range: std::ops::Range<usize>| -> Result<Vec<f32>> {
        let mut x = vec![0.0; range.len() * floats];
        x.par_chunks_mut(floats.max(1))
            .enumerate()
            .try_for_each(|(k, x)| fill(range.start + k, x))?;
        Ok(x)
    };
    let mut all = Vec::with_capacity(n * executor.classes());
    let (sender, receiver) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for range in batches() {
                let made = make(range);
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return;
                }
            }
        });
        // The receiver goes with an error, which ends the other thread.
        let receiver = receiver;
        for range in batches() {
            let x = receiver.recv().context("the thread that makes pictures stopped")??;
            all.extend(executor.logits(&x)?);
            tick(&all, range.len())?;
        }
        Ok(all)
    })
}

/// Logits `[n, views, classes]` of `n` pictures in each of the views that `model` is asked with; `pixels(i)` are the
/// planes of the i-th, or None where there is none and its logits do not matter. `tick` gets the number of pictures
/// that are new.
///
/// # Errors
/// What `pixels` says, or pictures of another size than the network's.
pub fn forward_views<P: AsRef<[u8]>>(
    executor: &mut dyn Executor,
    n: usize,
    model: &Model,
    pixels: impl Fn(usize) -> Result<Option<P>> + Sync,
    tick: impl Fn(usize),
) -> Result<Vec<f32>> {
    let Model { views, input, .. } = model;
    let (size, one) = (input.preparation.size, input.preparation.bytes());
    let fill = |i: usize, x: &mut [f32]| {
        let Some(pixels) = pixels(i)? else { return Ok(()) };
        for (k, x) in x.chunks_exact_mut(one.max(1)).enumerate() {
            match k {
                0 => input.normalization.apply(pixels.as_ref(), x),
                _ => views.render(k, pixels.as_ref(), size, &input.normalization, x),
            }
        }
        Ok(())
    };
    let tick = |_: &[f32], n| {
        tick(n);
        Ok(())
    };
    // As much memory as one view each takes.
    let batch = BATCH.div_ceil(views.count());
    forward_batches(executor, n, (batch, one * views.count()), fill, tick)
}

/// Pictures that a network is asked about in views that are drawn, where the network runs if it keeps pictures there.
pub struct Asked<'a> {
    images: &'a Images,
    normalization: Normalization,
    kept: Option<Kept>,
}

impl<'a> Asked<'a> {
    /// `images`, which `executor` keeps if it does that.
    ///
    /// # Errors
    /// A device that fails.
    pub fn new(
        executor: &mut dyn Executor,
        images: &'a Images,
        normalization: &Normalization,
    ) -> Result<Self> {
        let kept = executor.keep(images, normalization)?;
        Ok(Self { images, normalization: *normalization, kept })
    }

    /// Logits `[n, classes]` of `n` views by the executor that the pictures were given to; `view(i)` is the i-th, with
    /// its picture. `tick` as for [`forward_all`].
    ///
    /// # Errors
    /// What `tick` says, or pictures of another size than the network's.
    pub fn logits(
        &self,
        executor: &mut dyn Executor,
        n: usize,
        view: impl Fn(usize) -> (usize, View) + Sync,
        mut tick: impl FnMut(&[f32], usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let Some(kept) = self.kept else {
            let fill = |i: usize, x: &mut [f32]| {
                let (i, view) = view(i);
                render(self.images, i, &view, &self.normalization, x);
                Ok(())
            };
            return forward_all(executor, n, self.images.preparation.bytes(), fill, tick);
        };
        let mut all = Vec::with_capacity(n * executor.classes());
        for start in (0..n).step_by(BATCH) {
            let views: Vec<_> = (start..(start + BATCH).min(n)).map(&view).collect();
            all.extend(executor.logits_on(kept, &views)?);
            tick(&all, views.len())?;
        }
        Ok(all)
    }
}
