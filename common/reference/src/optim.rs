//! Optimizer steps on flat tensors, in candle operations; see `engine::optim`.

use candle_core::{Result, Tensor};
use engine::optim::{Rule, Update};
use std::ops::Range;

fn part(t: &Tensor, range: &Range<usize>) -> Result<Tensor> {
    t.narrow(0, range.start, range.len())
}

/// `whole` with `new` in place of `range`.
fn replaced(whole: &Tensor, range: &Range<usize>, new: &Tensor) -> Result<Tensor> {
    whole.slice_scatter0(new, range.start)
}

/// Number `step` from 1: new variables and moments, `[n]` each (the second empty for SGD).
pub(crate) fn step(
    update: &Update,
    ranges: &[(Range<usize>, bool)],
    variables: &Tensor,
    gradient: &Tensor,
    [first, second]: &[Tensor; 2],
    step: i32,
) -> Result<(Tensor, [Tensor; 2])> {
    let (mut variables, mut first, mut second) = (variables.clone(), first.clone(), second.clone());
    let scale = if update.clip > 0.0 {
        let mut sum = Tensor::zeros((), gradient.dtype(), gradient.device())?;
        for (range, _) in ranges {
            sum = (sum + part(gradient, range)?.sqr()?.sum_all()?)?;
        }
        let norm = (sum.sqrt()? + 1e-6)?;
        Some((norm.recip()? * f64::from(update.clip))?.minimum(1.0)?)
    } else {
        None
    };
    let lr = f64::from(update.lr);
    for (range, decays) in ranges {
        let decay = if *decays { f64::from(update.weight_decay) } else { 0.0 };
        let (p, mut g, m) =
            (part(&variables, range)?, part(gradient, range)?, part(&first, range)?);
        if let Some(scale) = &scale {
            g = g.broadcast_mul(scale)?;
        }
        let (p, m) = match update.rule {
            Rule::Sgd => {
                let g = (g + (&p * decay)?)?;
                let m = ((m * 0.9)? + &g)?;
                let p = (p - ((g + (&m * 0.9)?)? * lr)?)?;
                (p, m)
            }
            Rule::AdamW => {
                let m = ((m * 0.9)? + (&g * 0.1)?)?;
                let v = ((part(&second, range)? * 0.999)? + (g.sqr()? * 0.001)?)?;
                let correct1 = 1.0 - 0.9f64.powi(step);
                let correct2 = (1.0 - 0.999f64.powi(step)).sqrt();
                let denominator = ((v.sqrt()? / correct2)? + 1e-8)?;
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
