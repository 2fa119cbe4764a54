//! Smaller pictures first: most of a run's multiplications go into its last epochs.
//!
//! Coarse shapes are learned from small pictures at a fraction of the time (progressive resizing: Howard et al. 2018,
//! fast.ai's DAWNBench entries; Touvron et al. 2019, "Fixing the train-test resolution discrepancy"). At 40 px a network
//! without fully connected layers multiplies (40 / 64)² = 0.39 times what it does at 64.

use super::{Progress, Settings};
use crate::device::Device;
use crate::share::Share;
use anyhow::{Context, Result, ensure};
use artifacts::Model;
use executor::Executor;
use graph::Graph;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Sides of the pictures that are trained on, in pixels, each for a share of the epochs; then the pictures as they
/// are. Written `40:0.5,52:0.2`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Sizes(Vec<(usize, Share)>);

impl Sizes {
    /// The pictures as they are in all epochs.
    pub const FULL: Self = Self(Vec::new());

    /// Whether all epochs see the pictures as they are.
    pub fn is_full(&self) -> bool {
        self.0.is_empty()
    }

    /// The side in `epoch`, from 0, of `epochs`, of pictures `size` pixels wide.
    pub fn at(&self, epoch: usize, epochs: u32, size: usize) -> usize {
        let mut until = 0;
        for (side, share) in &self.0 {
            until += share.at_most(epochs as usize);
            if epoch < until {
                return *side;
            }
        }
        size
    }

    /// The work of `progress` in a run of `epochs`, on pictures `size` pixels wide, in steps at that size: one at half of
    /// it is a quarter.
    pub(super) fn work(
        &self,
        Progress { epochs: done, steps, .. }: Progress,
        epochs: u32,
        per_epoch: usize,
        size: usize,
    ) -> u64 {
        let of = |epoch: usize, steps: usize| (self.at(epoch, epochs, size).pow(2) * steps) as u64;
        let pixels = (0..done).map(|e| of(e, per_epoch)).sum::<u64>() + of(done, steps);
        pixels / size.pow(2) as u64
    }

    /// Checks the sides against that of the pictures, `size` pixels, the network and the epochs, before it begins.
    pub(super) fn check(&self, size: usize, graph: &Graph, epochs: u32) -> Result<()> {
        for (side, share) in &self.0 {
            ensure!(
                share.at_most(epochs as usize) > 0,
                "--sizes {self}: {share} of {epochs} epochs is none; give {side} px more, or leave it out"
            );
            graph.shapes(*side).with_context(|| format!("--sizes {self}"))?;
            ensure!(
                *side < size,
                "--sizes {self}: {side} px is not smaller than the pictures, which are {size} px wide"
            );
        }
        let small: usize = self.0.iter().map(|(_, share)| share.at_most(epochs as usize)).sum();
        ensure!(
            small < epochs as usize || self.is_full(),
            "--sizes {self}: leave some of the {epochs} epochs, at the end, for the pictures as they are"
        );
        Ok(())
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = "expected SIDE:SHARE of the epochs, such as 40:0.5, or several of them, such as 32:0.3,48:0.3";
        let mut sizes = Vec::new();
        if text.is_empty() {
            return Ok(Self::FULL);
        }
        for part in text.split(',').map(str::trim) {
            let (side, share) =
                part.split_once(':').with_context(|| format!("{part:?}: {form}"))?;
            let side: usize = side
                .parse()
                .ok()
                .filter(|s| *s > 0)
                .with_context(|| format!("{part:?}: {form}"))?;
            let share: Share =
                share.parse().map_err(|e| anyhow::anyhow!("{part:?}: {e}; {form}"))?;
            sizes.push((side, share));
        }
        Ok(Self(sizes))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|(side, share)| format!("{side}:{share}")).collect();
        f.write_str(&parts.join(","))
    }
}

impl From<Sizes> for String {
    fn from(sizes: Sizes) -> Self {
        sizes.to_string()
    }
}

/// An executor for `model` on pictures `side` pixels wide.
///
/// # Errors
/// Pictures that do not fit the network; a device that fails.
pub(super) fn executor(
    model: &Model,
    side: usize,
    settings: &Settings,
    device: Device,
) -> Result<Box<dyn Executor>> {
    let mut model = model.clone();
    model.input.preparation.size = side;
    device.executor_at(&model, settings.precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: of 10 epochs 0.3 are three, then 0.25 two (as many as are no more), then the rest.
    #[test]
    fn epochs_are_shared_out() {
        let sizes: Sizes = "24:0.3, 40:0.25".parse().unwrap();
        let of: Vec<_> = (0..10).map(|e| sizes.at(e, 10, 64)).collect();
        assert_eq!(of, [24, 24, 24, 40, 40, 64, 64, 64, 64, 64]);
        assert_eq!(sizes.to_string(), "24:0.3,40:0.25");
        assert!("".parse::<Sizes>().unwrap() == Sizes::FULL && Sizes::FULL.is_full());
        assert_eq!(Sizes::FULL.at(0, 10, 64), 64);
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, expected) in [
            ("40", "expected SIDE:SHARE"),
            ("0:0.5", "expected SIDE:SHARE"),
            ("forty:0.5", "expected SIDE:SHARE"),
            ("40:1.5", "from 0 to 1"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
