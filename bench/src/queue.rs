//! Training steps on a device that works through a queue, without waiting for each: what a training run does.

use super::{Bench, batch_and_update, noise};
use crate::timing::Times;
use anyhow::{Result, bail};
use artifacts::Model;
use common::device::Device;
use executor::{Executor, Kept, Loss};
use std::time::Instant;
use views::{Normalization, Pictures, Policy, View};

/// Seconds of steps before any are timed, as a GPU that rested raises its clock in hundreds of milliseconds.
const WARM_UP: f64 = 0.3;

/// How often so many steps are queued and waited for.
const ROUNDS: usize = 5;

/// Pictures of noise.
struct Noise {
    size: usize,
    pixels: Vec<u8>,
}

impl Noise {
    fn new(count: usize, size: usize) -> Self {
        Self { size, pixels: noise(count * 3 * size * size) }
    }
}

impl Pictures for Noise {
    fn count(&self) -> usize {
        self.pixels.len() / (3 * self.size * self.size)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn pixels(&self, i: usize) -> &[u8] {
        let n = 3 * self.size * self.size;
        &self.pixels[i * n..(i + 1) * n]
    }
}

/// The times of steps on pictures that lie on the device, turned into views there (flipped or not, the cheapest):
/// of each round a mean, as only its end is waited for. The first steps, two at least, are waited for and not timed:
/// they allocate, and what a driver sets up late it sets up then.
///
/// # Errors
/// A device that keeps no pictures, or fails.
pub(crate) fn steps(model: &Model, args: &Bench, device: Device) -> Result<Times> {
    let mut executor = device.executor_at(model, args.products.precision)?;
    let (batch, size) = (args.batch as usize, args.size);
    let pictures = Noise::new(batch, size);
    let policy: Policy = "flip".parse()?;
    let views: Vec<(usize, View)> =
        (0..batch).map(|i| (i, View::of(&policy, 1, i, 0, batch, size))).collect();
    let Some(kept) = executor.keep(&pictures, &Normalization::NONE)? else {
        bail!("{batch} pictures of {size} px do not fit on {device}")
    };
    let (start, mut steps) = (Instant::now(), 0);
    while steps < 2 || start.elapsed().as_secs_f64() < WARM_UP {
        queue(&mut *executor, kept, &views)?;
        executor.losses()?;
        steps += 1;
    }
    let mut seconds = Vec::new();
    for _ in 0..if args.steps > 1 { ROUNDS } else { 1 } {
        let start = Instant::now();
        for _ in 0..args.steps.max(1) {
            queue(&mut *executor, kept, &views)?;
        }
        executor.losses()?; // waits for the device
        seconds.push(start.elapsed().as_secs_f64() / args.steps.max(1) as f64);
    }
    Ok(Times::new(seconds))
}

/// A step that is not waited for.
fn queue(executor: &mut dyn Executor, kept: Kept, views: &[(usize, View)]) -> Result<()> {
    let (batch, update) = batch_and_update(Vec::new(), views.len());
    executor.step_on(kept, views, batch, Loss::LABELS, &update)
}
