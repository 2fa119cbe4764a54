//! How far the probabilities of a shipped file can be believed, and below which it had better say "none of these".
//!
//! No part of [`Model`](crate::Model): whatever changes a network's weights makes it untrue, so it is read from the
//! file that it was measured on and written only beside the very weights that were measured.

use crate::artifact::Artifact;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The key of the body under which it stands.
const KEY: &str = "calibration";

/// What `quantize pack --calibrate` measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Probabilities are the softmax of logits over this (Guo et al. 2017, section 4.2); above 0.
    pub temperature: f64,
    /// A picture whose largest probability is below this is none of the classes; 0 to 1.
    pub threshold: f64,
    /// Share of the pictures of known classes that were below it when it was chosen; 0 to 1.
    pub rejected: f64,
}

impl Calibration {
    /// That of a model's file; None where it was not calibrated.
    ///
    /// # Errors
    /// Numbers without sense.
    pub fn of(artifact: &Artifact) -> Result<Option<Self>> {
        let name = &artifact.source.name;
        let Some(json) = artifact.json.get(KEY) else { return Ok(None) };
        let found: Self = serde_json::from_value(json.clone())
            .with_context(|| format!("{name}: malformed calibration"))?;
        let Self { temperature, threshold, rejected } = found;
        let shares = [threshold, rejected].iter().all(|v| (0.0..=1.0).contains(v));
        ensure!(
            temperature.is_finite() && temperature > 0.0 && shares,
            "{name}: malformed calibration: temperature {temperature}, threshold {threshold}, rejected {rejected}"
        );
        Ok(Some(found))
    }

    /// Whether a picture with this largest probability is none of the classes.
    pub fn is_unknown(&self, probability: f64) -> bool {
        probability < self.threshold
    }
}
