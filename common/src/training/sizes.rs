//! Smaller pictures first: most of a run's multiplications go into its last epochs.
//!
//! Coarse shapes are learned from small pictures at a fraction of the time (progressive resizing: Howard et al. 2018,
//! fast.ai's DAWNBench entries; Touvron et al. 2019, "Fixing the train-test resolution discrepancy"). At 40 px a step takes
//! 0.39 of one at 64.

use crate::share::Share;
use anyhow::{Context, Result, ensure};
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

    /// Checks the sides against that of the pictures, `size` pixels, and the network before it begins.
    pub(super) fn check(&self, size: usize, graph: &Graph) -> Result<()> {
        for (side, _) in &self.0 {
            graph.shapes(*side).with_context(|| format!("--sizes {self}"))?;
            ensure!(
                *side < size,
                "--sizes {self}: {side} px is not smaller than the pictures, which are {size} px wide"
            );
        }
        Ok(())
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let form = "expected SIDE:SHARE of the epochs, such as 40:0.5, or several of them, such as 32:0.3,48:0.3";
        let mut sizes = Vec::new();
        let mut sum = 0.0;
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
            sum += share.value();
            sizes.push((side, share));
        }
        ensure!(
            sum < 1.0,
            "{text:?}: the shares make {sum}; leave some epochs, at the end, for the pictures as they are"
        );
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
        assert!(Sizes::default().is_full() && Sizes::default().at(0, 10, 64) == 64);
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, expected) in [
            ("", "expected SIDE:SHARE"),
            ("40", "expected SIDE:SHARE"),
            ("0:0.5", "expected SIDE:SHARE"),
            ("forty:0.5", "expected SIDE:SHARE"),
            ("40:1.5", "from 0 to 1"),
            ("40:0.6,48:0.4", "the shares make 1"),
        ] {
            let error = text.parse::<Sizes>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
