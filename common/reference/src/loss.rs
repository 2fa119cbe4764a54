//! The loss on logits `[b, classes]`, in candle operations; see `engine::loss`.

use candle_core::{Result, Tensor};
use candle_nn::ops::{log_softmax, softmax};
use executor::Loss;

/// The course tutorial's distillation loss (Hinton et al. 2015, section 2), a tensor without
/// dimensions; without `teacher` the mean cross-entropy against the distributions `labels`.
///
/// # Errors
/// Shapes that differ.
pub fn loss(
    logits: &Tensor,
    labels: &Tensor,
    teacher: Option<&Tensor>,
    loss: Loss,
) -> Result<Tensor> {
    let b = logits.dim(0)? as f64;
    let cross_entropy = ((labels * log_softmax(logits, 1)?)?.sum_all()? * (-1.0 / b))?;
    let Some(teacher) = teacher else { return Ok(cross_entropy) };
    let (alpha, t) = (f64::from(loss.alpha), f64::from(loss.temperature));
    let scaled = (teacher / t)?;
    let p = softmax(&scaled, 1)?;
    let difference = (log_softmax(&scaled, 1)? - log_softmax(&(logits / t)?, 1)?)?;
    let divergence = ((p * difference)?.sum_all()? * (alpha * t * t / b))?;
    (cross_entropy * (1.0 - alpha))? + divergence
}
