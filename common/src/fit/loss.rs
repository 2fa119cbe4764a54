//! Losses on logits `[b, classes]`.

use super::Targets;
use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::ops::{log_softmax, softmax};

/// Mean cross-entropy against distributions `labels` `[b, classes]`.
fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let b = logits.dim(0)? as f64;
    Ok(((labels * log_softmax(logits, 1)?)?.sum_all()? * (-1.0 / b))?)
}

/// The course tutorial's distillation loss (Hinton et al. 2015, section 2), logits `[b, classes]`:
///
/// `(1 − α) · CE(student, labels) + α · T² · KL(softmax(teacher / T) ‖ softmax(student / T))`
///
/// with the divergence averaged over the batch (`KLDivLoss(reduction="batchmean")`). T² keeps the
/// gradient's size independent of the temperature.
///
/// # Errors
/// Shapes that differ.
pub fn distillation_loss(
    student: &Tensor,
    labels: &Tensor,
    teacher: &Tensor,
    alpha: f32,
    temperature: f32,
) -> Result<Tensor> {
    let (alpha, t) = (f64::from(alpha), f64::from(temperature));
    let b = student.dim(0)? as f64;
    let scaled = (teacher / t)?;
    let p = softmax(&scaled, 1)?;
    let difference = (log_softmax(&scaled, 1)? - log_softmax(&(student / t)?, 1)?)?;
    let divergence = ((p * difference)?.sum_all()? * (alpha * t * t / b))?;
    Ok(((cross_entropy(student, labels)? * (1.0 - alpha))? + divergence)?)
}

/// The loss of a batch.
pub(super) fn loss(
    logits: &Tensor,
    labels: Vec<f32>,
    teacher: Vec<f32>,
    targets: &Targets,
) -> Result<Tensor> {
    let like = |v: Vec<f32>| Tensor::from_vec(v, logits.shape(), &Device::Cpu);
    let labels = like(labels)?;
    match *targets {
        Targets::Labels(_) => cross_entropy(logits, &labels),
        Targets::Teacher { alpha, temperature, .. } => {
            distillation_loss(logits, &labels, &like(teacher)?, alpha, temperature)
        }
    }
}
