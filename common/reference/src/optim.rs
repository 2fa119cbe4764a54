//! Optimizer steps on flat tensors, in candle operations; see `engine::optim`.

use candle_core::{Result, Tensor};
use executor::update::{ADAM_FLOOR, BETA1, BETA2, Part, Rule, SGD_MOMENTUM, Update};
use std::ops::Range;

fn part(t: &Tensor, range: &Range<usize>) -> Result<Tensor> {
    t.narrow(0, range.start, range.len())
}

/// `whole` with `new` in place of `range`.
fn replaced(whole: &Tensor, range: &Range<usize>, new: &Tensor) -> Result<Tensor> {
    whole.slice_scatter0(new, range.start)
}

/// Number `step` from 1: new variables and momenta, `[n]` each (the second empty for SGD).
pub(crate) fn step(
    update: &Update,
    parts: &[Part],
    variables: &Tensor,
    gradient: &Tensor,
    [first, second]: &[Tensor; 2],
    step: i32,
) -> Result<(Tensor, [Tensor; 2])> {
    let (mut variables, mut first, mut second) = (variables.clone(), first.clone(), second.clone());
    let scale = if update.clip > 0.0 {
        let mut sum = Tensor::zeros((), gradient.dtype(), gradient.device())?;
        for each in parts {
            sum = (sum + part(gradient, &each.range)?.sqr()?.sum_all()?)?;
        }
        let norm = (sum.sqrt()? + 1e-6)?;
        Some((norm.recip()? * f64::from(update.clip))?.minimum(1.0)?)
    } else {
        None
    };
    for Part { range, decays, is_head } in parts {
        let (lr, step) = (f64::from(update.lr_of(*is_head)), update.count(step, *is_head));
        let decay = if *decays { f64::from(update.weight_decay) } else { 0.0 };
        let (p, mut g, m) =
            (part(&variables, range)?, part(gradient, range)?, part(&first, range)?);
        if let Some(scale) = &scale {
            g = g.broadcast_mul(scale)?;
        }
        let (p, m) = match update.rule {
            Rule::Sgd => {
                let mu = f64::from(SGD_MOMENTUM);
                let g = (g + (&p * decay)?)?;
                let m = ((m * mu)? + &g)?;
                let p = (p - ((g + (&m * mu)?)? * lr)?)?;
                (p, m)
            }
            Rule::AdamW => {
                let [beta1, beta2, epsilon] = [BETA1, BETA2, ADAM_FLOOR].map(f64::from);
                let m = ((m * beta1)? + (&g * (1.0 - beta1))?)?;
                let v = ((part(&second, range)? * beta2)? + (g.sqr()? * (1.0 - beta2))?)?;
                let correct1 = 1.0 - beta1.powi(step);
                let correct2 = (1.0 - beta2.powi(step)).sqrt();
                let denominator = ((v.sqrt()? / correct2)? + epsilon)?;
                let p = ((p * (1.0 - lr * decay))? - ((&m / denominator)? * (lr / correct1))?)?;
                second = replaced(&second, range, &v)?;
                (p, m)
            }
        };
        variables = replaced(&variables, range, &p)?;
        first = replaced(&first, range, &m)?;
    }
    Ok((variables, [first, second]))
}
