//! The loss on logits `[b, classes]` and its gradient. Sums are in f64: they are short.

use executor::Loss;

/// Log-softmax of `row / t`, into `out`.
fn log_softmax(row: &[f32], t: f64, out: &mut [f64]) {
    let largest = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    out.iter_mut().zip(row).for_each(|(o, v)| *o = f64::from(v - largest) / t);
    let sum = out.iter().map(|v| v.exp()).sum::<f64>().ln();
    out.iter_mut().for_each(|v| *v -= sum);
}

/// The course tutorial's distillation loss (Hinton et al. 2015, section 2):
///
/// `(1 − α) · CE(student, labels) + α · T² · KL(softmax(teacher / T) ‖ softmax(student / T))`
///
/// averaged over the batch; `labels` are distributions `[b, classes]`, `teacher` logits, empty where
/// there is none. T² keeps the gradient's size independent of the temperature. The gradient of
/// `logits` goes into `grad`.
pub fn loss(
    logits: &[f32],
    labels: &[f32],
    teacher: &[f32],
    classes: usize,
    loss: Loss,
    grad: &mut [f32],
) -> f64 {
    let b = (logits.len() / classes.max(1)).max(1) as f64;
    let alpha = if teacher.is_empty() { 0.0 } else { f64::from(loss.alpha) };
    let t = f64::from(loss.temperature);
    let (mut plain, mut soft, mut wanted) =
        (vec![0.0; classes], vec![0.0; classes], vec![0.0; classes]);
    let mut total = 0.0;
    let rows = logits.chunks_exact(classes).zip(labels.chunks_exact(classes));
    for (i, ((row, labels), grad)) in rows.zip(grad.chunks_exact_mut(classes)).enumerate() {
        log_softmax(row, 1.0, &mut plain);
        let labelled: f64 = labels.iter().map(|l| f64::from(*l)).sum();
        for (c, g) in grad.iter_mut().enumerate() {
            let label = f64::from(labels[c]);
            total -= (1.0 - alpha) * label * plain[c];
            *g = ((1.0 - alpha) * (labelled * plain[c].exp() - label) / b) as f32;
        }
        if alpha == 0.0 {
            continue;
        }
        log_softmax(row, t, &mut soft);
        log_softmax(&teacher[i * classes..(i + 1) * classes], t, &mut wanted);
        for (c, g) in grad.iter_mut().enumerate() {
            let p = wanted[c].exp();
            total += alpha * t * t * p * (wanted[c] - soft[c]);
            *g += (alpha * t * (soft[c].exp() - p) / b) as f32;
        }
    }
    total / b
}
